"""Whether a drill's times are those of the readers' record, which is read here anew, without the judge's own code."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from benchmarks.harness import Figure
from mlops_helpers.respond.judge import STEP
from mlops_helpers.respond.watch import EVERY_SECONDS, verdicts

__all__ = ["Ran", "consistency_figures"]

_WINDOW, _FEWEST, _FINE = 2.0, 5, 0.005  # seconds, events, seconds: what DESIGN calls a window, looked at closely


@dataclass(frozen=True)
class Ran:
    """A drill that has run: its journal, where its record is, and what steady state is in it."""

    name: str
    journal: Sequence[Mapping[str, Any]]
    folder: Path
    tolerances: Mapping[str, float]

    def times(self, kind: str) -> list[float]:
        """Return when records of a kind were noted (epoch seconds)."""
        return [float(one["at"]) for one in self.journal if one["kind"] == kind]


def consistency_figures(drills: Sequence[Ran]) -> Iterator[Figure]:
    """Compare breaches, pages, acknowledgements and mitigations of drills with their records."""
    wrong: dict[str, list[str]] = {"breach": [], "page": [], "acknowledgement": [], "mitigation": []}
    looked: dict[str, int] = dict.fromkeys(wrong, 0)
    for one in drills:
        events = _events(one.folder)
        for what, good in _verdicts(one, events):
            looked[what] += 1
            wrong[what] += [] if good else [one.name]
    for what, names in wrong.items():
        interval = STEP if what in ("breach", "mitigation") else EVERY_SECONDS
        of = f"of {looked[what]}, each within an interval of {interval} s"
        called = f"times of a {what} that the readers' record does not bear out"
        yield Figure(called, len(names), "count", "<= 0", "; ".join(names) or of)


def _events(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return, by SLI, when visits were intended (epoch seconds, ascending) and whether each was good."""
    rows: dict[str, list[tuple[float, bool]]] = {}
    for path in [folder / "readers.jsonl", *sorted(folder.glob("crowd-*.jsonl"))]:
        header, *lines = map(orjson.loads, path.read_bytes().splitlines())
        start = datetime.fromisoformat(header["started_at"]).timestamp()
        for line in lines:
            for name, good in verdicts(line).items():
                rows.setdefault(name, []).append((start + line["intended"], good))
    return {name: tuple(map(np.array, zip(*sorted(found), strict=True))) for name, found in rows.items()}  # type: ignore[misc]


def _verdicts(one: Ran, events: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[str, bool]]:
    injected = max(one.times("injected"), default=0.0)
    breached = {record["sli"]: float(record["at"]) for record in one.journal if record["kind"] == "breached"}
    ended = max(one.times("mitigated") + one.times("reverted"), default=np.inf)
    for name, at in breached.items():
        begins = _below(events[name], one.tolerances[name], injected, ended)
        bad = events[name][0][~events[name][1]]
        yield "breach", bool(np.any(np.abs(bad - at) < 1e-3) and _told_in_time(at, bad, begins))
    paged = [
        (record["objective"].replace("-", "_"), float(record["at"]))
        for record in one.journal
        if record["kind"] == "alert" and record["status"] == "firing" and record["at"] >= injected
    ]
    for name, at in paged:
        times, good = events[name]
        yield "page", bool(np.sum(~good & (times <= at + EVERY_SECONDS) & (times >= injected - STEP)) > 0)
    known = [at for _, at in paged] + list(breached.values())  # without telemetry, readers report it and no page comes
    for at in one.times("acknowledged"):
        yield "acknowledgement", not known or at >= min(known) - EVERY_SECONDS
    for at in one.times("mitigated"):
        last = max(
            (float(below[-1]) for name, least in one.tolerances.items() if name in events
             if (below := _below(events[name], least, injected, at + 2 * STEP)).size),
            default=injected,
        )  # fmt: skip
        yield "mitigation", -STEP <= at - last <= 2 * STEP


def _told_in_time(at: float, bad: np.ndarray, begins: np.ndarray) -> bool:
    """Whether a breach is the first bad visit of a bad window, and of which: one that begins at most a step after bad
    windows first follow each other for a step. Where shares are close to a tolerance, some last for less.
    """
    first = bad[np.searchsorted(bad, begins)]  # of each bad window
    runs = np.split(begins, np.flatnonzero(np.diff(begins) > 1.5 * _FINE) + 1)
    lasting = min((run[0] for run in runs if run.size and run[-1] - run[0] >= STEP), default=np.inf)
    latest = bad[bad >= lasting + STEP]
    return bool(np.any(np.abs(first - at) < 1e-3) and (not latest.size or at <= latest[0]))


def _below(events: tuple[np.ndarray, np.ndarray], least: float, start: float, end: float) -> np.ndarray:
    """Return the begins, ascending, of all windows with enough events whose share of good ones is below ``least``."""
    times, good = events
    begins = np.arange(start, min(end, float(times[-1])), _FINE)
    first, last = np.searchsorted(times, begins), np.searchsorted(times, begins + _WINDOW)
    sums = np.concatenate([[0], np.cumsum(good)])
    total = last - first
    return begins[(total >= _FEWEST) & (sums[last] - sums[first] < least * total)]
