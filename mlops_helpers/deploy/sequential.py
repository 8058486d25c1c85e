"""Is the canary worse? A test that may be looked at after every event, and that knows only one question: whose was it?

The gateway gives a comment to the canary with a known probability, the **weight** ``w``, by a hash that knows nothing
of what will become of it. Take the comments that went wrong (an error; among the slowest of their window; a wrong
verdict). If the canary is not worse, each of them is the canary's with probability at most ``w``, however many went
wrong and whatever the day was like: a baseline that drifts for both versions cancels. If the canary goes wrong ``r``
times as often, that probability is ``w r / (1 - w + w r)``. The likelihood ratio of the two, multiplied over the
events and averaged over several ``r``, is the **evidence** ``e`` that the canary is worse.

As long as it is not, ``e`` is a nonnegative supermartingale that begins at 1, so that
``P(e ever reaches 1 / alpha) <= alpha`` (Ville's inequality): look as often as you like, stop when you like. That
bounds false alarms. Misses are bounded by no test alone, but by how much a plan lets it see: see
:mod:`~mlops_helpers.deploy.canary_simulation`.

Sources: Ville (1939) for the inequality; Robbins (1970, Ann. Math. Statist. 41) for mixtures of likelihood ratios;
Lindon & Malek (2022, NeurIPS, "Anytime-valid inference for multinomial count data") for conditioning on the events,
and Lindon, Sanden & Shirikian (2022, KDD) for its use on canaries; Cochran (1954) for strata, which are windows here.
What it takes for granted: comments are assigned independently of each other and of their outcome. A process that stalls
makes many answers late at once, all of one version: of such a burst one event counts (see :func:`bursts`).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlops_helpers.errors import ParameterError

__all__ = ["RATIOS", "Evidence", "bursts", "increments", "mixture", "slowest", "threshold"]

RATIOS = (1.25, 1.5, 2.0, 3.0, 6.0, 20.0)
"""How many times as often the canary may go wrong: the alternatives, of equal weight."""

Array = np.ndarray[Any, np.dtype[Any]]


def increments(hits: Any, events: Any, weight: Any) -> Array:
    """Return what events add to the logarithm of the likelihood ratio, for each of ``RATIOS`` (the last axis).

    ``events`` went wrong, ``hits`` of them are the canary's, whose ``weight`` (above 0, below 1) was in force when the
    comments were assigned. Arrays of one shape are as good: any number of windows and of releases at once.
    """
    ratios = np.array(RATIOS)
    cost = np.log1p(np.asarray(weight, float)[..., None] * (ratios - 1))
    return np.asarray(hits, float)[..., None] * np.log(ratios) - np.asarray(events, float)[..., None] * cost


def mixture(sums: Array) -> Array:
    """Return the logarithm of the evidence from summed :func:`increments`: the mean over the ratios."""
    high = sums.max(axis=-1, keepdims=True)
    return np.asarray(high[..., 0] + np.log(np.exp(sums - high).mean(axis=-1)))


def threshold(alpha: float, tests: int = 1) -> float:
    """Return the evidence at which one of several tests speaks, so that false alarms of all are at most ``alpha``.

    Raises ``ParameterError`` unless ``alpha`` is between 0 and 1.
    """
    if not 0 < alpha < 1:
        raise ParameterError(f"alpha is {alpha!r}; accepted: a probability between 0 and 1, such as 0.05")
    return tests / alpha


def slowest(milliseconds: Any, share: float) -> Array:
    """Return which answers are among the slowest ``share`` of their window, both versions taken together.

    Not "slower than the old version's p99": that limit would be made of one version's answers, and an equal version
    would not keep it as often.
    """
    taken = np.asarray(milliseconds, float)
    count = int(np.ceil(share * taken.size))
    marked = np.zeros(taken.size, dtype=bool)
    marked[np.argsort(-taken, kind="stable")[:count]] = True
    return marked


def bursts(seconds: Iterable[float], gap: float, last: float = -math.inf) -> list[int]:
    """Return the places of the events that count, given the times of all, sorted: one in ``gap`` seconds.

    ``last`` is when the last one happened that counted before. A stall of one process makes many answers late that
    have one cause; who comes first in a burst is decided by the weights alone.
    """
    counted = []
    for place, at in enumerate(seconds):
        if at - last >= gap:
            counted.append(place)
            last = at
    return counted


@dataclass
class Evidence:
    """The evidence that a canary is worse in one respect, as it grows; ``hits`` of ``events`` were the canary's."""

    hits: int = 0
    events: int = 0
    expected: float = 0.0
    peak: float = 0.0
    _sums: Array = field(default_factory=lambda: np.zeros(len(RATIOS)), repr=False)

    def add(self, hits: int, events: int, weight: float) -> None:
        """Take events that happened at one weight.

        Raises ``ParameterError`` for a weight that is not between 0 and 1, or more hits than events.
        """
        if not 0 < weight < 1:
            raise ParameterError(f"weight is {weight!r}; accepted: between 0 and 1, such as 0.05")
        if not 0 <= hits <= events:
            raise ParameterError(f"{hits} of {events} events are the canary's; accepted: 0 to {events}")
        self.hits, self.events, self.expected = self.hits + hits, self.events + events, self.expected + weight * events
        self._sums = self._sums + increments(hits, events, weight)
        self.peak = max(self.peak, float(mixture(self._sums)))

    @property
    def e_value(self) -> float:
        """The highest evidence so far; 1 is none. A bet against "it is not worse" would have multiplied money so."""
        return math.exp(min(self.peak, 700.0))

    @property
    def p_value(self) -> float:
        """An upper bound of the probability of so much evidence, at any time, if the canary is not worse."""
        return math.exp(-self.peak)
