"""What a drill happens on: a platform, the network between its parts, readers, and who watches what readers meet."""

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mlops_helpers.deploy.calls import call
from mlops_helpers.deploy.ownership import MARK, owner
from mlops_helpers.deploy.platform import Platform
from mlops_helpers.deploy.release import ReplicaStatus
from mlops_helpers.errors import DataError, ServiceError
from mlops_helpers.model.artifact import Artifact
from mlops_helpers.observe.webhook import Page
from mlops_helpers.respond.control import Control
from mlops_helpers.respond.undo import Entry
from mlops_helpers.respond.watch import Watch
from mlops_helpers.respond.watchdog import Watchdog
from mlops_helpers.respond.wires import Quality, Wires
from mlops_helpers.respond.world import comments, world
from mlops_helpers.serve import archive, blackbox, plan
from mlops_helpers.serve.traffic import Traffic
from mlops_helpers.workspace import workspace

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RATE", "Change", "Stage", "swap_body"]

RATE = 16.0  # comments a second, and as many readings: enough for a verdict within seconds, little for the machine
_TIMEOUT = 2.0
_LONGEST = 300.0


@dataclass(frozen=True)
class Change:
    """What somebody is about to change: ``what`` of a ``subject``.

    Kinds: ``release`` (an artifact as a version), ``model`` (an artifact in a running filter), ``configuration`` (the
    gateway's upstreams), ``interface`` (a field's name and its new one, in what passes a wire).
    """

    kind: str
    subject: str
    what: Any


