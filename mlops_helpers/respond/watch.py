"""What readers meet, as metrics, and the burn-rate alerts on them: a prober outside, in the course's own time lapse."""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlops_helpers.errors import MetricsError
from mlops_helpers.observe.burnrate import BurnRule, in_time_lapse
from mlops_helpers.observe.objectives import DAY, MINUTE, Indicator, Objective
from mlops_helpers.observe.paging import Alerts
from mlops_helpers.observe.store import Store
from mlops_helpers.observe.webhook import Page
from mlops_helpers.serve.blackbox import read_lines

__all__ = ["FAST_SECONDS", "SLIS", "Watch", "objectives", "verdicts"]

FAST_SECONDS = 0.4
EVERY_SECONDS = 0.2
SLIS = {
    "availability": "visits that were answered without error",
    "fast": f"visits that were answered within {FAST_SECONDS} s",
    "honest_published": "honest comments that readers saw at once",
    "spam_held": "spam that readers did not see",
}
"""What a drill is judged by, as good events of all events in the readers' record."""
_TARGETS = {"availability": 0.99, "fast": 0.95, "honest_published": 0.95, "spam_held": 0.90}
_BURN = {"availability": 14.4, "fast": 6.0, "honest_published": 6.0, "spam_held": 4.0}
_LONG, _SHORT = 30 * MINUTE, 5 * MINUTE


def objectives(time_lapse: float) -> list[tuple[Objective, tuple[BurnRule, ...]]]:
    """Return an objective for each SLI with the rule that pages, every window divided by ``time_lapse``."""
    found = []
    for name, target in _TARGETS.items():
        good, total = (
            f'readers_{name}_total{{verdict="{one}"}}' if one else f"readers_{name}_total" for one in ("good", "")
        )
        kind = {"availability": "availability", "fast": "latency"}.get(name, "quality")
        about = Objective(name.replace("_", "-"), target, Indicator.of_counters(kind, total, good=good))
        rule = BurnRule("page", _BURN[name] * _LONG / (30 * DAY), _LONG, _SHORT, minimum_bad=5)
        found.append(in_time_lapse(about, [rule], time_lapse))
    return found


def verdicts(record: Mapping[Any, Any]) -> dict[str, bool]:
    """Return the SLIs that a line of the readers' record is an event of, and whether it is a good one."""
    kind, ok, label = record["kind"], record["outcome"] == "ok", record["label"]
    if kind not in ("comment", "read"):
        return {}
    latency = record["latency"]
    found = {"availability": ok, "fast": ok and isinstance(latency, float) and latency <= FAST_SECONDS}
    if kind == "comment" and ok and label == 0:
        found["honest_published"] = record["state"] == "published"
    if kind == "comment" and ok and label == 1:
        found["spam_held"] = record["state"] != "published"
    return found


class Watch:
    """Reads the records of readers while they are written, and evaluates the alerts; in a thread, as a context.

    ``notify`` is told of pages. ``seen`` counts (good, bad) by SLI. ``deaf`` loses the telemetry while it is True;
    ``skew`` seconds are added to the clock that samples are dated by. ``latest`` is the date of the last sample.
    """

    def __init__(self, time_lapse: float, notify: Callable[[list[Page]], None]) -> None:
        self.store = Store()
        self._objectives = objectives(time_lapse)
        self.alerts = Alerts(self.store, self._objectives, notify=self._tell)
        self.deaf, self.muted, self.skew = False, False, 0.0
        self.latest = time.time()
        self.seen = {name: [0, 0] for name in SLIS}
        self._records: dict[Path, int] = {}
        self._notify = notify
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch on readers", daemon=True)

    def add(self, record: Path) -> None:
        """Read one more record."""
        self._records[record] = 0

    def raise_threshold(self, bad_events: float = 1e9) -> None:
        """Page for so many bad events only: what a tired team does, and no reader is helped by."""
        loose = [
            (about, [replace(rule, minimum_bad=bad_events) for rule in rules]) for about, rules in self._objectives
        ]
        self.alerts = Alerts(self.store, loose, notify=self._tell)

    def reconnect(self) -> None:
        """Collect again what was lost, dated by a clock that is right."""
        self.deaf, self.skew = False, 0.0

    def unknown(self) -> bool:
        """Return whether telemetry is lost: nothing was scraped lately."""
        return self.deaf or self.skew != 0.0

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _tell(self, pages: list[Page]) -> None:
        if not self.muted:
            self._notify(pages)

    def _run(self) -> None:
        while not self._end.wait(EVERY_SECONDS):
            for path, offset in list(self._records.items()):
                with contextlib.suppress(OSError):
                    lines, self._records[path] = read_lines(path, offset)
                    for line in lines:
                        for name, good in verdicts(line).items() if "kind" in line else ():
                            self.seen[name][not good] += 1
            now = time.time()
            with contextlib.suppress(MetricsError):  # a clock that went back is refused, and told as unknown
                if not self.deaf:
                    self.store.append(now + self.skew, self._exposed(), {"job": "readers", "instance": "outside"})
                    self.latest = now + self.skew
                self.alerts.evaluate(now)

    def _exposed(self) -> str:
        lines = []
        for name, (good, bad) in self.seen.items():
            lines.append(f"# TYPE readers_{name}_total counter")
            lines += [
                f'readers_{name}_total{{verdict="{verdict}"}} {count}'
                for verdict, count in (("good", good), ("bad", bad))
            ]
        return "\n".join(lines) + "\n"
