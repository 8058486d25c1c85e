"""Burn-rate rules have the workbook's numbers, keep them in any period and time lapse, and can fire."""

from dataclasses import replace
from fractions import Fraction

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_helpers.errors import ObjectiveError
from mlops_helpers.observe.alerting import detection_time, evaluate, reset_time
from mlops_helpers.observe.burnrate import SLOTH, WORKBOOK, BurnRule, checked, in_time_lapse, propose, scaled_to, words
from mlops_helpers.observe.objectives import DAY, HOUR, MINUTE, Indicator, Objective, TimeSlices
from tests.support.slo_examples import START, failures

AVAILABLE = Indicator.of_counters("availability", "a_total", bad="b_total")
THREE_NINES = Objective("x", 0.999, AVAILABLE)


def test_the_numbers_are_the_workbooks() -> None:
    assert [(r.severity, r.spent, r.long, r.short, r.burn_rate) for r in WORKBOOK] == [
        ("page", 0.02, HOUR, 5 * MINUTE, 14.4),
        ("page", 0.05, 6 * HOUR, 30 * MINUTE, 6.0),
        ("ticket", 0.10, 3 * DAY, 6 * HOUR, 1.0),
    ]
    assert [rule.threshold(THREE_NINES) for rule in WORKBOOK] == [0.0144, 0.006, 0.001]
    assert [rule.exhausts_after for rule in WORKBOOK] == [50 * HOUR, 5 * DAY, 30 * DAY]
    # detection: (1 - SLO) / share of errors x window x burn rate
    assert [detection_time(1.0, rule, THREE_NINES) for rule in WORKBOOK] == pytest.approx([51.84, 129.6, 259.2])
    assert detection_time(0.0144, WORKBOOK[0], THREE_NINES) == float("inf"), "at the threshold nothing fires"
    assert reset_time(0.0288, WORKBOOK[0], THREE_NINES) == 2.5 * MINUTE
    assert reset_time(0.01, WORKBOOK[0], THREE_NINES) == 0


@pytest.mark.parametrize(("rule", "highest"), [(WORKBOOK[0], 0.9306), (WORKBOOK[1], 0.833)])
def test_a_rule_that_cannot_fire_is_refused_with_one_that_can(rule: BurnRule, highest: float) -> None:
    for target in (highest, highest - 0.05, 0.6):
        objective = Objective("x", target, AVAILABLE)
        with pytest.raises(ObjectiveError, match="cannot fire for x") as refused:
            checked(objective, [rule])
        offered = propose(objective, rule)
        assert offered is not None and f"Next: {offered}" in str(refused.value)
        assert checked(objective, [offered]) == (offered,)
        assert (offered.severity, offered.spent) == (rule.severity, rule.spent)
        assert offered.long > rule.long and offered.burn_rate >= 1
    just_above = {0.9306: 0.930625, 0.833: 0.8335}[highest]
    assert checked(Objective("x", just_above, AVAILABLE), [rule]) == (rule,)


@pytest.mark.parametrize("target", [0.9306, 0.833, 0.55])
def test_what_is_proposed_fires_in_an_outage_and_resets(target: float) -> None:
    objective = Objective("x", target, AVAILABLE)
    offered = propose(objective, WORKBOOK[0])
    assert offered is not None
    step, steps = offered.short / 10, round(offered.long / offered.short * 10)
    outage = failures([0] * steps + [50] * steps + [0] * steps, [50] * 3 * steps, step)
    alerts = evaluate(outage, objective, [offered])
    begin = START + pd.Timedelta(offered.long, "s")
    [(started, ended)] = alerts[["started", "ended"]].itertuples(index=False)
    expected = detection_time(1.0, offered, objective)
    assert expected <= (started - begin).total_seconds() <= expected + step
    assert 0 < (ended - begin).total_seconds() - offered.long <= offered.short


def test_where_nothing_works_nothing_is_proposed() -> None:
    objective = Objective("x", 0.1, AVAILABLE)
    assert propose(objective, WORKBOOK[0]) is None, "a page below 1x would fire while the objective is met"
    with pytest.raises(ObjectiveError, match="a tighter target"):
        checked(objective, WORKBOOK)


@settings(max_examples=30)
@given(lapse=st.floats(0.01, 100_000), target=st.sampled_from([0.9995, 0.999, 0.99, 0.95]))
def test_a_time_lapse_changes_windows_and_nothing_else(lapse: float, target: float) -> None:
    objective = Objective("x", target, AVAILABLE, slices=TimeSlices(60.0))
    shorter, rules = in_time_lapse(objective, SLOTH, lapse)
    assert shorter.period == pytest.approx(30 * DAY / lapse, rel=1e-12)
    assert shorter.slices is not None and shorter.slices.seconds == pytest.approx(60 / lapse, rel=1e-12)
    for rule, original in zip(checked(shorter, rules), SLOTH, strict=True):
        assert rule.burn_rate == original.burn_rate
        assert rule.threshold(shorter) == original.threshold(objective)
        assert rule.long == pytest.approx(original.long / lapse, rel=1e-12)
        assert rule.long / rule.short == pytest.approx(original.long / original.short, rel=1e-12)


@pytest.mark.parametrize("days", [1, 28, 365.25])
def test_rules_for_another_period_have_the_same_burn_rates(days: float) -> None:
    objective = Objective("x", 0.999, AVAILABLE, period=days * DAY)
    rules = checked(objective, scaled_to(objective.period))
    assert [rule.burn_rate for rule in rules] == [14.4, 6.0, 1.0]
    assert rules[0].long == pytest.approx(HOUR * days / 30)
    with pytest.raises(ObjectiveError, match=r"Next: scaled_to\("):
        checked(objective, WORKBOOK)


@settings(max_examples=30)
@given(
    spent=st.decimals("0.001", "1", places=3), long=st.integers(2, 720), target=st.decimals("0.5", "0.9999", places=4)
)
def test_thresholds_are_exact(spent, long, target) -> None:
    rule = BurnRule("page", float(spent), long * HOUR, HOUR)
    exact = Fraction(spent) * 720 / long * (1 - Fraction(target))
    assert rule.threshold(Objective("x", float(target), AVAILABLE)) == pytest.approx(float(exact), rel=1e-14)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"severity": "warning"}, "page, ticket"),
        ({"spent": 1.5}, "share of the budget"),
        ({"short": HOUR}, "short < long"),
        ({"long": 31 * DAY}, "long <= period"),
        ({"long": float("nan")}, "short < long"),
        ({"minimum_bad": -1.0}, "0 or more"),
    ],
)
def test_rules_that_make_no_sense_are_refused(change: dict[str, object], reason: str) -> None:
    with pytest.raises(ObjectiveError, match=reason):
        replace(WORKBOOK[0], **change)


def test_a_short_window_needs_two_measurements() -> None:
    checked(THREE_NINES, step=150.0)
    with pytest.raises(ObjectiveError, match="looks at 5m, but measurements come every 2m31s"):
        checked(THREE_NINES, step=151.0)


def test_durations_are_written_as_prometheus_does() -> None:
    assert [words(s) for s in (5400, 259_200, 0.25, 90.5, 0)] == ["1h30m", "3d", "250ms", "1m30s500ms", "0s"]
