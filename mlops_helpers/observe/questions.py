"""The arithmetic of the questions, as pure functions of arrays: growth of counters and quantiles of histograms.

Times are integer milliseconds since the epoch, as in Prometheus: whether a sample lies on the edge of a window must not
hang on the rounding of a float. NaN means "not known".
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Edges", "Floats", "Millis", "edges", "histogram_quantile", "increase"]

Floats = NDArray[np.float64]
Millis = NDArray[np.int64]
_NEAR = 1.1  # a window's edge is near when it is within so many average distances between samples


class Edges(NamedTuple):
    """What windows on counters hold: all that their growth depends on. Arrays of one shape, or numbers.

    ``steps`` is the number of samples less one; where it is not above 0, the rest means nothing.
    """

    begin: ArrayLike
    """Time of the first sample (ms)."""
    end: ArrayLike
    """Time of the last one."""
    first: ArrayLike
    """Value of the first sample."""
    last: ArrayLike
    """Value of the last one."""
    lost: ArrayLike
    """Sum of the values before each reset, a reset being a value below the one before it."""
    steps: ArrayLike


def edges(times: Millis, values: Floats, starts: Millis, ends: Millis) -> Edges:
    """Return what the windows from ``starts`` to ``ends`` (ms), both included, hold of one series' samples."""
    low, high = np.searchsorted(times, starts, "left"), np.searchsorted(times, ends, "right") - 1
    steps = high - low
    if not len(times):
        nothing = np.zeros(len(steps))
        return Edges(nothing, nothing, nothing, nothing, nothing, steps)
    low, high = np.where(steps > 0, low, 0), np.where(steps > 0, high, 0)
    return Edges(times[low], times[high], values[low], values[high], _before_resets(values, low, high), steps)


def _before_resets(values: Floats, low: NDArray[np.intp], high: NDArray[np.intp]) -> Floats:
    resets = np.flatnonzero(values[1:] < values[:-1])
    if not len(resets):
        return np.zeros(len(low))
    # a reset lies between samples r and r + 1: the window has both
    first, after = np.searchsorted(resets, low), np.searchsorted(resets, high)
    lost = np.append(values[resets], 0.0)  # reduceat needs every index to exist
    sums = np.add.reduceat(lost, np.column_stack([first, after]).ravel())[::2]  # exact, where cumulated sums are not
    return np.where(after > first, sums, 0.0)


def increase(window: Edges, start: ArrayLike, end: ArrayLike) -> Floats:
    """Return by how much counters grew in windows from ``start`` to ``end`` (ms), extrapolated to the whole of each.

    NaN for fewer than two samples. The formula is PromQL's ``increase()`` (``extrapolatedRate`` in Prometheus 2.42,
    promql/functions.go). With growth g = last - first + lost, and s = time from first to last sample:

    * the result is g x (s + before + after) / s;
    * ``before`` is the time from the window's start to the first sample (but no longer than the counter, growing
      evenly, needed to come up from 0), if that is shorter than 1.1 average distances between samples; else half a
      distance: the series is taken to have begun there;
    * ``after`` likewise at the window's end, without the clause on 0.
    """
    begins, ends, first, last, lost, steps = (np.asarray(part, float) for part in window)
    with np.errstate(all="ignore"):
        grown = last - first + lost
        sampled = (ends - begins) / 1000
        apart = sampled / steps
        before, after = (begins - start) / 1000, (end - ends) / 1000
        from_zero = np.where((grown > 0) & (first >= 0), sampled * (first / grown), np.inf)
        before = np.where(from_zero < before, from_zero, before)
        covered = sampled
        for gap in (before, after):
            covered = covered + np.where(gap < apart * _NEAR, gap, apart / 2)
        return np.where(steps > 0, grown * (covered / sampled), np.nan)


def histogram_quantile(q: float, bounds: Floats, counts: Floats) -> Floats:
    """Return the ``q``-quantile (0 to 1) of each column of ``counts``, interpolated within the bucket that holds it.

    ``bounds`` are the buckets' upper bounds (``le``), ascending, each once; ``counts[i, t]`` is the cumulated count up
    to ``bounds[i]`` at time ``t``, NaN where that bucket is absent. Counts that fall from one bucket to the next are
    lifted, as scrapes can tear a histogram apart.

    The formula is PromQL's ``histogram_quantile()`` (``bucketQuantile`` in Prometheus 2.42, promql/quantile.go). NaN
    without observations, without a bucket ``+Inf`` or with fewer than two buckets. A quantile in the bucket ``+Inf``
    is the highest finite bound; one in the lowest bucket is interpolated from 0, or its bound if that is not above 0.
    """
    answer = np.full(counts.shape[1], np.nan)
    present = ~np.isnan(counts)
    if present.all():
        return _of_complete(q, bounds, counts)
    patterns, which = np.unique(present, axis=1, return_inverse=True)
    for number, pattern in enumerate(patterns.T):  # few: buckets come and go together
        at = np.flatnonzero(which.ravel() == number)
        answer[at] = _of_complete(q, bounds[pattern], counts[np.ix_(pattern, at)])
    return answer


def _of_complete(q: float, bounds: Floats, counts: Floats) -> Floats:
    if len(bounds) < 2 or not np.isposinf(bounds[-1]):
        return np.full(counts.shape[1], np.nan)
    with np.errstate(all="ignore"):
        counts = np.maximum.accumulate(counts, axis=0)
        rank = q * counts[-1]
        bucket = (counts[:-1] < rank).sum(axis=0)
        upper, inside = bounds[bucket], np.take_along_axis(counts, bucket[None], axis=0)[0]
        below = np.take_along_axis(counts, np.maximum(bucket - 1, 0)[None], axis=0)[0]
        lower, below = np.where(bucket > 0, bounds[bucket - 1], 0.0), np.where(bucket > 0, below, 0.0)
        quantile = lower + (upper - lower) * ((rank - below) / (inside - below))
        quantile = np.where((bucket == 0) & (upper <= 0), upper, quantile)
        quantile = np.where(bucket == len(bounds) - 1, bounds[-2], quantile)
        return np.where(counts[-1] == 0, np.nan, quantile)
