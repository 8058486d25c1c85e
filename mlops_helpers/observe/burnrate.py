"""Multi-window, multi-burn-rate alerts: which windows, which thresholds, and which of them can never fire.

A burn rate of 1 spends the error budget in exactly one period. A rule fires while the share of bad events lies above
``burn rate x budget`` in its long window (enough was spent to matter) and in its short one (it still goes on). Source:
The Site Reliability Workbook (2018), chapter 5, "Alerting on SLOs", approach 6.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Context, Decimal

from mlops_helpers.errors import ObjectiveError
from mlops_helpers.observe.objectives import DAY, HOUR, MINUTE, Objective

__all__ = ["SLOTH", "WORKBOOK", "BurnRule", "checked", "in_time_lapse", "propose", "scaled_to", "words"]

MOST = Decimal("0.999")
"""A threshold above this share of bad events is refused: a single good event in a thousand would silence it."""
_LADDER = [HOUR * hours for hours in (1, 2, 3, 4, 6, 8, 12, 18, 24, 36, 48, 72, 96, 120, 168, 240)]
_FLOAT_DIGITS = Context(prec=15)
_COMFORT = Decimal("0.8")  # proposed windows keep this distance from an outage of everything


@dataclass(frozen=True)
class BurnRule:
    """Fire when ``spent`` of the period's budget would be gone within ``long`` (seconds), and ``short`` agrees.

    ``period`` (seconds) is that of the objectives which the rule is meant for. ``minimum_bad`` is the low-traffic
    guard: with fewer bad events than this in the long window nothing fires, whatever their share; 1 switches it off.
    """

    severity: str
    spent: float
    long: float
    short: float
    period: float = 30 * DAY
    minimum_bad: float = 1.0

    def __post_init__(self) -> None:
        if self.severity not in ("page", "ticket"):
            raise ObjectiveError(f"severity is {self.severity!r}; accepted: page, ticket")
        if not 0 < self.spent <= 1:
            raise ObjectiveError(f"spent is {self.spent}; accepted: a share of the budget, above 0 and at most 1")
        if not 0 < self.short < self.long <= self.period < float("inf"):
            raise ObjectiveError(
                f"windows are long {self.long} s, short {self.short} s, period {self.period} s; "
                "accepted: 0 < short < long <= period"
            )
        if not 0 <= self.minimum_bad < float("inf"):
            raise ObjectiveError(f"minimum_bad is {self.minimum_bad}; accepted: 0 or more events")

    @property
    def exact_burn_rate(self) -> Decimal:
        """``spent x period / long`` in decimal arithmetic: 14.4 is 14.4, in any time lapse.

        A seventh of an hour is no float; the 15 digits that floats keep of it are right.
        """
        return _FLOAT_DIGITS.divide(_decimal(self.spent) * _decimal(self.period), _decimal(self.long))

    @property
    def burn_rate(self) -> float:
        """How many times faster than allowed the budget burns when the rule begins to fire."""
        return float(self.exact_burn_rate)

    def threshold(self, objective: Objective) -> float:
        """Return the share of bad events above which the rule fires: burn rate x (1 - target)."""
        return float(self.exact_burn_rate * objective.exact_budget)

    @property
    def exhausts_after(self) -> float:
        """Seconds until a whole budget is spent at this burn rate."""
        return float(_decimal(self.period) / self.exact_burn_rate)

    def __str__(self) -> str:
        return f"{self.severity} {self.burn_rate:g}x over {words(self.long)} and {words(self.short)}"


WORKBOOK = (
    BurnRule("page", 0.02, HOUR, 5 * MINUTE),
    BurnRule("page", 0.05, 6 * HOUR, 30 * MINUTE),
    BurnRule("ticket", 0.10, 3 * DAY, 6 * HOUR),
)
"""The workbook's recommendation (table 5-8): 14.4x, 6x and 1x."""

SLOTH = (*WORKBOOK[:2], BurnRule("ticket", 0.10, DAY, 2 * HOUR), WORKBOOK[2])
"""The same with Sloth's fourth rule: 3x over a day and two hours."""


