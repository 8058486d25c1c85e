"""Unit tests for exported rules, as promtool runs them: every alert fires, not before it should, and resets.

Synthetic counters go into the rules; what should come out is worked out without them (see
:mod:`mlops_helpers.observe.outages`). Rules of different windows have different test files, because promtool evaluates
everything in a file equally often: mostly, once each short window. So an alert over three days takes 30 evaluations,
not the 9,000 of once a minute; each costs some 2 ms.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import groupby
from math import floor, gcd, log2
from typing import Any

from mlops_helpers.errors import ObjectiveError
from mlops_helpers.observe.burnrate import WORKBOOK, BurnRule, words
from mlops_helpers.observe.examples import example, series_of
from mlops_helpers.observe.export_rules import RUNBOOK, alerts
from mlops_helpers.observe.objectives import Objective
from mlops_helpers.observe.outages import EVENTS, Outage, outage_for
from mlops_helpers.observe.promql import duration, exportable, shortest, told_apart
from mlops_helpers.observe.selector import Selector
from mlops_helpers.observe.yaml_text import dump

__all__ = ["promtool_tests"]

_MOST_SAMPLES = 500_000
_Test = dict[str, Any]


def promtool_tests(
    objective: Objective,
    rules: Sequence[BurnRule] = WORKBOOK,
    *,
    rule_file: str = "rules.yml",
    runbook_url: str = RUNBOOK,
) -> dict[str, str]:
    """Return test files (YAML) for ``promtool test rules``, by name.

    Those of burn-rate rules are named after the time between their evaluations (``5m``), the other is ``telemetry``.

    ``rule_file`` is where the test files find the objective's rules, as
    :func:`~mlops_helpers.observe.export_rules.prometheus_rules` writes them with the same ``runbook_url``.

    Raises ``ObjectiveError`` when the rules cannot be exported, and when no outage or no series show them at work.
    """
    ((_, own),) = exportable([objective], rules)
    known = list(alerts(objective, own, runbook_url))
    tests: dict[float, list[_Test]] = {}
    for rule in own:
        outage, moments = outage_for(objective, own, rule)
        into = tests.setdefault(outage.step, [])
        into.append(_test(f"{rule}: {', '.join(moments)}", known, outage, moments.values()))
        if rule.minimum_bad > 1 and not objective.slices:
            bad = outage.most(rule.long, moments["above"]) * rule.long / outage.step  # with one event in each step
            few = replace(outage, events=0.5 * rule.minimum_bad / bad)
            into.append(_test(f"{rule}: above, but of few events", known, few, [moments["above"]]))
    files = {words(step): (step, of_step) for step, of_step in sorted(tests.items())}
    files["telemetry"] = (shortest(own), list(_telemetry_tests(objective, own, known)))
    return {
        name: dump({"rule_files": [rule_file], "evaluation_interval": duration(step), "tests": of_file})
        for name, (step, of_file) in files.items()
    }


def _test(name: str, known: Sequence[Mapping[str, Any]], outage: Outage, moments: Iterable[int]) -> _Test:
    """Return the test of an outage, at the moments (in steps) at which it is clear what fires."""
    spacing = _spacing(outage)
    looks = []
    for steps in moments:
        firing = outage.firing(steps)
        if firing is not None:
            looks += _looks(known, steps * outage.step, firing)
    return {
        "name": name,
        "interval": words(spacing),
        "input_series": [{"series": series, "values": values} for series, values in _counters(outage, spacing)],
        "alert_rule_test": looks,
    }


def _telemetry_tests(
    objective: Objective, rules: tuple[BurnRule, ...], known: Sequence[Mapping[str, Any]]
) -> Iterator[_Test]:
    """Yield tests without an outage: steady, no events, no telemetry, telemetry of the total alone, or that ends."""
    step, late = shortest(rules), 4
    good = Outage(objective, rules, step, EVENTS, (0.0,) * late)
    steady = _test("steady: nothing fires", known, good, [late])
    counts = objective.indicator.minimum is None
    yield steady
    if counts:
        yield _test("no events: nothing fires", known, replace(good, events=0.0), [late])
    missing = _looks(known, late * step, missing=True)
    yield {**steady, "name": "no telemetry: that is said", "input_series": [], "alert_rule_test": missing}
    alone = example(objective.indicator.total)
    if counts and not _tells(objective, alone):
        series = [{"series": str(alone), "values": steady["input_series"][0]["values"]}]
        untold = {"input_series": series, "alert_rule_test": missing}
        yield {**steady, "name": "nothing tells good from bad: that is said", **untold}
    ended = _looks(known, 2 * late * step, missing=True)
    yield {**steady, "name": "telemetry ends: that is said", "alert_rule_test": ended}


def _tells(objective: Objective, series: Selector) -> bool:
    """Return whether a series of all events has labels that say whether they are good."""
    labels = {matcher.label: matcher.value for matcher in series.matchers}
    part = objective.indicator.good or objective.indicator.bad
    if part is None or part.name != series.name:
        return False
    return part.matches(labels) or told_apart(objective).matches(labels)


def _looks(
    known: Sequence[Mapping[str, Any]], seconds: float, burning: Collection[str] = (), *, missing: bool = False
) -> list[dict[str, Any]]:
    """Return what fires after so many ``seconds``: budget alerts of the severities ``burning``, and the other one."""
    expected: dict[str, list[dict[str, Any]]] = {"ErrorBudgetBurn": [], "SliTelemetryMissing": []}
    for alert in known:
        if missing if alert["alert"] == "SliTelemetryMissing" else alert["labels"]["severity"] in burning:
            expected[alert["alert"]].append({"exp_labels": alert["labels"], "exp_annotations": alert["annotations"]})
    return [{"eval_time": words(seconds), "alertname": name, "exp_alerts": firing} for name, firing in expected.items()]


def _spacing(outage: Outage) -> float:
    """Return the seconds between two samples: several in each window, and some at every end of a step.

    Raises ``ObjectiveError`` when windows have so little in common that there would be too many samples.
    """
    windows = [outage.step, shortest(outage.rules)] + (
        [outage.objective.slices.seconds] if outage.objective.slices else []
    )
    common = gcd(*(round(window * 1000) for window in windows))
    spacing = next(common // parts for parts in (4, 2, 1) if common % parts == 0) / 1000
    if len(outage.shares) * outage.step / spacing > _MOST_SAMPLES:
        raise ObjectiveError(
            f"windows of {', '.join(map(words, windows))} share no more than {words(common / 1000)}: the tests would "
            f"need more than {_MOST_SAMPLES} samples. Next: windows that are multiples of each other"
        )
    return spacing


def _counters(outage: Outage, spacing: float) -> Iterator[tuple[str, str]]:
    """Yield series and their samples, written as promtool reads them (``start+growth x times``)."""
    samples = round(outage.step / spacing)
    pace = [
        (*_growth(outage, share, spacing), sum(1 for _ in same) * samples) for share, same in groupby(outage.shares)
    ]
    for part, series in series_of(outage.objective.indicator).items():
        grows = [({"good": good, "bad": bad, "total": good + bad}[part], times) for good, bad, times in pace]
        value = 1000 * sum(growth for growth, _ in grows)  # far from 0, below which no rate is extrapolated
        text = [f"{_number(value)}+0x0"]
        for growth, times in grows:
            text.append(f"{_number(value + growth)}+{_number(growth)}x{times - 1}")
            value += growth * times
        yield str(series), " ".join(text)


def _growth(outage: Outage, share: float, spacing: float) -> tuple[float, float]:
    """Return how much good and bad events grow from one sample to the next, so that sums of them are exact."""
    indicator, slices = outage.objective.indicator, outage.objective.slices
    if indicator.minimum is not None:
        return _exact(indicator.minimum * spacing * (0.95 if share else 1.05)), 0.0
    events = outage.events * spacing / outage.step
    if slices:
        allowed = 1 - slices.target
        share = (min(1.05 * allowed, (1 + allowed) / 2) or 0.01) if share else 0.95 * allowed
    return _exact(events * (1 - share)), _exact(events * share)


def _exact(growth: float) -> float:
    """Return the number with so few binary digits that adding it up thousands of times rounds nothing."""
    if growth == 0 or growth >= 1000:
        return round(growth)
    digit = 2.0 ** (floor(log2(growth)) - 20)
    return round(growth / digit) * digit


def _number(value: float) -> str:
    return f"{Decimal(repr(value)).normalize():f}"
