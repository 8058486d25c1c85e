"""What readers' record says of a drill: shares by SLI, when a tolerance was left, and since when it was kept again."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlops_helpers.respond.watch import FAST_SECONDS, verdicts
from mlops_helpers.serve import sli
from mlops_helpers.serve.sli import Share

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["STEP", "bad_between", "breaches", "holds", "mitigated_at", "shares"]

STEP = 0.5
"""Seconds between two moments at which the record is judged; what is told of it is right to within one."""
WINDOW = 2.0
_FEWEST = 5  # with fewer events than this in a window nothing is said


def shares(frame: "pd.DataFrame", start: float, end: float) -> dict[str, Share]:
    """Return good and total events by SLI of what was intended from ``start`` to before ``end`` (epoch seconds)."""
    part = frame[frame["at"].ge(start) & frame["at"].lt(end)]
    return {
        "availability": sli.availability(part),
        "fast": sli.fast(part, FAST_SECONDS),
        "honest_published": sli.honest_published_at_once(part),
        "spam_held": sli.spam_held(part),
    }


def holds(found: Mapping[str, Share], tolerances: Mapping[str, float]) -> bool:
    """Return whether every SLI with enough events is at its tolerance or above."""
    return all(found[name].total < _FEWEST or found[name].ratio >= least for name, least in tolerances.items())


def breaches(frame: "pd.DataFrame", tolerances: Mapping[str, float], start: float, end: float) -> dict[str, float]:
    """Return, by SLI, when the first bad event happened of the first window in which it was below its tolerance.

    Windows that begin at ``start`` or later are looked at.
    """
    found: dict[str, float] = {}
    for begin in _begins(start, end):
        for name, share in shares(frame, begin, begin + WINDOW).items():
            if name in tolerances and share.total >= _FEWEST and share.ratio < tolerances[name] and name not in found:
                found[name] = _first_bad(frame, name, begin)
    return found


def _first_bad(frame: "pd.DataFrame", name: str, begin: float) -> float:
    part = frame[frame["at"].ge(begin) & frame["at"].lt(begin + WINDOW)]
    return next((one["at"] for one in part.to_dict("records") if verdicts(one).get(name) is False), begin)


def mitigated_at(
    frame: "pd.DataFrame", tolerances: Mapping[str, float], start: float, end: float, sustained: float
) -> float | None:
    """Return since when all SLIs were within tolerance until ``end``; None: not, or for less than ``sustained``.

    Windows that begin at ``start`` or later are looked at; the moment is the begin of the first of those kept.
    """
    since: float | None = None
    for begin in _begins(start, end):
        window = shares(frame, begin, begin + WINDOW)
        enough = window["availability"].total >= _FEWEST
        if not (enough and holds(window, tolerances)):
            since = None
        elif since is None:
            since = begin
    return since if since is not None and end - since >= sustained else None


def bad_between(frame: "pd.DataFrame", start: float, end: float) -> dict[str, int]:
    """Return how many bad events readers met, by SLI: the budget that was spent."""
    return {name: share.total - share.good for name, share in shares(frame, start, end).items()}


def _begins(start: float, end: float) -> list[float]:
    count = int((end - start - WINDOW) / STEP + 1e-9) + 1
    return [start + number * STEP for number in range(max(0, count))]
