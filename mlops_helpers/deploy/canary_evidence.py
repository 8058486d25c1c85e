"""What the services' own records say of a canary: which comments it was given, and which of these went wrong.

A comment is counted for the version that the weights chose for it, whoever answered in the end: a canary that dies is
not excused because the gateway asked the other version. It went wrong when it needed a second try, another version, or
got no answer (``errors``); when it was among the slowest of its window (``latency``); when its verdict is not what a
moderator decided later (``quality``).

Labels must be of comments that were chosen without a look at the verdict, such as every tenth: who only checks what was
held never learns of a miss.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from mlops_helpers.deploy.canary_plan import Plan
from mlops_helpers.deploy.platform import Platform
from mlops_helpers.deploy.sequential import Evidence, bursts, slowest
from mlops_helpers.serve.routing import RoutingTable
from mlops_helpers.serve.segments import segments, unframe

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Labels", "Observer"]

Labels = Callable[[], "pd.DataFrame"]


@dataclass(frozen=True)
class _Comment:
    """What became of a comment that began to be classified at ``began`` (seconds since the epoch)."""

    began: float
    canary: bool
    failed: bool
    milliseconds: float


class _Tail:
    """The records that a log got since it was asked last; it may be written meanwhile, or not be there yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segment, self._offset = "", 0

    def records(self) -> Iterator[dict[str, Any]]:
        for path in segments(self._folder):
            if path.name < self._segment:
                continue
            if path.name > self._segment:
                self._segment, self._offset = path.name, 0
            with path.open("rb") as file:
                file.seek(self._offset)
                for line in file:
                    record = unframe(line)
                    if record is None:  # is being written
                        break
                    self._offset += len(line)
                    yield orjson.loads(record)


class Observer:
    """Follows the records of a platform and keeps the :class:`Evidence` of each test.

    ``labels`` returns what moderators decided so far (``comment_id``, ``label``, where 1 is spam); without it the
    quality of verdicts is not judged.
    """

    def __init__(self, platform: Platform, control: str, canary: str, plan: Plan, labels: Labels | None) -> None:
        self._platform, self._control, self._canary, self._plan = platform, control, canary, plan
        self._labels = labels
        self.evidence = {name: Evidence() for name in ("errors", "latency", *(("quality",) if labels else ()))}
        self.comments = self.served = self.labels = 0
        """Of the stage: comments, the canary's share of these, labels."""
        self._access = _Tail(platform.folder / "gateway" / "access")
        self._predictions: dict[Path, _Tail] = {}
        self._known: set[str] = set()
        self._asked: dict[tuple[str, str], list[str]] = {}  # comments by request and by version: a batch may have two
        self._verdicts: dict[str, tuple[bool, bool, float]] = {}  # the canary's; spam; weight, while no label came
        self._unlabelled: dict[str, bool] = {}
        self._window: list[_Comment] = []
        self._last_error = self._since = 0.0
        self._weight, self._table = 0.0, RoutingTable({})

    def begin(self, weight: float) -> None:
        """Count what begins to be classified from now on, at this weight of the canary."""
        weights = {self._control: 1 - weight, self._canary: weight}
        self._weight, self._table = weight, RoutingTable(self._platform.filters, weights)
        self._since, self._window = time.time(), []
        self.comments = self.served = self.labels = 0

    def look(self) -> None:
        """Take what was recorded since the last look, and weigh it."""
        answered = list(self._access.records())
        for version in (self._control, self._canary):
            for folder in self._platform.predictions(version):
                for record in self._predictions.setdefault(folder, _Tail(folder)).records():
                    if not record["shadow"] and record["comment_id"]:
                        part = record["request_id"], record["version"]
                        self._asked.setdefault(part, []).append(record["comment_id"])
                        self._unlabelled.setdefault(record["comment_id"], record["spam"])
        new = [one for record in answered for one in self._comments(record)]
        self._judge_errors([one for one in new if one.failed])
        self._window += new
        while len(self._window) >= self._plan.window:
            self._judge_latency(self._window[: self._plan.window])
            del self._window[: self._plan.window]
        if self._labels is not None:
            self._judge_quality(self._labels())

    def _comments(self, record: dict[str, Any]) -> Iterator[_Comment]:
        """Yield the comments of an access record; a comment that is sent again is counted once."""
        asked = self._asked.pop((record["request_id"], record["version"]), [])
        began = record["ts"] - record["ms"] / 1000
        for name in [record["comment_id"]] if record["comment_id"] else asked:
            if began < self._since or name in self._known:
                continue
            self._known.add(name)
            chosen = self._table.version(name.encode())
            canary = chosen == self._canary
            failed = record["tries"] != 1 or record["status"] >= 500 or record["version"] != chosen
            self.comments, self.served = self.comments + 1, self.served + canary
            if name in self._unlabelled:
                self._verdicts[name] = canary, self._unlabelled.pop(name), self._weight
            yield _Comment(began, canary, failed, record["ms"])

    def _judge_errors(self, failed: Sequence[_Comment]) -> None:
        failed = sorted(failed, key=lambda one: one.began)
        places = bursts([one.began for one in failed], self._plan.burst_seconds, self._last_error)
        if places:
            self._last_error = failed[places[-1]].began
            self._add("errors", [failed[place].canary for place in places])

    def _judge_latency(self, window: Sequence[_Comment]) -> None:
        marks = slowest([one.milliseconds for one in window], self._plan.slow_share)
        slow = sorted((one for one, mark in zip(window, marks, strict=True) if mark), key=lambda one: one.began)
        places = bursts([one.began for one in slow], self._plan.burst_seconds)
        self._add("latency", [slow[place].canary for place in places])

    def _add(self, name: str, canary: Sequence[bool]) -> None:
        self.evidence[name].add(sum(canary), len(canary), self._weight)

    def _judge_quality(self, labels: "pd.DataFrame") -> None:
        wrong: dict[float, list[bool]] = {}
        for name, label in zip(labels["comment_id"], labels["label"], strict=True):
            verdict = self._verdicts.pop(name, None)
            if verdict is not None:
                canary, spam, weight = verdict
                self.labels += 1
                if spam != bool(label):
                    wrong.setdefault(weight, []).append(canary)
        for weight, canaries in wrong.items():  # a late label counts at the weight at which its comment came
            self.evidence["quality"].add(sum(canaries), len(canaries), weight)