class Stage:
    """A context: everything starts with it and ends with it, also when its process is killed.

    ``platform`` runs version ``v1``, the good model, with one filter; readers come through the wire ``edge``, the
    gateway reaches each filter through a wire of the filter's name. ``watchdog`` takes promises of faults, ``control``
    tells of the machine. ``gates`` look at each :class:`Change` before it is made, and raise ``GateRefused``.
    """

    def __init__(self, folder: Path, *, seed: int, time_lapse: float, notify: Callable[[list[Page]], None]) -> None:
        self.folder, self.seed, self.world = folder, seed, world()
        self.watchdog, self.wires = Watchdog(), Wires()
        self.watch = Watch(time_lapse, notify)
        self.control = Control(folder)
        self.crowds: list[Traffic] = []
        self.gates: list[Callable[[Change], None]] = []
        self._ending = contextlib.ExitStack()
        self._scratch = workspace("platforms") / f"drill-{os.getpid()}-{time.time_ns()}"
        self.platform: Platform
        self.configuration: dict[str, list[str]] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as ending:
            ending.enter_context(self.watchdog)
            self.watchdog.promise({"do": "remove_platform", "folder": str(self._scratch)})
            self._scratch.mkdir()
            (self._scratch / MARK).write_text(owner(), "utf-8")
            self.platform = ending.enter_context(
                Platform(
                    {"v1": self.world.model("good")},
                    folder=self._scratch,
                    durability="async",
                    comments_per_minute=10**6,
                    by="a drill",
                )
            )
            self.valid_token = self.platform.admin_token
            ending.enter_context(self.wires)
            edge = self.wires.lay("edge", self.platform.blog)
            for number, address in enumerate(self.platform.filters["v1"]):
                self.wires.lay(f"filter-v1-{number}", address)
            self.configuration = {"v1": [self.wires.addresses["filter-v1-0"]]}
            self.restore_configuration()
            ending.enter_context(self.watch)
            ending.enter_context(self.control)
            ending.callback(self._stop_crowds)
            self.edge = edge
            self._ending = ending.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def restore_configuration(self) -> None:
        """Tell the gateway the addresses and weights that were configured at the start. Raises ``ServiceError``."""
        self.tell_gateway("upstreams", self.platform.filters | self.configuration)
        self.tell_gateway("weights", {"v1": 1.0})

    def restore_wires(self) -> None:
        """Let the gateway reach ``v1`` over its wires again, after the platform has told it addresses of its own."""
        self.tell_gateway("upstreams", self.platform.filters | self.configuration)

    def _admit(self, change: Change) -> None:
        for gate in self.gates:
            gate(change)

    def release(self, version: str, artifact: Artifact, share: float = 1.0) -> None:
        """Start a version beside ``v1`` with a share of the comments. Raises ``GateRefused``, ``ServiceError``."""
        self._admit(Change("release", version, artifact))
        self.platform.add_version(version, artifact)
        self.restore_wires()
        self.tell_gateway("weights", {"v1": 1 - share, version: share})

    def swap(self, name: str, artifact: Artifact) -> None:
        """Give a running filter of ``v1`` another artifact. Raises ``GateRefused``, ``ServiceError``."""
        self._admit(Change("model", name, artifact))
        call("PUT", self.status(name).address, "/admin/model", swap_body(artifact), token=self.platform.admin_token)

    def rename(self, wire: str, field: str, renamed: str) -> None:
        """Let what passes a wire have another name for a field. Raises ``GateRefused``."""
        self._admit(Change("interface", wire, (field, renamed)))
        self.wires.set(wire, Quality(rewrite=(field, renamed)))

    def tell_gateway(self, part: str, value: object) -> None:
        """Change ``upstreams`` or ``weights`` at the gateway.

        Raises ``ServiceError`` when it refuses or is away, ``GateRefused`` when a gate refuses upstreams.
        """
        if part == "upstreams":
            self._admit(Change("configuration", "gateway", value))
        call("PUT", self.platform.gateway, f"/admin/{part}", value, token=self.platform.admin_token, seconds=3.0)

    def gateway_entry(self, part: str, value: object) -> Entry:
        """Return the undoing of a change of the gateway's configuration."""
        address, token = self.platform.gateway, self.platform.admin_token
        return {"do": "tell", "address": address, "path": f"/admin/{part}", "body": value, "token": token}

    def status(self, name: str) -> ReplicaStatus:
        """Return what there is to know of a service. Raises ``ServiceError`` for one that is not there."""
        every = {one.name: one for one in self.platform.status()}
        if name not in every:
            raise ServiceError(f"there is no service {name!r}; there are: {', '.join(every)}")
        return every[name]

    def pid(self, name: str) -> int:
        """Return the process of a service. Raises ``ServiceError`` when it has none."""
        if pid := self.status(name).pid:
            return pid
        raise ServiceError(f"{name} has no process: it is {self.status(name).state}")

    def come(
        self,
        written: Sequence[plan.Comment] = (),
        *,
        rate: float = RATE,
        reads: float = 1.0,
        moderators: plan.Moderators | None = None,
        addresses: int = 0,
    ) -> Traffic:
        """Let a crowd come from now on, through the edge, and be watched; the first one are the usual readers.

        ``moderators`` look after what this crowd writes. With ``addresses``, it comes from so many, of one network.
        """
        said = written or comments(self.seed)
        arrivals = plan.plan(
            said,
            rate=0.0 if addresses else rate,
            campaigns=[plan.Burst(0.0, _LONGEST, rate, said, addresses)] if addresses else [],
            seconds=_LONGEST,
            seed=self.seed + 100 * len(self.crowds),
            reads_per_comment=reads,
            moderators=moderators,
        )
        name = "readers.jsonl" if not self.crowds else f"crowd-{len(self.crowds)}.jsonl"
        crowd = Traffic(self.edge, arrivals, self.folder / name, timeout=_TIMEOUT, token=self.platform.moderator_token)
        self.crowds.append(crowd.start())
        self.watch.add(crowd.record)
        return crowd

    def frame(self) -> "pd.DataFrame":
        """Return the readers' record of all crowds, with ``at`` (epoch seconds at which a visit was intended)."""
        import pandas as pd

        frames = []
        for crowd in self.crowds:
            frame = blackbox.read_record(crowd.record)
            frames.append(frame.assign(at=frame["intended"] + crowd.started_at))
        return pd.concat(frames, ignore_index=True).sort_values("at", kind="stable", ignore_index=True)

    def settled(self) -> float:
        """Return up to when the record is complete: what was intended later may still wait for its answer."""
        return time.time() - _TIMEOUT - 0.3

    def lost(self) -> int:
        """Return how many comments the blog accepted and does not have."""
        seen = self.frame()
        accepted = seen.loc[seen["kind"].eq("comment") & seen["outcome"].eq("ok"), "comment_id"]
        try:
            stored = set(archive.comments(self._scratch / "blog")["comment_id"])
        except DataError:
            return len(accepted)
        return int((~accepted.isin(stored)).sum())

    def _stop_crowds(self) -> None:
        for crowd in self.crowds:
            crowd.stop()


def swap_body(artifact: Artifact) -> dict[str, str]:
    """Return what a filter is told to serve an artifact as ``v1``."""
    return {"folder": str(artifact.folder.resolve()), "sha256": artifact.sha256, "version": "v1"}
