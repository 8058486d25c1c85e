"""The samples of an embedded store, in memory and bounded: which series there are, and what may be added to them."""

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Container, Iterable

import numpy as np

from mlops_helpers.errors import MetricsError
from mlops_helpers.observe.questions import Floats, Millis
from mlops_helpers.observe.selector import Selector
from mlops_helpers.observe.source import nothing_named
from mlops_helpers.observe.tables import Key

__all__ = ["Memory", "Series", "window_edges"]

_AHEAD = 600_000  # ms; a sample from further in the future would keep all later ones out
_SWEEPS = 8  # old samples are dropped so many times a retention
_REMEMBERED = 1_000  # selectors
_TOO_FEW = (0.0,) * 6


class Series:
    """One series: times (ms) and values of its samples, and the times at which it was marked stale, all ascending."""

    __slots__ = ("_lost", "_resets", "key", "labels", "last", "stale", "stated", "times", "values")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.labels = dict(key)
        self.times, self.values, self.stale = array("q"), array("d"), array("q")
        self._resets, self._lost = array("q"), array("d")  # times of samples below the one before; the value before
        self.last = -(1 << 62)  # time of the latest sample or mark
        self.stated = False  # whether the target states the times itself: then silence is no sign of an end

    def add(self, time: int, value: float) -> None:
        """Add a sample; its time (ms) must be after ``last``."""
        if self.values and value < self.values[-1]:
            self._resets.append(time)
            self._lost.append(self.values[-1])
        self.times.append(time)
        self.values.append(value)
        self.last = time

    def window(self, start: int, end: int) -> tuple[Millis, Floats]:
        """Return copies of the samples from ``start`` to ``end`` (ms), both included."""
        low, high = bisect_left(self.times, start), bisect_right(self.times, end)
        return np.array(self.times[low:high], np.int64), np.array(self.values[low:high], np.float64)

    def at(self, time: int, lookback: int) -> float | None:
        """Return the latest sample's value; None if it is older than ``lookback`` (ms) or the series is stale."""
        place = bisect_right(self.times, time) - 1
        if place < 0 or self.times[place] < time - lookback:
            return None
        ended = bisect_right(self.stale, time)
        return None if ended and self.stale[ended - 1] > self.times[place] else self.values[place]

    def mark_stale(self, time: int) -> None:
        """Say that from ``time`` (ms) on there is no value until the next sample."""
        if time > self.last and not self.stated:
            self.stale.append(time)
            self.last = time

    def forget_before(self, time: int) -> int:
        """Drop what is older than ``time`` (ms); return how many samples that were."""
        place, resets = bisect_left(self.times, time), bisect_left(self._resets, time)
        del self.times[:place], self.values[:place], self.stale[: bisect_left(self.stale, time)]
        del self._resets[:resets], self._lost[:resets]
        return place


def window_edges(found: Iterable[Series], start: int, end: int) -> Floats:
    """Return what the window from ``start`` to ``end`` (ms), both included, holds of each series: columns of ``Edges``.

    It takes as long for a window of days as for one of seconds: resets were noted when they came. One loop for all of
    them, and the place of the first sample tried in the next series, too, as an alert asks thousands a second.
    """
    rows, low = [], 0
    for series in found:
        times, values = series.times, series.values
        high = (len(times) if series.last <= end else bisect_right(times, end)) - 1  # nearly always up to now
        if not (low < len(times) and times[low] >= start and (low == 0 or times[low - 1] < start)):
            low = bisect_left(times, start)
        if high <= low:
            rows.append(_TOO_FEW)
            continue
        first, last, lost = times[low], times[high], 0.0
        if resets := series._resets:
            lost = sum(series._lost[bisect_right(resets, first) : bisect_right(resets, last)])
        rows.append((first, last, values[low], values[high], lost, high - low))
    return np.array(rows, float).reshape(-1, len(_TOO_FEW)).T


class Memory:
    """All series, for ``retention`` seconds, at most ``most_series`` with at most ``most_samples`` together.

    ``refused`` counts the samples that were not taken, by reason. Not safe to share between threads: its owner locks.
    """

    def __init__(self, retention: float, most_series: int, most_samples: int) -> None:
        if not (retention > 0 and most_series > 0 and most_samples > 0):
            raise MetricsError("accepted: retention, most_series and most_samples above 0")
        self.retention, self.most_series, self.most_samples = retention, most_series, most_samples
        self.series: dict[Key, Series] = {}
        self.refused: Counter[str] = Counter()
        self.samples = 0
        self._named: dict[str, list[Series]] = {}
        self._matched: dict[Selector, list[Series]] = {}
        self._next_sweep = -(1 << 62)

    def series_for(self, keys: Iterable[Key], *, bounded: bool = True) -> list[Series]:
        """Return the series of these labels, made where they are new.

        Raises ``MetricsError`` before anything is made when that were too many series or samples.
        """
        wanted = list(keys)
        new = {key for key in wanted if key not in self.series}
        if bounded and new and len(self.series) + len(new) > self.most_series:
            raise MetricsError(
                f"{len(new):,} new series beside {len(self.series):,}; accepted: at most {self.most_series:,} in all. "
                "A label whose values never end (a user, a request id) makes a series of each. Next: drop such labels, "
                "or Store(most_series=...)"
            )
        for key in new:
            made = self.series[key] = Series(key)
            self._named.setdefault(made.labels["__name__"], []).append(made)
        if new:
            self._matched.clear()
        return [self.series[key] for key in wanted]

    def make_room(self, coming: int, now: int, in_use: Callable[[], Container[Series]]) -> None:
        """Drop what is older than the retention, if it is time to, but no series (empty, then) that is in use.

        Raises ``MetricsError`` when ``coming`` samples more were too many.
        """
        full = self.samples + coming > self.most_samples
        if now >= self._next_sweep or full:
            age = round(self.retention * 1000)
            self._next_sweep = now + age // _SWEEPS
            self._sweep(now - age, in_use())
        if self.samples + coming > self.most_samples:
            raise MetricsError(
                f"{self.samples:,} samples are held; accepted: at most {self.most_samples:,}. "
                f"Next: a longer interval, or Store(retention=...) below {self.retention:g} s, or most_samples=..."
            )

    def _sweep(self, before: int, in_use: Container[Series]) -> None:
        self.samples -= sum(series.forget_before(before) for series in self.series.values())
        for key in [key for key, series in self.series.items() if series.last < before and series not in in_use]:
            series = self.series.pop(key)
            same_name = self._named[series.labels["__name__"]]
            same_name.remove(series)
            if not same_name:
                del self._named[series.labels["__name__"]]
        self._matched.clear()

    def write(self, series: Series, time: int, value: float, now: int) -> bool:
        """Add a sample, or count it as refused: times (ms) only go forward. The same sample once more is ignored."""
        if time <= series.last:
            if series.times and series.times[-1] == time and series.values[-1] == value:
                return True
            self.refused["duplicate" if time == series.last else "out of order"] += 1
            return False
        if time > now + _AHEAD:
            self.refused["from the future"] += 1
            return False
        series.add(time, value)
        self.samples += 1
        return True

    def matching(self, selector: Selector) -> list[Series]:
        """Return the series that are meant; raises ``MetricsError`` when there is none of that name."""
        found = self._matched.get(selector)
        if found is None:
            if selector.name not in self._named:
                raise nothing_named(selector.name, self._named)
            if len(self._matched) >= _REMEMBERED:
                self._matched.clear()
            found = [series for series in self._named[selector.name] if selector.matches(series.labels)]
            self._matched[selector] = found
        return found
