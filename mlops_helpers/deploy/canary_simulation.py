"""A thousand releases in a second: how often a plan aborts an equal version, and how often it notices a worse one.

The counts of a window are drawn, not its comments: how many comments went to the canary, how many of each version went
wrong, which of the slowest answers are the canary's, and when moderators say so. The arithmetic of the verdict is that
of :mod:`~mlops_helpers.deploy.sequential`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlops_helpers.deploy.canary_plan import Plan
from mlops_helpers.deploy.sequential import RATIOS, Array, increments, mixture, threshold
from mlops_helpers.errors import ParameterError

__all__ = ["Harm", "Simulated", "World", "simulate_releases"]


@dataclass(frozen=True)
class World:
    """What both versions meet.

    ``errors`` and ``wrong`` are the probabilities of an error and of a wrong verdict. Times are log-normal with
    ``spread`` (0.5: the p99 is 3.2 medians). A share ``labelled`` of the comments gets a label, after a log-normal
    delay with a median of ``label_delay`` comments. ``drift`` swings both probabilities for both versions alike, up to
    1 + ``drift`` times: a bad day, during which the release happens to go on. (Slow answers need no such number: they
    are the slowest of their window, on every day.)
    """

    errors: float = 0.005
    wrong: float = 0.05
    spread: float = 0.5
    labelled: float = 0.5
    label_delay: int = 5_000
    drift: float = 0.0


@dataclass(frozen=True)
class Harm:
    """How much worse the canary is: points of errors and of wrong verdicts, and times the time of every answer."""

    errors: float = 0.0
    slower: float = 1.0
    wrong: float = 0.0


@dataclass(frozen=True)
class Simulated:
    """Of so many ``releases``, how many were ``aborted``, by which test (``by``), and after how many comments.

    ``comments`` is the median over the aborted releases, both versions together, ``served`` of these by the canary;
    NaN when there are none.
    """

    releases: int
    aborted: int
    by: Mapping[str, int]
    comments: float
    served: float

    @property
    def share(self) -> float:
        """The share of the releases that was aborted."""
        return self.aborted / self.releases

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the exact (Clopper-Pearson) confidence interval of the probability of an abort."""
        from scipy.stats import binomtest

        low, high = binomtest(self.aborted, self.releases).proportion_ci(confidence, method="exact")
        return float(low), float(high)


def simulate_releases(
    plan: Plan, harm: Harm | None = None, world: World | None = None, *, releases: int = 1000, seed: int = 0
) -> Simulated:
    """Send so many releases through a plan, each judged after every window; the same arguments give the same result.

    After the last comment labels are waited for, as long as four median delays.

    Raises ``ParameterError`` for rates that are no probabilities, or a plan whose stages are shorter than a window.
    """
    harm, world = harm or Harm(), world or World()
    windows = [stage.comments // plan.window for stage in plan.stages]
    if min(windows) < 1 or releases < 1:
        raise ParameterError(f"stages have {windows} windows, releases are {releases}; accepted: at least 1 each")
    weight = np.repeat([stage.weight for stage in plan.stages], windows)
    rng = np.random.default_rng(seed)
    swing = 1 + world.drift * np.sin(np.linspace(0, 2 * np.pi, len(weight))) ** 2
    old, new = _rates(world.errors, harm.errors, swing), _rates(world.wrong, harm.wrong, swing)
    canary = rng.binomial(plan.window, weight, (releases, len(weight)))
    control = plan.window - canary

    hits = rng.binomial(canary, old[1])
    found = {"errors": increments(hits, hits + rng.binomial(control, old[0]), weight)}
    count = int(np.ceil(plan.slow_share * plan.window))
    hits = _slowest(rng, canary, control, count, world.spread, harm.slower)
    found["latency"] = increments(hits, np.full_like(hits, count), weight)
    found["quality"] = _labelled(rng, canary, control, weight, new, world, plan.window)

    limit, looks = np.log(threshold(plan.alpha, len(found))), found["quality"].shape[1]
    first = np.full((len(found), releases), looks)  # when each test speaks; after the last look: never
    for row, added in zip(first, found.values(), strict=True):
        crossed = mixture(np.cumsum(added, axis=1)) >= limit
        row[crossed.any(axis=1)] = crossed.argmax(axis=1)[crossed.any(axis=1)]
    ends = first.min(axis=0)
    aborted = ends < looks
    seen = np.minimum(ends[aborted], len(weight) - 1)
    served = np.cumsum(canary, axis=1)[aborted, seen]
    by = {name: int((aborted & (row == ends)).sum()) for name, row in zip(found, first, strict=True)}
    middle = (float(np.median((seen + 1) * plan.window)), float(np.median(served))) if aborted.any() else (np.nan,) * 2
    return Simulated(releases, int(aborted.sum()), by, *middle)


def _rates(base: float, more: float, swing: Array) -> tuple[Array, Array]:
    """Return the probabilities of control and canary in each window."""
    control = base * swing
    canary = control + more
    if min(control.min(), canary.min()) < 0 or max(control.max(), canary.max()) > 1:
        raise ParameterError(f"rates of {base:g} {more:+g}, drift included; accepted: probabilities")
    return control, canary


def _slowest(rng: np.random.Generator, canary: Array, control: Array, count: int, spread: float, slower: float) -> Any:
    """Return how many of each window's ``count`` slowest answers are the canary's.

    Only the slowest ``count`` of each version can be among them, and these are drawn at once (Renyi's representation).
    """
    from scipy.special import ndtri

    place = np.arange(count)

    def top(answers: Array) -> Array:
        left = np.maximum(answers[..., None] - place, 1)
        uniform = np.exp(-np.cumsum(rng.exponential(size=(*answers.shape, count)) / left, axis=-1))
        return np.where(place < answers[..., None], spread * ndtri(uniform), -np.inf)

    both = np.concatenate([top(canary) + np.log(slower), top(control)], axis=-1)
    return (np.argpartition(-both, count - 1, axis=-1)[..., :count] < count).sum(axis=-1)


def _labelled(
    rng: np.random.Generator,
    canary: Array,
    control: Array,
    weight: Array,
    rates: tuple[Array, Array],
    world: World,
    window: int,
) -> Array:
    """Return the increments of wrong verdicts by the look at which they become known, each at its comment's weight."""
    from scipy.special import ndtr

    looks = len(weight) + 4 * max(1, world.label_delay // window)
    late = np.arange(1, looks + 1) * window / max(world.label_delay, 1)
    delays = np.diff(ndtr(np.log(late)), prepend=0.0)
    counts = {share: np.zeros((2, len(canary), looks)) for share in np.unique(weight)}
    for place, share in enumerate(weight):
        after = np.append(delays[: looks - place], 0.0)
        after[-1] = 1 - after[:-1].sum()  # known too late to count
        for row, (comments, rate) in enumerate(((canary, rates[1]), (control, rates[0]))):
            wrong = rng.binomial(rng.binomial(comments[:, place], world.labelled), rate[place])
            counts[share][row, :, place:] += rng.multinomial(wrong, after)[:, :-1]
    added = np.zeros((len(canary), looks, len(RATIOS)))
    for share, (hits, others) in counts.items():
        added += increments(hits, hits + others, np.full(looks, share))
    return added
