"""Guards that watch: telemetry that is lost is collected again, and a release that judges otherwise is rolled back."""

import time
from dataclasses import dataclass

from mlops_helpers.deploy.rollback import rollback
from mlops_helpers.errors import DrillError
from mlops_helpers.respond.guards import Guarding, register
from mlops_helpers.respond.stage import Stage
from mlops_helpers.serve.records import records

__all__ = ["AutomaticRollback", "WatchTheWatch"]

_EVERY_SECONDS = 0.1


@register
@dataclass(frozen=True)
class AutomaticRollback:
    """``v1`` gets all comments again when another version holds a share that differs by more than ``differs``, as soon
    as that has judged so many ``comments``.
    """

    comments: int = 6
    differs: float = 0.4

    def begin(self, stage: Stage, guarding: Guarding) -> None:
        """Compare what the versions have recorded."""
        if not (2 <= self.comments <= 1_000 and 0 < self.differs < 1):
            raise DrillError(
                f"comments is {self.comments}, differs {self.differs}; accepted: 2 to 1000, between 0 and 1"
            )

        def look() -> None:
            usual = _held(stage, "v1")
            for version in set(stage.platform.filters) - {"v1"}:
                held = _held(stage, version)
                if len(held) < self.comments or not usual:
                    continue
                now, before = sum(held) / len(held), sum(usual) / len(usual)
                if abs(now - before) > self.differs and rollback(stage.platform, "v1").changed:
                    guarding.acted(f"rolled {version} back: it held {now:.0%} of {len(held)} comments, v1 {before:.0%}")

        guarding.watch(_EVERY_SECONDS, look)


def _held(stage: Stage, version: str) -> list[bool]:
    logs = stage.platform.predictions(version)
    return [record["spam"] for folder in logs for record in records(folder) if not record["shadow"]]


@register
@dataclass(frozen=True)
class WatchTheWatch:
    """Telemetry whose last sample is dated more than so many ``seconds`` from now is collected anew."""

    seconds: float = 2.0

    def begin(self, stage: Stage, guarding: Guarding) -> None:
        """Compare the date of the last sample with a clock of its own."""
        if not 0.5 <= self.seconds <= 3600:
            raise DrillError(f"seconds is {self.seconds}; accepted: 0.5 to 3600")

        tried = 0.0

        def look() -> None:
            nonlocal tried
            now = time.time()
            apart = abs(now - stage.watch.latest)
            if apart > self.seconds and now - tried > self.seconds:
                tried = now
                stage.watch.reconnect()
                guarding.acted(f"the last sample was dated {apart:.1f} s from now; telemetry was collected anew")

        guarding.watch(_EVERY_SECONDS, look)
