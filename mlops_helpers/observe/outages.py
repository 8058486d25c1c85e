"""Outages that show a burn-rate rule at work: just too small, just large enough, over; and what should fire when.

Time passes in equal steps; in each a share of the events is bad, or the time slice as a whole. What should fire is
worked out from the definition of burn rates alone, so that it can judge rules that say the same in PromQL.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import ceil, floor

from mlops_helpers.errors import ObjectiveError
from mlops_helpers.observe.burnrate import BurnRule
from mlops_helpers.observe.objectives import Objective

__all__ = ["EVENTS", "Outage", "outage_for"]

EVENTS = 1e9
"""Events in a step, unless a rule asks for a number of bad ones: so many that all shares are whole numbers."""

_CLEAR = 0.01  # nothing is claimed so near to a threshold
_JUST, _MUCH = 1.06, 1.4  # times its threshold: an outage just above it, and one beyond that
_MANY = 400  # steps that would cost a second each time that the outage is tried


@dataclass(frozen=True)
class Outage:
    """``shares`` of bad events, one for each ``step`` (seconds) and its ``events`` (with time slices: its slices)."""

    objective: Objective
    rules: tuple[BurnRule, ...]
    step: float
    events: float
    shares: tuple[float, ...]
    _sums: tuple[float, ...] = field(init=False, repr=False)
    _limits: dict[BurnRule, float] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_sums", tuple(accumulate(self.shares, initial=0.0)))
        object.__setattr__(self, "_limits", {rule: rule.threshold(self.objective) for rule in self.rules})

    def firing(self, steps: int) -> frozenset[str] | None:
        """Return the severities that fire after so many steps; None: too near to a threshold to say."""
        states = {(rule.severity, self.fires(rule, steps)) for rule in self.rules}
        firing = frozenset(severity for severity, fires in states if fires)
        return None if any(fires is None and severity not in firing for severity, fires in states) else firing

    def fires(self, rule: BurnRule, steps: int) -> bool | None:
        """Return whether a rule fires after so many steps; None: too near to a threshold to say."""
        states = [self.above(rule, rule.long, steps), self.above(rule, rule.short, steps)]
        if rule.minimum_bad > 1:
            full = rule.long / self.step  # a share of time slices is taken for the whole window, however young it is
            bad = [n * full / seen if self.objective.slices else n for n, seen in self._seen(rule.long, steps)]
            states.append(self._beyond(rule.minimum_bad, [self.events * n for n in bad]))
        return False if False in states else None if None in states else True

    def above(self, rule: BurnRule, window: float, steps: int) -> bool | None:
        """Return whether one window (seconds) of a rule sees enough; None: too near to a threshold to say."""
        shares = [bad / all_steps for bad, all_steps in self._seen(window, steps)]
        return self._beyond(self._limits[rule], shares)

    def most(self, window: float, steps: int) -> float:
        """Return the share of bad events in a window (seconds)."""
        return max(bad / all_steps for bad, all_steps in self._seen(window, steps))

    @staticmethod
    def _beyond(limit: float, found: Sequence[float]) -> bool | None:
        if min(found) >= limit * (1 + _CLEAR):
            return True
        return False if max(found) <= limit * (1 - _CLEAR) else None

    def _seen(self, window: float, steps: int) -> list[tuple[float, float]]:
        """Return bad and all steps of a window: servers differ on whether that at whose end it begins belongs to it."""
        length, seen = round(window / self.step, 6), []
        for lookback in (min(length, steps), min(floor(length) + 1, steps)):
            whole = floor(lookback)
            bad = self._sums[steps] - self._sums[steps - whole]
            if lookback > whole:
                bad += (lookback - whole) * self.shares[steps - whole - 1]
            seen.append((bad, lookback))
        return seen


def outage_for(objective: Objective, rules: Sequence[BurnRule], rule: BurnRule) -> tuple[Outage, dict[str, int]]:
    """Return an outage that shows ``rule`` at work, and the moments to look (in steps).

    They are ``quiet`` (before the outage), ``below`` (only the short window sees enough), ``above`` (both do) and
    ``over`` (only the long one still does). If possible the rule alone decides what fires for its severity; a rule that
    is never the first (3x over a day beside 1x over three) is shown together with the one that is. What no outage can
    show is missing, such as ``below`` when a single bad time slice is more than the long window allows.

    Raises ``ObjectiveError`` when no outage was found in which the rule fires.
    """
    best: tuple[Outage, dict[str, int]] | None = None
    best_worth = (0, False, False)
    for outage, begin, end in _candidates(objective, tuple(rules), rule):
        if best is not None and best_worth[:2] == (4, True) and outage.step < best[0].step:
            break  # finer steps would not make the rule the first
        moments, alone = _moments(outage, rule, begin, end)
        if "quiet" in moments and "above" in moments:
            just = outage.most(rule.long, moments["above"]) <= _MUCH * rule.threshold(objective)
            worth = (len(moments), just, alone)
            if worth > best_worth:
                best, best_worth = (outage, moments), worth
            if all(worth) and len(moments) == 4:
                break
    if best is None:
        raise ObjectiveError(
            f"no outage was found in which {rule} of {objective.name} fires. Next: longer windows, smaller minimum_bad"
        )
    return best


def _candidates(objective: Objective, rules: tuple[BurnRule, ...], rule: BurnRule) -> Iterator[tuple[Outage, int, int]]:
    """Yield outages with the steps at which they begin and end; those that are cheap to evaluate come first."""
    limit = rule.threshold(objective)
    higher = [one.threshold(objective) for one in rules if one.severity == rule.severity]
    level = min(_JUST * limit, (1 + limit) / 2)
    worst = max(level, min([1.0, 4 * limit, *(0.9 * other for other in higher if other > limit)]))
    lull = max(one.short for one in rules if one.severity == rule.severity)
    for step in _steps(objective, rule):
        length = round(rule.long / step, 6)
        if objective.slices:
            events, worst = step / objective.slices.seconds, 1.0
            steps = floor(length) + 1
            bad = ceil(max(limit * steps, rule.minimum_bad / events) * (1 + 2 * _CLEAR))
            outage = [float(each * bad // steps > (each - 1) * bad // steps) for each in range(1, steps + 1)]
        else:
            events = max(EVENTS, 10 * rule.minimum_bad / limit / length)
            outage = [level] * (ceil(length) + 1)
        for more in (0.3, 1.0):
            outage = outage + [worst] * ceil(more * limit * length / worst)
            for quiet in (ceil(length * times) for times in (1, 2, 3, 4, 8)):
                end = quiet + len(outage)
                shares = (*[0.0] * quiet, *outage, *[0.0] * (ceil(lull / step) + 2))
                yield Outage(objective, rules, step, events, shares), quiet, end


def _steps(objective: Objective, rule: BurnRule) -> list[float]:
    """Return the steps to try (seconds), the longest first: of whole milliseconds, and filled by time slices."""
    steps = [rule.short / parts for parts in (1, 2, 4, 12)]
    if objective.slices:
        one = objective.slices.seconds
        steps = [step for step in steps if _whole(step / one)]
        if not steps or rule.long / one <= _MANY:
            steps.append(one)
    return [step for step in steps if _whole(step * 1000)]


def _whole(number: float) -> bool:
    return round(number, 6) % 1 == 0


def _moments(outage: Outage, rule: BurnRule, begin: int, end: int) -> tuple[dict[str, int], bool]:
    """Return the moments, and whether nothing else of the rule's severity fires at any of them."""
    moments = {"quiet": begin} if outage.firing(begin) == frozenset() else {}
    rivals = [other for other in outage.rules if other.severity == rule.severity and other != rule]
    alone = True
    for steps in range(begin + 1, len(outage.shares) + 1):
        firing = outage.firing(steps)
        long, short = (outage.above(rule, window, steps) for window in (rule.long, rule.short))
        if firing is None:
            continue
        if outage.fires(rule, steps):
            if "above" not in moments:
                moments["above"] = steps
                alone = not any(outage.fires(other, steps) is not False for other in rivals)
        elif rule.severity not in firing and short and long is False and "above" not in moments:
            moments["below"] = steps
        elif rule.severity not in firing and short is False and long and steps > end:
            moments.setdefault("over", steps)
    return moments, alone
