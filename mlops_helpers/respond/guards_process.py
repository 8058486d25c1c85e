"""Guards of processes: started again, ended when they hang, doubled, and given room."""

import resource
from dataclasses import dataclass
from time import monotonic

from mlops_helpers.deploy.calls import call
from mlops_helpers.errors import DrillError, ServiceError
from mlops_helpers.respond.guards import Guarding, register
from mlops_helpers.respond.stage import Stage
from mlops_helpers.serve.records import records

__all__ = ["KeepRoom", "LivenessProbe", "Replicas", "Supervise"]

_EVERY_SECONDS = 0.05


@register
@dataclass(frozen=True)
class Supervise:
    """A ``service`` that has ended is started again on its address."""

    service: str

    def begin(self, stage: Stage, guarding: Guarding) -> None:
        """Look at its state."""

        def look() -> None:
            if stage.status(self.service).state in ("stopped", "failed"):
                began = monotonic()
                stage.platform.start(self.service)
                guarding.acted(f"started {self.service}, ready after {monotonic() - began:.1f} s")

        stage.status(self.service)
        guarding.watch(_EVERY_SECONDS, look)


@register
@dataclass(frozen=True)
class LivenessProbe:
    """A ``service`` is asked whether it lives; after so many ``misses`` of ``patience`` seconds it is killed, and its
    supervisor starts the next process.
    """

    service: str
    patience: float = 0.2
    misses: int = 2

    def begin(self, stage: Stage, guarding: Guarding) -> None:
        """Probe it."""
        if not (0.02 <= self.patience <= 10 and 1 <= self.misses <= 10):
            raise DrillError(f"patience is {self.patience}, misses {self.misses}; accepted: 0.02 to 10 s, 1 to 10")
        missed = 0

        def look() -> None:
            nonlocal missed
            try:
                call("GET", stage.status(self.service).address, "/healthz", seconds=self.patience)
                missed = 0
            except ServiceError:
                missed += 1
            if missed >= self.misses and stage.status(self.service).state in ("ready", "paused"):
                began = monotonic()
                stage.platform.kill(self.service)
                stage.platform.wait_ready(self.service)
                guarding.acted(
                    f"killed {self.service}, which did not answer; the next is ready after {monotonic() - began:.1f} s"
                )
                missed = 0

        stage.status(self.service)
        guarding.watch(_EVERY_SECONDS, look)


@register
@dataclass(frozen=True)
class Replicas:
    """``v1`` has so many filters, each with a wire of its own. ``hedge`` above 0: the gateway asks them through a front
    that asks the next one, too, when no answer came within so many seconds.
    """

    count: int = 2
    hedge: float = 0.0

    def begin(self, stage: Stage, guarding: Guarding) -> None:
        """Start them and tell the gateway."""
        if not (2 <= self.count <= 4 and 0 <= self.hedge <= 1):
            raise DrillError(f"count is {self.count}, hedge {self.hedge}; accepted: 2 to 4, 0 to 1 second")
        stage.platform.scale("v1", self.count)
        for number, address in enumerate(stage.platform.filters["v1"][1:], start=1):
            stage.wires.lay(f"filter-v1-{number}", address)
        ways = [stage.wires.addresses[f"filter-v1-{number}"] for number in range(self.count)]
        stage.configuration = {"v1": [stage.wires.front(ways, hedge=self.hedge)[0]] if self.hedge else ways}
        stage.restore_wires()
        guarding.later(lambda since: _judged(stage, since))


def _judged(stage: Stage, since: float) -> str:
    others = stage.platform.predictions("v1")[1:]
    count = sum(record["ts"] >= since for folder in others for record in records(folder))
    return f"the other filters judged {count} comments" if count else ""


@register
@dataclass(frozen=True)
class KeepRoom:
    """When a ``service`` may not write so many ``megabytes`` any more, a reserve is given to it."""

    service: str
    megabytes: int = 1

    def begin(self, stage: Stage, guarding: Guarding) -> None:
        """Look at the room that it has."""

        def look() -> None:
            pid = stage.pid(self.service)
            soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            if 0 <= soft < self.megabytes << 20:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
                guarding.acted(f"{self.service} had room for {soft} bytes, and got the reserve")

        stage.status(self.service)
        guarding.watch(_EVERY_SECONDS / 2, look)
