"""Events in the windows before each step's end, and what a burn-rate rule makes of them: the arithmetic of alerts."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops_helpers.observe.burnrate import BurnRule, words
from mlops_helpers.observe.counts import for_objective
from mlops_helpers.observe.objectives import Objective

__all__ = ["Window", "Windows", "burn_rates", "conditions", "detection_time", "reset_time"]

Floats = NDArray[np.float64]
ENOUGH = 0.5
"""A window of which less than this share is known tells nothing."""
SWAY = 2
"""Events are whole numbers: at a constant rate and share, windows differ by one event and by two bad ones."""


@dataclass(frozen=True)
class Window:
    """Of one window at every time: ``bad`` events, ``total`` events, and which share of its steps is ``known``."""

    bad: Floats
    total: Floats
    known: Floats

    def share(self) -> Floats:
        """Return the share of bad events; NaN without events."""
        return np.divide(self.bad, self.total, out=np.full(self.total.shape, np.nan), where=self.total > 0)

    def highest_share(self) -> Floats:
        """Return the highest share that another window of the same constant share may have had."""
        return np.divide(self.bad + SWAY, self.total - 1, out=np.full(self.total.shape, np.inf), where=self.total > 1)


class Windows:
    """Sums of validated Counts over any window, by cumulative sums; unknown steps add nothing but are told of.

    A window reaches back to the first step at most. One that is no whole number of steps is taken up to the next.
    """

    def __init__(self, counts: pd.DataFrame) -> None:
        self.step: float = counts.attrs["step"]
        good, total = counts["good"].to_numpy(), counts["total"].to_numpy()
        known = ~(np.isnan(good) | np.isnan(total))
        total = np.where(known, total, 0.0)
        bad = np.where(known, total - good, 0.0)
        # Sums of floats depend on what came before them: constant input would tremble around a threshold. Multiples of
        # a power of two are summed exactly: whole events stay as they are, a fraction loses 2**-52 of all at most.
        exponent = 52 - math.ceil(math.log2(float(total.sum()) or 1.0))
        bad, total = (np.ldexp(np.rint(np.ldexp(part, exponent)), -exponent) for part in (bad, total))
        self._sums = [np.concatenate([[0.0], np.cumsum(part)]) for part in (bad, total, known)]

    def over(self, seconds: float) -> Window:
        """Return what was in the last ``seconds`` at each step's end."""
        width = max(1, math.ceil(seconds / self.step - 1e-9))
        bad, total, known = (self._within(sums, width) for sums in self._sums)
        steps = np.minimum(np.arange(1, len(known) + 1), width)
        return Window(bad, total, known / steps)

    @staticmethod
    def _within(sums: Floats, width: int) -> Floats:
        inside = sums[1:].copy()
        inside[width:] -= sums[1:-width]
        return inside


def conditions(
    long: Window, short: Window, threshold: float | Floats, minimum_bad: float | Floats
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return where an alert begins to fire, where it ends, and where neither can be known; elsewhere it stays as it is.

    * It fires while the shares of bad events in the long and in the short window are above the threshold and at least
      ``minimum_bad`` were in the long one.
    * It ends when nothing bad is left in the short window, or when two bad events more and one event less would not
      fire either: by so much the windows of a constant share differ, and it must not fire and end in turns. (Where the
      short window has less than one bad event, each of them still may: ``minimum_bad`` is for that.)
    * It is unknown when less than half of the short window is known, or when the short window burns and less than half
      of the long one is known, unless that burns as well.
    """
    burns, long_burns = short.share() > threshold, long.share() > threshold
    unknown = (short.known < ENOUGH) | (burns & ~long_burns & (long.known < ENOUGH))
    fires = burns & long_burns & (long.bad >= minimum_bad) & ~unknown
    over = (short.highest_share() <= threshold) | ((long.highest_share() <= threshold) & (long.known >= ENOUGH))
    ends = ((short.bad == 0) | over | (long.bad + SWAY < minimum_bad)) & ~unknown
    return fires, ends, unknown


def burn_rates(counts: pd.DataFrame, objective: Objective, windows: Iterable[float]) -> pd.DataFrame:
    """Return how many times faster than allowed the budget burnt in each of the ``windows`` (seconds), by time.

    The index ``time`` is each step's end, a column is named as :func:`~mlops_helpers.observe.burnrate.words` has it.
    NaN: less than half of the window is known, or there were no events in it.

    Raises as :func:`~mlops_helpers.observe.counts.for_objective` does.
    """
    counts = for_objective(counts, objective)
    sums, table = Windows(counts), {}
    for seconds in windows:
        window = sums.over(seconds)
        table[words(seconds)] = np.where(window.known >= ENOUGH, window.share() / objective.budget, np.nan)
    ends = (counts.index + pd.Timedelta(counts.attrs["step"], unit="s")).rename("time")
    return pd.DataFrame(table, index=ends)


def detection_time(error_share: float, rule: BurnRule, objective: Objective) -> float:
    """Return seconds from an outage's begin to the alert, at steady traffic with nothing bad before; inf: never.

    ``long x threshold / share``; the low-traffic guard is left out of account.
    """
    threshold = rule.threshold(objective)
    return rule.long * threshold / error_share if error_share > threshold else math.inf


def reset_time(error_share: float, rule: BurnRule, objective: Objective) -> float:
    """Return seconds from the end of an outage to that of its alert, at steady traffic with nothing bad after.

    The outage lasted for the short window at least; 0 for one that fires no alert. Where the short window holds few
    events the alert ends later, at the latest when the whole window lies behind the outage.
    """
    threshold = rule.threshold(objective)
    return rule.short * (1 - threshold / error_share) if error_share > threshold else 0.0
