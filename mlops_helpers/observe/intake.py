"""How samples come into an embedded store: scraped from targets, or pushed by batch jobs; and who is up.

The rules are those of Prometheus: a series that is missing from a scrape, or whose target is down, is marked stale;
``up`` and ``scrape_duration_seconds`` are written for each scrape; the labels of the target win over those in the text,
which are kept as ``exported_job`` and the like.
"""

import math
import threading
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlops_helpers.errors import MetricsError
from mlops_helpers.observe.exposition import Exposition, LabelSet, Reader
from mlops_helpers.observe.memory import Memory, Series
from mlops_helpers.observe.source import milliseconds
from mlops_helpers.observe.tables import Key

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["Intake", "Target"]

_PUSH_TIME = LabelSet({"__name__": "push_time_seconds"}, counts=False)


class Target:
    """What is known of a target, or of a group of pushed metrics, from its last scrape or push."""

    def __init__(self, labels: Key, reader: Reader) -> None:
        self.labels, self.reader = dict(labels), reader
        self.live: dict[LabelSet, Series] = {}
        self.pushed: Exposition | None = None
        self.up, self.error = math.nan, ""
        self.scraped: int | None = None


class Intake:
    """Takes samples into a :class:`Memory`. Threads may share it."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._targets: dict[Key, Target] = {}
        self._lock = threading.Lock()

    @property
    def refused(self) -> Counter[str]:
        """How many samples were not taken: out of order, duplicate, from the future, no count (negative or NaN)."""
        return self._memory.refused

    def append(self, time: float, body: bytes | str, target: Mapping[str, str], *, duration: float = 0.0) -> None:
        """Add what the ``target`` (its labels, such as job and instance) exposed at ``time``; it took ``duration`` s.

        Raises ``MetricsError`` when it cannot be read or is too much: nothing of it is kept then.
        """
        now = milliseconds(time)
        with self._lock:
            known = self._target(target)
            before = self.refused.copy()
            self._take(known, known.reader.read(_bytes(body)), now)
            refused = [f"{count} {reason}" for reason, count in (self.refused - before).items()]
            self._report(known, now, 1.0, duration, "samples refused: " * bool(refused) + ", ".join(refused))

    def fail(self, time: float, target: Mapping[str, str], error: str, *, duration: float = 0.0) -> None:
        """Note that scraping the ``target`` failed at ``time``, and why: it is down, and its series are stale."""
        now = milliseconds(time)
        with self._lock:
            known = self._target(target)
            self._end(known, now)
            self._report(known, now, 0.0, duration, error)

    def remove(self, time: float, target: Mapping[str, str]) -> None:
        """Note that from ``time`` on the ``target`` is not scraped, or the group not exposed, any more."""
        now = milliseconds(time)
        with self._lock:
            known = self._targets.pop(_key(target), None)
            if known:
                self._end(known, now)
                for series in self._reports(known):
                    series.mark_stale(now)

    def push(self, job: str, metrics: "bytes | str | CollectorRegistry", *, at: float, **grouping: str) -> None:
        """Take the metrics of a batch job at time ``at``; they replace those of the same job and ``grouping`` labels.

        As with a Pushgateway they persist: :meth:`repeat` exposes them again, ``push_time_seconds`` says how old they
        are, and only :meth:`remove` (of the labels job and grouping) ends them.

        Raises ``MetricsError`` when they cannot be read, are too many, or state times.
        """
        from prometheus_client import CollectorRegistry, generate_latest

        body = generate_latest(metrics) if isinstance(metrics, CollectorRegistry) else _bytes(metrics)
        with self._lock:
            known = self._target({"job": job, **grouping})
            exposition = known.reader.read(body)
            if exposition.times:
                raise MetricsError("pushed samples state times; accepted: none, as they are exposed again and again")
            known.pushed = Exposition({**exposition.samples, _PUSH_TIME: at}, {}, exposition.duplicates)
            self._take(known, known.pushed, milliseconds(at))

    def repeat(self, time: float) -> None:
        """Expose at ``time`` what was pushed once more; the scraper does so at its interval.

        Raises ``MetricsError`` when that is too much.
        """
        with self._lock:
            for known in self._targets.values():
                if known.pushed:
                    self._take(known, known.pushed, milliseconds(time))

    def _target(self, labels: Mapping[str, str]) -> Target:
        key = _key(labels)
        if key not in self._targets:
            self._targets[key] = Target(key, Reader(most_series=self._memory.most_series))
        return self._targets[key]

    def _take(self, known: Target, exposition: Exposition, now: int) -> None:
        memory, live, fresh = self._memory, known.live, {}
        memory.make_room(len(exposition.samples), now, self._in_use)
        unseen = [labels for labels in exposition.samples if labels not in live]
        if unseen:
            keys = [_key(_merged(labels.labels, known.labels, known.pushed is not None)) for labels in unseen]
            fresh = dict(zip(unseen, memory.series_for(keys), strict=True))
        present: dict[LabelSet, Series] = {}
        stated, written = exposition.times, 0
        for labels, value in exposition.samples.items():
            if labels.counts and not value >= 0:
                memory.refused["no count"] += 1  # and so it is not known: the series becomes stale
                continue
            series = present[labels] = live.get(labels) or fresh[labels]
            if now > series.last and labels not in stated:  # nearly always: a call of Memory.write would cost as much
                series.add(now, value)
                written += 1
            else:
                series.stated = labels in stated
                memory.write(series, stated.get(labels, now), value, now)
        memory.samples += written
        if live.keys() != present.keys():
            for series in set(live.values()) - set(present.values()):
                series.mark_stale(now)
        known.live = present
        if exposition.duplicates:
            memory.refused["duplicate"] += exposition.duplicates

    def _in_use(self) -> set[Series]:
        return {series for known in self._targets.values() for series in known.live.values()}

    def _end(self, known: Target, now: int) -> None:
        for series in known.live.values():
            series.mark_stale(now)
        known.live = {}

    def _report(self, known: Target, now: int, up: float, duration: float, error: str) -> None:
        for series, value in zip(self._reports(known), (up, duration), strict=True):
            self._memory.write(series, now, value, now)
        known.up, known.scraped, known.error = up, now, error

    def _reports(self, known: Target) -> list[Series]:
        names = ("up", "scrape_duration_seconds")
        return self._memory.series_for([_key({**known.labels, "__name__": name}) for name in names], bounded=False)


def _merged(exposed: Mapping[str, str], target: Mapping[str, str], pushed: bool) -> dict[str, str]:
    if pushed:
        return {**exposed, **target}
    return {**{f"exported_{name}" if name in target else name: value for name, value in exposed.items()}, **target}


def _key(labels: Mapping[str, str]) -> Key:
    return tuple(sorted((name, str(value)) for name, value in labels.items()))


def _bytes(text: bytes | str) -> bytes:
    return text.encode() if isinstance(text, str) else text
