"""Objectives in PromQL: the names, durations and expressions that the rules for Prometheus are made of."""

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from mlops_helpers.errors import ObjectiveError
from mlops_helpers.observe.burnrate import BurnRule, checked, words
from mlops_helpers.observe.objectives import Objective
from mlops_helpers.observe.selector import Matcher, Selector

__all__ = [
    "ERROR_RATIO",
    "Rules",
    "bad",
    "bad_slice",
    "duration",
    "exportable",
    "percent",
    "recorded",
    "shortest",
    "total",
]

Rules = Sequence[BurnRule] | Mapping[str, Sequence[BurnRule]]
"""The same burn-rate rules for all objectives, or each objective's by its name."""
ERROR_RATIO = "slo:sli_error:ratio_rate"
"""The recorded share of bad events or slices; the window ends the name."""
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_RESERVED = ("alertname", "severity", "slo", "service")
_TIE = "1e-9"  # rates are extrapolated: without it, a slice with exactly the target would be bad by chance


def exportable(
    objectives: Iterable[Objective], rules: Rules, *, interval: float = 0.0
) -> list[tuple[Objective, tuple[BurnRule, ...]]]:
    """Return each objective with its burn-rate rules, if other systems can be told.

    ``interval`` is the time between two evaluations (seconds; 0: not known).

    Raises ``ObjectiveError`` when a rule cannot work (see :func:`~mlops_helpers.observe.burnrate.checked`), there is
    none, names repeat, or a label is one that Prometheus would not take.
    """
    pairs = []
    for objective in objectives:
        own = rules.get(objective.name, ()) if isinstance(rules, Mapping) else tuple(rules)
        if not own:
            raise ObjectiveError(f"{objective.name} has no burn-rate rule: nobody would be told. Next: rules=WORKBOOK")
        step = objective.slices.seconds if objective.slices else interval
        pairs.append((objective, checked(objective, own, step=step)))
        for label in objective.labels:
            if not _LABEL.fullmatch(label) or label in _RESERVED:
                raise ObjectiveError(
                    f"{objective.name} has the label {label!r}; accepted: letters, digits and '_', not beginning with "
                    f"a digit or '__', and not {', '.join(_RESERVED)}"
                )
    names = [objective.name for objective, _ in pairs]
    if not names or len(set(names)) < len(names):
        raise ObjectiveError(f"objectives are {', '.join(names) or 'none'}; accepted: one or more, each name once")
    return pairs


def shortest(rules: Iterable[BurnRule]) -> float:
    """Return the shortest window (seconds)."""
    return min(rule.short for rule in rules)


def duration(seconds: float) -> str:
    """Return a duration as Prometheus reads it. Raises ``ObjectiveError`` unless it is of whole milliseconds."""
    if Decimal(repr(float(seconds))) * 1000 % 1:
        raise ObjectiveError(
            f"a window of {seconds!r} s cannot be written for Prometheus; accepted: whole milliseconds. "
            "Next: a time_lapse that divides the windows, such as 60, 600 or 750"
        )
    return words(seconds)


def percent(share: float) -> str:
    """Return a share as a percentage with all its digits: ``0.0144`` is ``1.44 %``."""
    return f"{(Decimal(repr(share)) * 100).normalize():f} %"


def recorded(objective: Objective, metric: str, window: float | None = None) -> str:
    """Return the selector of a recorded series of the objective; ``window`` (seconds) ends the metric's name."""
    name = metric + (duration(window) if window else "")
    return str(Selector(name, (Matcher("slo", "=", objective.name), Matcher("service", "=", objective.service))))


def total(objective: Objective, window: float, function: str = "rate") -> str:
    """Return the growth of all events within ``window`` seconds (``increase``), or that a second (``rate``)."""
    return f"sum({function}({objective.indicator.total}[{duration(window)}]))"


def bad(objective: Objective, window: float, function: str = "rate") -> str:
    """Return the growth of the bad events, likewise; absent when it is not known.

    A part (good or bad) of a counter that no series counts is 0 where others of its series have the labels by which the
    part is told. A misspelt label or a bucket that the histogram lacks is not known: else all would be good, or bad.

    Raises ``ObjectiveError`` for an indicator without parts.
    """
    indicator = objective.indicator
    part = indicator.good or indicator.bad
    if part is None:
        raise ObjectiveError(f"{objective.name} tells no good or bad events apart; accepted: every kind but throughput")
    growth = f"sum({function}({part}[{duration(window)}]))"
    if part.name == indicator.total.name:
        growth = f"({growth} or 0 * sum({function}({_told_apart(objective)}[{duration(window)}])))"
    return growth if indicator.bad else f"({total(objective, window, function)} - {growth})"


def _told_apart(objective: Objective) -> Selector:
    """Return the selector of all events whose labels tell good and bad ones apart."""
    indicator = objective.indicator
    part = indicator.good or indicator.bad
    known = {matcher.label for matcher in indicator.total.matchers}
    labels = dict.fromkeys(matcher.label for matcher in (part.matchers if part else ()) if matcher.label not in known)
    return Selector(indicator.total.name, (*indicator.total.matchers, *(Matcher(label, "!=", "") for label in labels)))


def bad_slice(objective: Objective) -> str:
    """Return 1 when the time slice that ends now is bad, else 0; absent when it is not known.

    Raises ``ObjectiveError`` for an objective without slices.
    """
    if objective.slices is None:
        raise ObjectiveError(f"{objective.name} has no time slices; accepted: slices=TimeSlices(...)")
    seconds, minimum = objective.slices.seconds, objective.indicator.minimum
    if minimum is not None:
        return f"{total(objective, seconds)} * (1 + {_TIE}) < bool {minimum!r}"
    allowed = float(1 - Decimal(repr(float(objective.slices.target))))
    return f"{bad(objective, seconds)}\n/\n{total(objective, seconds)} - {_TIE} > bool {allowed!r}"
