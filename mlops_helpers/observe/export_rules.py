"""Objectives as Prometheus rules: the SLI over every window, what is left of the budget, and the alerts.

For each objective there is one group, whose rules use those before them:

=============================================  =====================================================================
``slo:sli_bad:rate5m``, ``slo:sli_total:...``  events a second, over the shortest window
``slo:sli_slice:bad``                          (with time slices, instead) 1 when the slice that ends now is bad
``slo:sli_error:ratio_rate1h``                 the share of bad events (or slices), for each window
``slo:objective:ratio``                        the target
``slo:error_budget:ratio``                     1 - target
``slo:period_error_budget_remaining:ratio``    1: nothing is spent; 0: all is; below 0: the objective is missed
``slo:current_burn_rate:ratio``                the shortest window's share of bad events / budget
``ErrorBudgetBurn``                            alert, one for each severity: any of its burn-rate rules fires
``SliTelemetryMissing``                        alert: the shortest window's share is not known
=============================================  =====================================================================

Without events the share is NaN: not known, and nobody was let down. Where telemetry lacks it is absent, which
``SliTelemetryMissing`` says. What a series counted before its first scrape is never seen: Prometheus needs two samples
to see growth, so services should create their series when they start.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mlops_helpers.observe.burnrate import WORKBOOK, BurnRule, words
from mlops_helpers.observe.objectives import Objective
from mlops_helpers.observe.promql import (
    ERROR_RATIO,
    Rules,
    bad,
    bad_slice,
    duration,
    exportable,
    percent,
    recorded,
    shortest,
    total,
)
from mlops_helpers.observe.yaml_text import dump

__all__ = ["RUNBOOK", "prometheus_rules"]

RUNBOOK = "notebooks/runbooks/{slo}.ipynb"
_FAR = 288  # a window of so many shortest ones is summed from what is recorded; at most 0.4 % is then counted late


def prometheus_rules(
    objectives: Iterable[Objective],
    rules: Rules = WORKBOOK,
    *,
    interval: float | None = None,
    runbook_url: str = RUNBOOK,
) -> str:
    """Return the rule file (YAML) for objectives and their burn-rate rules.

    Rules are evaluated every ``interval`` seconds (None: as often as the server evaluates others), those of objectives
    with time slices once a slice. ``{slo}`` in ``runbook_url`` becomes the objective's name.

    Raises ``ObjectiveError`` when a rule cannot work (see :func:`~mlops_helpers.observe.burnrate.checked`), a duration
    is not of whole milliseconds, names repeat, or a label is one that Prometheus would not take.
    """
    groups = []
    for objective, own in exportable(objectives, rules, interval=interval or 0.0):
        every = objective.slices.seconds if objective.slices else interval
        labels = {"slo": objective.name, "service": objective.service}
        recordings = {**_shares(objective, own), **_budget(objective, own)}
        groups.append(
            {
                "name": f"slo-{objective.name}",
                **({"interval": duration(every)} if every else {}),
                "rules": [{"record": name, "expr": expr, "labels": labels} for name, expr in recordings.items()]
                + [{**alert, **_literal(alert)} for alert in _alerts(objective, own, runbook_url)],
            }
        )
    return dump({"groups": groups})


def _shares(objective: Objective, rules: Sequence[BurnRule]) -> dict[str, str]:
    """Return the expressions of the shares of bad events or slices, by the name that they are recorded under."""
    windows = sorted({window for rule in rules for window in (rule.long, rule.short)} | {objective.period})
    if objective.slices:
        slices = recorded(objective, "slo:sli_slice:bad")
        shares = {ERROR_RATIO + duration(each): f"avg_over_time({slices}[{duration(each)}])" for each in windows}
        return {"slo:sli_slice:bad": bad_slice(objective), **shares}
    base = shortest(rules)
    bad_now, total_now = (recorded(objective, f"slo:sli_{part}:rate", base) for part in ("bad", "total"))
    shares = {
        f"slo:sli_bad:rate{duration(base)}": bad(objective, base),
        # both or none: a sum over both must not count events whose fate is not known
        f"slo:sli_total:rate{duration(base)}": f"{total(objective, base)}\nand on ()\n{bad_now}",
    }
    for window in windows:
        parts = [bad(objective, window), total(objective, window)]
        if window == base:
            parts = [bad_now, total_now]
        elif window >= _FAR * base:
            parts = [f"sum_over_time({part}[{duration(window)}])" for part in (bad_now, total_now)]
        shares[ERROR_RATIO + duration(window)] = "\n/\n".join(parts)
    return shares


def _budget(objective: Objective, rules: Sequence[BurnRule]) -> dict[str, str]:
    budget, spent = repr(objective.budget), recorded(objective, ERROR_RATIO, objective.period)
    return {
        "slo:objective:ratio": f"vector({objective.target!r})",
        "slo:error_budget:ratio": f"vector({budget})",
        "slo:period_error_budget_remaining:ratio": f"1 - {spent} / {budget}",
        "slo:current_burn_rate:ratio": f"{recorded(objective, ERROR_RATIO, shortest(rules))} / {budget}",
    }


def _alerts(objective: Objective, rules: Sequence[BurnRule], runbook_url: str = RUNBOOK) -> Iterator[dict[str, Any]]:
    """Yield the alerting rules of an objective as Prometheus knows them, texts as people shall read them."""
    about = (
        f"{objective.description} {percent(objective.target)} of the {'time slices' if objective.slices else 'events'} "
        f"within {words(objective.period)} are to be good."
    ).lstrip()
    runbook = {"runbook_url": runbook_url.replace("{slo}", objective.name)}
    labels = {"slo": objective.name, "service": objective.service, **objective.labels}
    labels = {label: value for label, value in labels.items() if value}  # an empty one is none
    severities = [severity for severity in ("page", "ticket") if any(rule.severity == severity for rule in rules)]
    for severity in severities:
        own = [rule for rule in rules if rule.severity == severity]
        rates = (f"{rule.burn_rate:g}x over {words(rule.long)} and {words(rule.short)}" for rule in own)
        limits = (
            f"{percent(rule.threshold(objective))} over {words(rule.long)} and {words(rule.short)}" for rule in own
        )
        ends = min(rule.exhausts_after for rule in own)
        yield {
            "alert": "ErrorBudgetBurn",
            "expr": "\nor\n".join(_fires(objective, rule) for rule in own),
            "labels": {**labels, "severity": severity},
            "annotations": {
                "summary": f"The error budget of {objective.name} ({objective.service}) burns too fast",
                "description": f"{about} Fires when more are bad than {', or '.join(limits)}.",
                "burn_rate": f"{', or '.join(rates)}; the fastest spends a whole budget in {words(ends)}",
                **runbook,
            },
        }
    yield {
        "alert": "SliTelemetryMissing",
        "expr": f"absent({recorded(objective, ERROR_RATIO, shortest(rules))})",
        "for": duration(shortest(rules)),
        "labels": {**labels, "severity": severities[0]},  # as severe as what it would hide
        "annotations": {
            "summary": f"Nothing is known of {objective.name} ({objective.service})",
            "description": f"{about} {objective.indicator.total}, or what of it is good or bad, gives no data: nobody "
            "knows whether that is so, and the other alerts are blind.",
            **runbook,
        },
    }


def _fires(objective: Objective, rule: BurnRule) -> str:
    threshold = repr(rule.threshold(objective))
    long, short = (recorded(objective, ERROR_RATIO, window) for window in (rule.long, rule.short))
    guard = ""
    if rule.minimum_bad > 1:
        events = bad(objective, rule.long, "increase")
        if objective.slices:
            events = f"{long} * {rule.long / objective.slices.seconds!r}"
        guard = f"\n  and on ()\n  {events} >= {rule.minimum_bad!r}"
    return f"(\n  {long} > {threshold}\n  and\n  {short} > {threshold}{guard}\n)"


def _literal(alert: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return labels and annotations so that Prometheus, which takes them for templates, shows them as they are."""
    return {
        part: {name: text.replace("{{", '{{"{{"}}') for name, text in alert[part].items()}
        for part in ("labels", "annotations")
    }
