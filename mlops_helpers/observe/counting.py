"""Two ways to get Counts (see :mod:`mlops_helpers.observe.counts`): from a log of events, and from counters."""

import math
import warnings
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from mlops_helpers.errors import MetricsError
from mlops_helpers.observe.burnrate import words
from mlops_helpers.observe.counts import for_objective, slices, validate
from mlops_helpers.observe.objectives import Objective
from mlops_helpers.observe.source import milliseconds

if TYPE_CHECKING:
    from mlops_helpers.observe.selector import Selector
    from mlops_helpers.observe.source import MetricsSource

__all__ = ["Moment", "count", "for_objective", "from_metrics", "require_part", "slices", "validate"]

Moment: TypeAlias = float | str | datetime | pd.Timestamp | np.datetime64
"""Seconds since the epoch, or a date and time (UTC unless it says otherwise)."""

_SECOND = 1_000_000_000  # steps are laid out in whole nanoseconds: nothing at a step's border falls to the wrong side
_MILLI = 1_000_000
_LATEST = 2**63 // _SECOND - 1
_MOST_STEPS = 20_000_000
_CHUNK = 1_000_000  # events at a time: ten million need no second copy
_JITTER = 0.05
_NOISE = 1e-9  # extrapolation of equal counters may differ by as much


