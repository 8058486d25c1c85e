"""A Grafana dashboard (version 10 or later) for objectives: what is promised, what is kept, what burns, what is asked.

It shows what :func:`~mlops_helpers.observe.export_rules.prometheus_rules` records, so import both. Which Prometheus is
asked is chosen at the top of the page.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from mlops_helpers.observe.burnrate import WORKBOOK, BurnRule, words
from mlops_helpers.observe.objectives import Objective
from mlops_helpers.observe.promql import (
    ERROR_RATIO,
    Rules,
    bad,
    duration,
    exportable,
    percent,
    recorded,
    shortest,
    total,
)
from mlops_helpers.observe.selector import Selector

__all__ = ["grafana_dashboard"]

_SCHEMA = 38  # of Grafana 10; later ones migrate it when they load it
_WIDTH, _HEIGHT = 24, 8  # of the page and of a panel, in Grafana's units
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_Panel = dict[str, Any]


def grafana_dashboard(
    objectives: Iterable[Objective],
    rules: Rules = WORKBOOK,
    *,
    title: str = "Service level objectives",
    uid: str = "slo",
) -> dict[str, Any]:
    """Return the dashboard as Grafana imports it (JSON): an overview, then a row for each objective.

    ``uid`` names the dashboard within a Grafana: importing it again replaces the one of that name.

    Raises ``ObjectiveError`` as :func:`~mlops_helpers.observe.export_rules.prometheus_rules` does.
    """
    pairs = exportable(objectives, rules)
    lines = [_overview([objective for objective, _ in pairs])]
    for objective, own in pairs:
        lines += [[_heading(objective)], _promise(objective, own)]
        if objective.indicator.good and objective.indicator.good.name.endswith("_bucket"):
            lines.append(_histogram(objective, objective.indicator.good, shortest(own)))
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1}
    return {
        "uid": uid,
        "title": title,
        "description": "Targets, error budgets, burn rates and alerts; made from the objectives, so change them there.",
        "tags": ["slo"],
        "schemaVersion": _SCHEMA,
        "editable": True,
        "graphTooltip": 1,  # the cross-hair is shared
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": [source]},
        "panels": _placed(lines),
    }


def _overview(objectives: Sequence[Objective]) -> list[_Panel]:
    names = "|".join(objective.name for objective in objectives)
    left = _panel(
        "stat",
        "Error budgets left",
        "What is left of each objective's budget for its whole period: 100 %, nothing bad has happened; 0 %, no more "
        "may; below, the objective is missed. No number: not known.",
        {"{{slo}}": f'slo:period_error_budget_remaining:ratio{{slo=~"{names}"}}'},
        unit="percentunit",
        steps={None: "red", 0.0: "orange", 0.25: "green"},
    )
    left["fieldConfig"]["defaults"]["color"] = {"mode": "thresholds"}
    alerts = _panel(
        "table",
        "Alerts",
        "Alerts that fire or are about to. ErrorBudgetBurn: a budget is spent too fast. SliTelemetryMissing: nobody "
        "knows. An empty table is good news only while the other panels show data.",
        {"": f'ALERTS{{alertname=~"ErrorBudgetBurn|SliTelemetryMissing",slo=~"{names}"}}'},
    )
    alerts["targets"][0] |= {"format": "table", "instant": True, "range": False}
    return [left, alerts]


def _heading(objective: Objective) -> _Panel:
    what = "time slices" if objective.slices else "events"
    about = f"{percent(objective.target)} of the {what} within {words(objective.period)}"
    return {
        "type": "row",
        "title": f"{objective.name} ({objective.service}): {about}",
        "collapsed": False,
        "panels": [],
    }


def _promise(objective: Objective, rules: Sequence[BurnRule]) -> list[_Panel]:
    base, budget = shortest(rules), recorded(objective, "slo:error_budget:ratio")
    windows = sorted({window for rule in rules for window in (rule.long, rule.short)})
    kept = _panel(
        "timeseries",
        "Kept and promised",
        f"{objective.description} The share of good {'time slices' if objective.slices else 'events'} in the last "
        f"{words(base)} and in the whole period, and the target. A gap: no events, or no telemetry.".lstrip(),
        {
            f"last {words(window)}": f"1 - {recorded(objective, ERROR_RATIO, window)}"
            for window in (base, objective.period)
        }
        | {"target": recorded(objective, "slo:objective:ratio")},
        unit="percentunit",
    )
    left = _panel(
        "timeseries",
        "Error budget left",
        "What is left of the budget of the whole period. Falling evenly to 0 within a period is what it is for.",
        {"left": recorded(objective, "slo:period_error_budget_remaining:ratio")},
        unit="percentunit",
        steps={None: "red", 0.0: "green"},
    )
    burns = _panel(
        "timeseries",
        "Burn rates",
        "How many times faster than allowed the budget is spent, by window. An alert fires while both windows of a "
        "rule are above its line: " + "; ".join(map(str, rules)) + ".",
        {words(window): f"{recorded(objective, ERROR_RATIO, window)} / {budget}" for window in windows},
        steps={None: "green"} | {rule.burn_rate: "orange" if rule.severity == "ticket" else "red" for rule in rules},
    )
    events = {"all": total(objective, base)}
    if objective.indicator.minimum is None:
        events["bad"] = bad(objective, base)
    asked = _panel(
        "timeseries",
        "Events a second",
        f"How much happens, and how much of it is bad. Counted is {objective.indicator.total}"
        + (
            f"; a time slice with fewer than {objective.indicator.minimum:g} a second is bad."
            if len(events) == 1
            else "."
        ),
        events,
        steps={None: "red", objective.indicator.minimum: "green"} if objective.indicator.minimum else None,
    )
    return [kept, left, burns, asked]


def _histogram(objective: Objective, good: Selector, window: float) -> list[_Panel]:
    matchers = tuple(matcher for matcher in good.matchers if matcher.label != "le")
    buckets = f"sum by (le) (rate({Selector(good.name, matchers)}[{duration(window)}]))"
    limit = next((matcher.value for matcher in good.matchers if matcher.label == "le"), "?")
    within = f"Good events take at most {limit.removesuffix('([.]0)?')} s."
    quantiles = _panel(
        "timeseries",
        "Quantiles",
        f"Half, 9 of 10 and 99 of 100 events take at most so long. {within} Read between the bounds of a histogram, so "
        "no more exact than these are close.",
        {f"{share:.0%}": f"histogram_quantile({share}, {buckets})" for share in (0.5, 0.9, 0.99)},
        unit="s",
    )
    heatmap = _panel(
        "heatmap",
        "How long it took",
        f"How many events a second took how long: the darker, the more. {within} Two bands at once are two kinds of "
        "events.",
        {"{{le}}": buckets},
        unit="s",
    )
    heatmap["targets"][0]["format"] = "heatmap"
    heatmap["options"] = {"calculate": False, "yAxis": {"unit": "s"}, "color": {"mode": "scheme", "scheme": "Oranges"}}
    return [quantiles, heatmap]


def _panel(
    kind: str,
    title: str,
    description: str,
    queries: dict[str, str],
    *,
    unit: str = "short",
    steps: dict[float | None, str] | None = None,
) -> _Panel:
    """Return a panel; ``queries`` are expressions by legend, ``steps`` colours from a value on (None: from below)."""
    defaults: dict[str, Any] = {"unit": unit}
    if steps:
        ordered = sorted(steps.items(), key=lambda step: float("-inf") if step[0] is None else step[0])
        defaults["thresholds"] = {"mode": "absolute", "steps": [{"value": at, "color": color} for at, color in ordered]}
        if kind == "timeseries":
            defaults["custom"] = {"thresholdsStyle": {"mode": "line"}}
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            {"refId": chr(65 + number), "datasource": _SOURCE, "expr": expr, "legendFormat": legend, "range": True}
            for number, (legend, expr) in enumerate(queries.items())
        ],
    }


def _placed(lines: Sequence[Sequence[_Panel]]) -> list[_Panel]:
    """Return the panels with numbers and places, line under line, those of a line equally wide."""
    placed: list[_Panel] = []
    y = 0
    for line in lines:
        height, width = 1 if line[0]["type"] == "row" else _HEIGHT, _WIDTH // len(line)
        for column, panel in enumerate(line):
            place = {"x": column * width, "y": y, "w": width, "h": height}
            placed.append({"id": len(placed) + 1, **panel, "gridPos": place})
        y += height
    return placed
