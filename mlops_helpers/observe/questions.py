"""The arithmetic of the questions, as pure functions of arrays: growth of counters and quantiles of histograms.

Times are integer milliseconds since the epoch, as in Prometheus: whether a sample lies on the edge of a window must not
hang on the rounding of a float. NaN means "not known".
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "Millis", "histogram_quantile", "increase"]

Floats = NDArray[np.float64]
Millis = NDArray[np.int64]
_NEAR = 1.1  # a window's edge is near when it is within so many average distances between samples


def increase(
    times: Millis, values: Floats, first: NDArray[np.intp], last: NDArray[np.intp], start: Millis, end: Millis
) -> Floats:
    """Return by how much counters grew in windows, resets mended, extrapolated to the whole of each window.

    ``times`` and ``values`` are the samples of one series, or of many one after another; the window from ``start`` to
    ``end`` (ms) holds the samples number ``first`` to ``last`` (both included). The last four broadcast against each
    other and give the shape of the answer, so that all series and all evaluation times take one call. A window with
    fewer than two samples is NaN.

    The formula is PromQL's ``increase()`` (``extrapolatedRate`` in Prometheus 2.42, promql/functions.go). With growth
    g = last - first value + the sum of the values before each reset, and s = time from first to last sample:

    * the result is g x (s + before + after) / s;
    * ``before`` is the time from the window's start to the first sample (but no longer than the counter, growing
      evenly, needed to come up from 0), if that is shorter than 1.1 average distances between samples; else half a
      distance: the series is taken to have begun there;
    * ``after`` likewise at the window's end, without the clause on 0.

    Raises nothing: what is not finite in the samples is not finite in the answer.
    """
    first, last, start, end = np.broadcast_arrays(first, last, start, end)
    enough = last > first
    # no window reads beyond the samples; where there are too few, the answer is overwritten below
    first, last = np.where(enough, first, 0), np.where(enough, last, 0)
    answer = np.full(enough.shape, np.nan)
    if not enough.any():
        return answer
    with np.errstate(all="ignore"):
        begin, grown = values[first], values[last] - values[first] + _before_resets(values, first, last)
        sampled = (times[last] - times[first]) / 1000
        apart = sampled / np.where(enough, last - first, 1)
        before, after = (times[first] - start) / 1000, (end - times[last]) / 1000
        from_zero = np.where((grown > 0) & (begin >= 0), sampled * (begin / grown), np.inf)
        before = np.where(from_zero < before, from_zero, before)
        covered = sampled
        for gap in (before, after):
            covered = covered + np.where(gap < apart * _NEAR, gap, apart / 2)
        answer[enough] = (grown * (covered / sampled))[enough]
    return answer


def _before_resets(values: Floats, first: NDArray[np.intp], last: NDArray[np.intp]) -> Floats | float:
    """Return the sum of the values before each reset (a value below the one before it) within each window."""
    resets = np.flatnonzero(values[1:] < values[:-1])
    if not len(resets):
        return 0.0
    # a reset lies between samples r and r + 1: the window has both
    low, high = np.searchsorted(resets, first.ravel()), np.searchsorted(resets, last.ravel())
    lost = np.append(values[resets], 0.0)  # reduceat needs every index to exist
    sums = np.add.reduceat(lost, np.column_stack([low, high]).ravel())[::2]
    return np.where(high > low, sums, 0.0).reshape(first.shape)


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