def scaled_to(period: float, rules: Iterable[BurnRule] = WORKBOOK) -> tuple[BurnRule, ...]:
    """Return the rules for objectives over another ``period`` (seconds): same burn rates, windows in proportion."""
    return tuple(_stretched(rule, _decimal(period) / _decimal(rule.period)) for rule in rules)


def in_time_lapse(
    objective: Objective, rules: Iterable[BurnRule], time_lapse: float
) -> tuple[Objective, tuple[BurnRule, ...]]:
    """Return objective and rules with every window, slice and period divided by ``time_lapse`` (> 0).

    Burn rates, thresholds and budget stay: what takes an hour is seen within seconds.

    Raises ``ObjectiveError`` for a ``time_lapse`` that is not a positive number.
    """
    if not 0 < time_lapse < float("inf"):
        raise ObjectiveError(f"time_lapse is {time_lapse}; accepted: above 0; 1 is real time, 60 an hour in a minute")
    factor = 1 / _decimal(time_lapse)
    slices = objective.slices and replace(objective.slices, seconds=_times(objective.slices.seconds, factor))
    shorter = replace(objective, period=_times(objective.period, factor), slices=slices)
    return shorter, tuple(_stretched(rule, factor) for rule in rules)


def checked(objective: Objective, rules: Iterable[BurnRule] = WORKBOOK, *, step: float = 0.0) -> tuple[BurnRule, ...]:
    """Return the rules if each of them can fire for the objective and is measured often enough.

    ``step`` is the time between two measurements (seconds): a short window must hold at least two of them.

    Raises ``ObjectiveError`` saying which rule cannot work, why, and which windows would.
    """
    rules = tuple(rules)
    for rule in rules:
        if rule.period != objective.period:
            raise ObjectiveError(
                f"{rule} counts on a period of {words(rule.period)}, {objective.name} has {words(objective.period)}. "
                f"Next: scaled_to({objective.period:g}, rules)"
            )
        share = rule.exact_burn_rate * objective.exact_budget
        if share > MOST:
            offered = propose(objective, rule)
            raise ObjectiveError(
                f"{rule} cannot fire for {objective.name}: at a target of {_decimal(objective.target) * 100:f} % more "
                f"than {float(share) * 100:.4g} % of the events must be bad; accepted: at most {MOST * 100} %. "
                + (f"Next: {offered}, which fires above {offered.threshold(objective) * 100:.3g} %" if offered else
                   "Next: a tighter target, or a ticket when the period's budget is spent")
            )  # fmt: skip
        if rule.short < 2 * step:
            raise ObjectiveError(
                f"{rule} looks at {words(rule.short)}, but measurements come every {words(step)}; accepted: at least "
                "two within the short window. Next: a smaller time_lapse, or measure more often"
            )
    return rules


def propose(objective: Objective, rule: BurnRule) -> BurnRule | None:
    """Return a rule of the same severity and share of the budget whose longer windows can fire; None: there is none.

    None has a burn rate below 1: it would fire while the objective is met.
    """
    stretch = _decimal(objective.period) / _decimal(30 * DAY)
    for window in _LADDER:
        long = _times(window, stretch)
        if rule.long < long <= objective.period:
            offered = replace(rule, long=long, short=long / 12, period=objective.period)
            if offered.exact_burn_rate >= 1 and offered.exact_burn_rate * objective.exact_budget <= _COMFORT:
                return offered
    return None


def words(seconds: float) -> str:
    """Return a duration as Prometheus writes it, such as ``1h30m`` or ``250ms``; rounded to milliseconds."""
    left = round(seconds * 1000)
    text = ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def _stretched(rule: BurnRule, factor: Decimal) -> BurnRule:
    return replace(
        rule,
        long=_times(rule.long, factor),
        short=_times(rule.short, factor),
        period=_times(rule.period, factor),
    )


def _times(seconds: float, factor: Decimal) -> float:
    return float(_decimal(seconds) * factor)


def _decimal(number: float) -> Decimal:
    return Decimal(repr(float(number)))