def count(
    times: "Sequence[Any] | np.ndarray | pd.Series | pd.Index",
    good: "Sequence[bool] | np.ndarray | pd.Series",
    step: float,
    *,
    start: Moment | None = None,
    end: Moment | None = None,
    weights: "Sequence[float] | np.ndarray | pd.Series | None" = None,
) -> pd.DataFrame:
    """Return the Counts of events, in steps of ``step`` seconds, from ``start`` to before ``end``.

    ``times`` are datetimes (UTC unless they say otherwise) or seconds since the epoch, in any order; ``good`` says of
    each event whether it was. ``weights`` is how many events each row stands for (>= 0). Without ``start`` and ``end``
    the steps reach from the first event to the last, at multiples of ``step``; events outside of a given start or end
    are left out. A step without events counts 0: events are taken as all that happened.

    Raises ``MetricsError`` for missing times or verdicts, columns of different lengths, or no events and no window.
    """
    if not 1 / _SECOND <= step < math.inf:
        raise MetricsError(f"step is {step}; accepted: seconds, above 0, such as 60")
    clock, tick, earliest, latest = _clock(times)
    kept = _verdicts(good)
    weight = None if weights is None else np.asarray(weights, float)
    for name, column in (("verdicts", kept), ("weights", weight)):
        if column is not None and len(column) != len(clock):
            raise MetricsError(f"{len(clock)} times, but {len(column)} {name}; accepted: one for each event")
    if weight is not None and len(weight) and not 0 <= weight.min() <= weight.max() < math.inf:
        raise MetricsError(f"weights reach from {weight.min()} to {weight.max()}; accepted: finite, 0 or more")
    if not len(clock) and (start is None or end is None):
        raise MetricsError("no events: nothing is known. Next: give start and end, if it is known that there were none")
    width = round(step * _SECOND)
    first = earliest // width * width if start is None else nanoseconds(start)
    last = (latest // width + 1) * width if end is None else nanoseconds(end)
    steps, left = divmod(last - first, width)
    if left or not 0 < steps <= _MOST_STEPS:
        raise MetricsError(
            f"from {_date(first)} to {_date(last)} there are {(last - first) / width:.9g} steps of {step} s; "
            f"accepted: a whole number of them, 1 to {_MOST_STEPS}"
        )
    table = np.zeros((2, steps))
    for begin in range(0, len(clock), _CHUNK):
        part = slice(begin, begin + _CHUNK)
        bins = (_whole(clock[part], tick) - first) // width
        inside = (bins >= 0) & (bins < steps)
        for row, chosen in enumerate((inside & kept[part], inside)):
            heavy = None if weight is None else weight[part][chosen]
            table[row] += np.bincount(bins[chosen], heavy, minlength=steps)
    return _counts(first, width, table[0], table[1])


def from_metrics(
    source: "MetricsSource", objective: Objective, start: Moment, end: Moment, step: float
) -> pd.DataFrame:
    """Return the Counts of an objective's indicator from counters, in steps of ``step`` seconds.

    Not known (NaN) is a step in which the source has too few samples. The selected part of a counter whose other
    series do grow counts 0 while it has no series itself: nobody has seen an error yet. Counters that are scraped at
    different moments may show more good events than events; that is clipped, with a warning. Throughput has good =
    total here and is judged by :func:`slices`.

    Raises ``MetricsError`` for metrics that do not exist, for a window that is not a whole number of steps, and for
    steps that are too short for the scrapes: of two series, growth would be known of one, and half of it be missing.
    """
    first, last = (round(nanoseconds(moment) / _MILLI) for moment in (start, end))
    width = milliseconds(step)
    if width <= 0 or abs(width - step * 1000) > 1e-6 or last <= first or (last - first) % width:
        raise MetricsError(f"from {start} to {end} in steps of {step} s; accepted: whole steps of whole milliseconds")
    steps = (last - first) // width

    def grown(selector: "Selector") -> np.ndarray:
        answer = source.increase(
            selector, width / 1000, start=(first + width) / 1000, end=last / 1000, step=width / 1000, by=()
        ).dropna()
        since = pd.DatetimeIndex(answer["time"]).as_unit("ms").asi8 - first
        values = np.full(steps, np.nan)
        values[since // width - 1] = answer["value"]
        return values

    indicator = objective.indicator
    total = grown(indicator.total)
    if not np.isnan(total).all():
        known = int(np.flatnonzero(~np.isnan(total))[-1]) + 1
        _require_scrapes(source, indicator.total, (first + known * width) / 1000, width / 1000)
    part = indicator.good or indicator.bad
    if part is None:
        return _counts(first * _MILLI, width * _MILLI, total.copy(), total)
    seen = grown(part)
    if np.isnan(seen).all() and not np.isnan(total).all():
        require_part(source, objective, (last - first) / 1000, last / 1000)
    if part.name == indicator.total.name:
        seen = np.where(np.isnan(seen) & ~np.isnan(total), 0.0, seen)
    good = seen if indicator.good else total - seen
    beyond = (good > total * (1 + _NOISE)) | (good < -_NOISE * total)
    if beyond.any():
        warnings.warn(
            f"{objective.name}: {int(beyond.sum())} of {steps} steps counted more of {part} than of {indicator.total}; "
            "clipped to all of them",
            stacklevel=2,
        )
    return _counts(first * _MILLI, width * _MILLI, np.clip(good, 0, total), np.where(np.isnan(good), np.nan, total))


def _require_scrapes(source: "MetricsSource", selector: "Selector", at: float, step: float) -> None:
    samples = source.series(selector, at - 5 * step, at)
    labels = [name for name in samples if name not in ("time", "value")]
    apart = samples.groupby(labels, dropna=False)["time"].diff().median() / pd.Timedelta(1, "s")
    if step < 2 * apart * (1 - _JITTER):
        raise MetricsError(
            f"{selector} is scraped every {words(apart)}, too rarely for steps of {words(step)}; accepted: two "
            "scrapes a step. Next: scrape more often, or count in longer steps"
        )


def require_part(source: "MetricsSource", objective: Objective, window: float, at: float) -> None:
    """Raise ``MetricsError`` unless it is plausible that the part of an indicator without any series has counted 0.

    It is when total and part are the same counter and its series have the labels which the part is selected by: then
    there was no such event. A misspelt label, or a bucket that a histogram lacks, would otherwise look like 0 for ever.
    """
    total, part = objective.indicator.total, objective.indicator.good or objective.indicator.bad
    assert part is not None
    labels = tuple(sorted({matcher.label for matcher in part.matchers}))
    if part.name == total.name:
        series = source.increase(total, window, at=at, by=labels)
        missing = [label for label in labels if series[label].fillna("").eq("").all()]
        if not missing:
            return
        reason = f"no series of {total} has the label {', '.join(missing)}"
    else:
        reason = "a histogram's le must be one of its bounds, and labels be spelt as they are exposed"
    raise MetricsError(f"{objective.name}: {total} counts, but nothing is known of {part}. Next: mend it; {reason}")


def nanoseconds(moment: Moment) -> int:
    """Return a moment as nanoseconds since the epoch.

    Raises ``MetricsError`` for what is no date and time.
    """
    try:
        if not isinstance(moment, float | int | np.number):
            if not pd.isna(parsed := pd.to_datetime(moment, utc=True)):
                return int(parsed.as_unit("ns").value)
        elif -_LATEST <= moment <= _LATEST:
            return int(_whole(np.array([float(moment)]), 0)[0])
    except (ValueError, TypeError, AttributeError, OverflowError):
        pass
    raise MetricsError(f"{moment!r} is no time; accepted: 2026-01-31 12:00, or seconds since 1970")


def _clock(times: Any) -> tuple[np.ndarray, int, int, int]:
    """Return the times, nanoseconds a unit (0: they are float seconds), and the earliest and latest in nanoseconds."""
    if not hasattr(times, "dtype"):
        times = np.asarray(times) if len(times) else np.empty(0)
    if times.dtype.kind == "M":
        index = pd.DatetimeIndex(times)
        clock, tick = index.asi8, _SECOND // {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[index.unit]
    elif times.dtype.kind in "iuf":
        clock, tick = np.asarray(times, float), 0
    else:
        raise MetricsError(f"times are of {times.dtype}; accepted: datetimes, or seconds since 1970")
    if not len(clock):
        return clock, tick, 0, 0
    ends = np.array([clock.min(), clock.max()])
    seconds = ends * (tick / _SECOND) if tick else ends
    # NaT is the smallest of all integers, and a single NaN is minimum and maximum
    if not -_LATEST <= seconds[0] <= seconds[1] <= _LATEST:
        raise MetricsError(
            f"times reach from {seconds[0]:.6g} to {seconds[1]:.6g} s since 1970; accepted: none missing, seconds and "
            "not milliseconds. Next: leave out events without a time, or find out why they have none"
        )
    earliest, latest = _whole(ends, tick).tolist()
    return clock, tick, earliest, latest


def _whole(times: np.ndarray, tick: int) -> np.ndarray:
    """Return nanoseconds; floats are seconds, and of these days only the microseconds of them mean anything."""
    return times * tick if tick else np.rint(times * 1e6).astype(np.int64) * 1000


def _verdicts(good: Any) -> np.ndarray:
    if not hasattr(good, "dtype"):
        good = np.asarray(good) if len(good) else np.empty(0, bool)
    if str(good.dtype) not in ("bool", "boolean", "bool[pyarrow]"):
        raise MetricsError(f"verdicts are of {good.dtype}; accepted: booleans, such as events['status'] < 500")
    if pd.isna(good).any():
        raise MetricsError(
            f"{int(pd.isna(good).sum())} of {len(good)} verdicts are missing. Next: leave these events out, or decide "
            "with fillna() whether they were good"
        )
    return np.asarray(good, bool)


def _counts(first: int, width: int, good: np.ndarray, total: np.ndarray) -> pd.DataFrame:
    start = pd.DatetimeIndex((first + width * np.arange(len(total))).view("M8[ns]"), tz="UTC", name="start")
    counts = pd.DataFrame({"good": good, "total": total}, index=start)
    counts.attrs = {"step": width / _SECOND}
    return counts


def _date(nanoseconds: int) -> str:
    return str(pd.Timestamp(nanoseconds, tz="UTC"))
