"""What readers' record says of a drill: shares by SLI, when a tolerance was left, and since when it was kept again."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlops_helpers.respond.watch import FAST_SECONDS
from mlops_helpers.serve import sli
from mlops_helpers.serve.sli import Share

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["STEP", "bad_between", "breaches", "holds", "mitigated_at", "shares"]

STEP = 0.5
"""Seconds between two moments at which the record is judged; what lasts as long is told, and right to within one."""
WINDOW = 2.0
_FEWEST = 5  # with fewer events than this in a window nothing is said


def shares(frame: "pd.DataFrame", start: float, end: float) -> dict[str, Share]:
    """Return good and total events by SLI of what was intended from ``start`` to before ``end`` (epoch seconds)."""
    part = frame[frame["at"].ge(start) & frame["at"].lt(end)]
    return {name: Share(int(good.sum()), len(good)) for name, good in sli.events(part, FAST_SECONDS).items()}


def holds(found: Mapping[str, Share], tolerances: Mapping[str, float]) -> bool:
    """Return whether every SLI with enough events is at its tolerance or above."""
    return all(found[name].total < _FEWEST or found[name].ratio >= least for name, least in tolerances.items())


def breaches(frame: "pd.DataFrame", tolerances: Mapping[str, float], start: float, end: float) -> dict[str, float]:
    """Return, by SLI, when the first bad event happened of the first window in which it was below its tolerance.

    Windows that begin at ``start`` or later are looked at.
    """
    begins, found = _begins(start, end), {}
    for name, (at, good) in _events(frame, tolerances).items():
        below, _ = _windows(at, good, tolerances[name], begins)
        if below.any():
            begin = begins[below.argmax()]
            bad = at[(at >= begin) & ~good]
            found[name] = float(bad[0])
    return found


def mitigated_at(
    frame: "pd.DataFrame", tolerances: Mapping[str, float], start: float, end: float, sustained: float
) -> float | None:
    """Return since when all SLIs were within tolerance until ``end``; None: not, or for less than ``sustained``.

    Windows that begin at ``start`` or later are looked at; the moment is the begin of the first of those kept.
    """
    import numpy as np

    begins = _begins(start, end)
    outside = np.zeros(len(begins), bool)
    for name, (at, good) in _events(frame, {"availability": 0.0, **tolerances}).items():
        below, enough = _windows(at, good, tolerances.get(name, 0.0), begins)
        outside |= below
        if name == "availability":
            outside |= ~enough
    kept = begins[np.flatnonzero(outside)[-1] + 1 :] if outside.any() else begins
    return float(kept[0]) if len(kept) and end - kept[0] >= sustained else None


def bad_between(frame: "pd.DataFrame", start: float, end: float) -> dict[str, int]:
    """Return how many bad events readers met, by SLI: the budget that was spent."""
    return {name: share.total - share.good for name, share in shares(frame, start, end).items()}


def _events(frame: "pd.DataFrame", names: Mapping[str, float]) -> "dict[str, tuple[np.ndarray, np.ndarray]]":
    """Return, by SLI, when its events were intended, ascending, and whether each is a good one."""
    every = sli.events(frame, FAST_SECONDS)
    return {name: (frame.loc[every[name].index, "at"].to_numpy(), every[name].to_numpy(bool)) for name in names}


def _windows(
    at: "np.ndarray", good: "np.ndarray", least: float, begins: "np.ndarray"
) -> "tuple[np.ndarray, np.ndarray]":
    """Return, by window, whether the share of good events is below ``least``, and whether there are enough."""
    import numpy as np

    first, last = np.searchsorted(at, begins), np.searchsorted(at, begins + WINDOW)
    sums = np.concatenate([[0], np.cumsum(good)])
    total = last - first
    enough = total >= _FEWEST
    return enough & ((sums[last] - sums[first]) / np.maximum(total, 1) < least), enough


def _begins(start: float, end: float) -> "np.ndarray":
    import numpy as np

    count = int((end - start - WINDOW) / STEP + 1e-9) + 1
    return start + STEP * np.arange(max(0, count))
