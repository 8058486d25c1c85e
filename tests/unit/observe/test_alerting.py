"""Alerts: they fire exactly when the budget burns too fast, end when it does not, and never say what is not known."""

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mlops_helpers.errors import MetricsError, ObjectiveError, ServiceError
from mlops_helpers.observe.alerting import Alerts, burn_rates, detection_time, evaluate, joined, reset_time
from mlops_helpers.observe.burnrate import WORKBOOK, BurnRule, in_time_lapse
from mlops_helpers.observe.objectives import DAY, HOUR, MINUTE, Indicator, Objective
from mlops_helpers.observe.store import Store
from mlops_helpers.observe.webhook import Page
from tests.support.scrapes import BEGIN, live
from tests.support.slo_examples import START, failures

BAD = Indicator.of_counters("availability", "http_total", bad='http_total{code="500"}')
AVAILABLE = Objective("available", 0.999, BAD, labels={"team": "blog"})
PAGE = WORKBOOK[0]
NAN = float("nan")


def spells(alerts: pd.DataFrame, steps: int, state: str, step: float = MINUTE) -> list[bool]:
    """Whether a table of alerts says ``state`` at each step's end."""
    said = np.zeros(steps, bool)
    for _, row in alerts[alerts["state"] == state].iterrows():
        first, past = ((moment - START) / pd.Timedelta(step, "s") - 1 for moment in (row["started"], row["ended"]))
        said[round(first) : None if pd.isna(past) else round(past)] = True
    return said.tolist()


@dataclass
class Oracle:
    """The same by hand, in fractions."""

    threshold: Fraction
    long: int
    short: int
    minimum: int

    def states(self, steps: list[tuple[int, int] | None]) -> tuple[list[bool], list[bool]]:
        active, firing, unknown = False, [], []
        for end in range(1, len(steps) + 1):
            (bad, total, known), (long_bad, long_total, long_known) = (
                self.window(steps[max(0, end - width) : end]) for width in (self.short, self.long)
            )
            burns = total > 0 and Fraction(bad, total) > self.threshold
            long_burns = long_total > 0 and Fraction(long_bad, long_total) > self.threshold
            blind = known < Fraction(1, 2) or (burns and not long_burns and long_known < Fraction(1, 2))
            if not blind:
                ended = bad == 0 or self.quiet(bad, total) or long_bad + 2 < self.minimum
                ended |= long_known >= Fraction(1, 2) and self.quiet(long_bad, long_total)
                active = (burns and long_burns and long_bad >= self.minimum) or (active and not ended)
            firing.append(active)
            unknown.append(blind)
        return firing, unknown

    def quiet(self, bad: int, total: int) -> bool:
        return total > 1 and Fraction(bad + 2, total - 1) <= self.threshold

    @staticmethod
    def window(steps: list[tuple[int, int] | None]) -> tuple[int, int, Fraction]:
        known = [step for step in steps if step]
        return sum(bad for bad, _ in known), sum(total for _, total in known), Fraction(len(known), len(steps))


a_step = st.one_of(
    st.none(), *[st.tuples(st.integers(0, top), st.integers(0, top)).map(lambda pair: (min(pair), max(pair)))
                 for top in (2, 30, 30, 1000)]
)  # fmt: skip


@settings(max_examples=70)
@given(
    steps=st.lists(a_step, min_size=1, max_size=25),
    target=st.decimals("0.5", "0.999", places=3),
    windows=st.tuples(st.integers(2, 12), st.integers(2, 12)).filter(lambda pair: pair[0] != pair[1]),
    spent=st.sampled_from([0.001, 0.002, 0.01, 0.02, 0.05]),
    minimum=st.integers(0, 8),
)
def test_an_alert_fires_exactly_when_rational_arithmetic_says_so(steps, target, windows, spent, minimum) -> None:
    short, long = sorted(windows)
    rule = BurnRule("page", spent, long * MINUTE, short * MINUTE, DAY, minimum)
    threshold = Fraction(str(spent)) * 1440 / long * (1 - Fraction(target))
    assume(threshold <= Fraction("0.999"))
    objective = Objective("x", float(target), BAD, period=DAY)
    firing, unknown = Oracle(threshold, long, short, minimum).states(steps)
    table = failures([step[0] if step else NAN for step in steps], [step[1] if step else NAN for step in steps])
    alerts = evaluate(table, objective, [rule])
    assert spells(alerts, len(steps), "firing") == firing
    assert spells(alerts, len(steps), "unknown") == unknown


@settings(max_examples=25)
@given(
    bad=st.lists(st.floats(0, 5), min_size=6, max_size=120),
    after=st.integers(5, 30),
)
def test_an_alert_ends_within_the_short_window_after_recovery(bad, after) -> None:
    # fractions, as counters that are extrapolated have them: no rest of their sums may stay behind
    alerts = evaluate(failures([*bad, *[0] * after], [5] * (len(bad) + after)), AVAILABLE, [PAGE])
    firing = spells(alerts, len(bad) + after, "firing")
    assert not any(firing[len(bad) + 4 :])


@settings(max_examples=25)
@given(
    total=st.floats(1e-3, 1e6),
    share=st.one_of(st.sampled_from([0.0144, 0.006, 0.001, 1.0]), st.floats(0, 1), st.floats(0.0143, 0.0145)),
    minimum=st.sampled_from([0, 0, 7.5, 100]),
)
def test_what_does_not_change_fires_once_or_never(total, share, minimum) -> None:
    table = failures([share * total] * 400, [total] * 400)
    rules = [replace(rule, minimum_bad=minimum) for rule in WORKBOOK[:2]]
    for _, alerts in evaluate(table, AVAILABLE, rules).groupby("rule"):
        assert len(alerts) == 1 and alerts["ended"].isna().all(), "fires, once, and goes on"
        assert minimum or alerts["started"].item() == START + pd.Timedelta(MINUTE, "s"), "nothing has changed since"
    assert burn_rates(table, AVAILABLE, [HOUR])["1h"].nunique() == 1


@pytest.mark.parametrize("share", [1.0, 0.05, 0.016])
@pytest.mark.parametrize("rule", WORKBOOK)
def test_an_outage_is_detected_and_over_when_the_formulas_say(share: float, rule: BurnRule) -> None:
    step = rule.short / 20
    before, after = round(rule.long / step), round(rule.short / step) + 1
    table = failures([0] * before + [share * 1e6] * before + [0] * after, [1e6] * (2 * before + after), step)
    alerts = evaluate(table, AVAILABLE, [rule])
    [alert] = alerts.itertuples()
    outage, over = (START + pd.Timedelta(steps * step, "s") for steps in (before, 2 * before))
    for late in (
        (alert.started - outage).total_seconds() - detection_time(share, rule, AVAILABLE),
        (alert.ended - over).total_seconds() - reset_time(share, rule, AVAILABLE),
    ):
        assert -1e-6 <= late <= step + 1e-6
    assert alert.peak_burn_rate == pytest.approx(share / 0.001)
    assert (alert.objective, alert.rule, alert.severity) == ("available", str(rule), rule.severity)


def test_an_alert_says_what_was_spent_meanwhile() -> None:
    minutes = round(30 * DAY / MINUTE)
    bad = np.zeros(minutes)
    bad[1000:1120] = 10
    alerts = evaluate(failures(bad, np.full(minutes, 10.0)), AVAILABLE, [PAGE]).set_index("state")
    # 2 hours of 720 are 2.7 budgets; the first minute is what detection took
    assert alerts.loc["firing", "spent"] == pytest.approx(1190 / 432)
    assert alerts.loc["firing", "started"] == START + pd.Timedelta(1001, "min")


def test_who_is_called_is_called_once_for_rules_of_one_severity() -> None:
    bad = [0.0] * 600 + [1.0] * 240 + [0.0] * 600 + [10.0] * 30
    alerts = evaluate(failures(bad, [10.0] * len(bad)), AVAILABLE, WORKBOOK)
    assert (alerts["severity"] == "page").sum() > 2
    calls = joined(pd.concat([alerts, alerts.assign(objective="other")]))
    for _, found in calls.groupby("objective"):
        pages = found[found["severity"] == "page"]
        assert pages["rule"].tolist() == [f"{WORKBOOK[0]}, {WORKBOOK[1]}"] * 2
        assert pages["ended"].isna().tolist() == [False, True]
        assert pages["started"].iloc[0] == START + pd.Timedelta(609, "min") and pages["peak_burn_rate"].iloc[1] > 100
    assert joined(alerts.iloc[:0]).empty and joined(alerts.iloc[:0]).dtypes.equals(joined(alerts).dtypes)


def test_a_gap_is_unknown_and_does_not_end_an_alert() -> None:
    bad = [0.0] * 60 + [5.0] * 10 + [NAN] * 30 + [5.0] * 10 + [0.0] * 10
    alerts = evaluate(failures(bad, [10.0 + each - each for each in bad]), AVAILABLE, [PAGE])
    assert alerts["state"].tolist() == ["firing", "unknown"]
    assert alerts.loc[0, "ended"] == START + pd.Timedelta(115, "min")
    begin, end = (START + pd.Timedelta(minute, "min") for minute in (73, 103))
    assert alerts.loc[1, ["started", "ended"]].tolist() == [begin, end], "while less than half of 5 minutes is known"
    assert alerts.loc[1, ["peak_burn_rate", "spent"]].isna().all()
    alerts = evaluate(failures([0, *[NAN] * 5], [9, *[NAN] * 5]), AVAILABLE, [PAGE])
    assert alerts["state"].tolist() == ["unknown"] and alerts["ended"].isna().all(), "it goes on"


def test_burn_rates_are_shares_of_the_budget() -> None:
    table = burn_rates(failures([0, 1, NAN, NAN, 0, 0], [10, 10, NAN, NAN, 0, 0]), AVAILABLE, [MINUTE, 2 * MINUTE])
    assert table.index[0] == START + pd.Timedelta(60, "s") and table.index.name == "time"
    np.testing.assert_allclose(table["1m"], [0, 100, NAN, NAN, NAN, NAN])
    np.testing.assert_allclose(table["2m"], [0, 50, 100, NAN, NAN, NAN])
    table = burn_rates(failures([1, 0], [1, 1]), AVAILABLE, [90.0])
    assert table.iloc[-1, 0] == 500, "a window of no whole steps reaches to the next"


def test_rules_that_cannot_work_are_refused() -> None:
    with pytest.raises(ObjectiveError, match="cannot fire"):
        evaluate(failures([0], [1]), replace(AVAILABLE, target=0.9), WORKBOOK)
    with pytest.raises(ObjectiveError, match="measurements come every 5m"):
        evaluate(failures([0], [1], 300.0), AVAILABLE, WORKBOOK)


LAPSED = in_time_lapse(AVAILABLE, WORKBOOK[:1], 60)  # an hour is a minute, 5 minutes are 5 seconds


def test_an_alert_fires_and_ends_and_tells_of_both() -> None:
    told: list[Page] = []
    alerts = Alerts(live(300, bad=range(100, 110)), [LAPSED], notify=told.extend)
    states = [alerts.evaluate(BEGIN + second).iloc[0] for second in range(95, 120)]
    assert {row.state for row in states} == {"inactive", "firing"}
    assert [page.status for page in told] == ["firing", "resolved"]
    fired, ended = told
    assert 100 < fired.starts_at - BEGIN <= 104 and ended.starts_at == fired.starts_at
    assert ended.ends_at is not None and 110 < ended.ends_at - BEGIN <= 115
    assert fired.labels == {"slo": "available", "service": "blog", "team": "blog", "severity": "page"}
    assert [(before, after) for *_, before, after in alerts.transitions] == [
        ("unknown", "inactive"), ("inactive", "firing"), ("firing", "inactive")
    ]  # fmt: skip
    at_peak = next(row for row in states if row.state == "firing")
    assert at_peak.long_burn_rate > 14.4 and at_peak.since == pd.Timestamp(fired.starts_at, unit="s", tz="UTC")


def test_a_target_that_is_down_is_unknown_and_its_alert_goes_on() -> None:
    told: list[Page] = []
    alerts = Alerts(live(300, bad=range(100, 160), lost=range(110, 140)), [LAPSED], notify=told.extend)
    states = {second: alerts.evaluate(BEGIN + second).iloc[0] for second in range(98, 168)}
    assert states[108].state == "firing"
    assert states[120].state == "unknown" and states[120].reason == "no sample of http_total for 11s"
    assert states[150].state == "firing" and states[150].reason == ""
    assert [page.status for page in told] == ["firing", "resolved"], "not a second page for what goes on"


def test_what_there_is_not_is_unknown_with_the_reason() -> None:
    wrong = {"misspelt": ("http_total", 'http_total{kode="5"}'), "nowhere": ("none_total", "bad_total")}
    objectives = [
        (replace(LAPSED[0], name=name, indicator=Indicator.of_counters("quality", total, bad=bad)), LAPSED[1])
        for name, (total, bad) in wrong.items()
    ]
    alerts = Alerts(live(100, bad=range(0)), [*objectives, LAPSED])
    table = alerts.evaluate(BEGIN + 90).set_index("objective")
    assert table["state"].to_dict() == {"misspelt": "unknown", "nowhere": "unknown", "available": "inactive"}
    assert "the label kode" in table.loc["misspelt", "reason"] and "none_total" in table.loc["nowhere", "reason"]
    table = alerts.evaluate(BEGIN + 500)
    assert set(table["state"]) == {"unknown"}


def test_the_clock_does_not_go_backwards_and_names_are_unique() -> None:
    alerts = Alerts(live(100, bad=range(0)), [LAPSED])
    alerts.evaluate(BEGIN + 90)
    with pytest.raises(MetricsError, match="clock went backwards"):
        alerts.evaluate(BEGIN + 89)
    with pytest.raises(MetricsError, match="clock went backwards"):
        alerts.evaluate(NAN)
    with pytest.raises(ObjectiveError, match="each name once"):
        Alerts(live(100, bad=range(0)), [LAPSED, LAPSED])
    assert Alerts(Store(), []).evaluate(BEGIN).empty


def test_rules_of_one_severity_are_one_page() -> None:
    told: list[Page] = []
    objective, rules = in_time_lapse(AVAILABLE, WORKBOOK, 60)
    alerts = Alerts(live(900, bad=range(400, 430)), [(objective, rules)], notify=told.extend)
    for second in range(398, 830, 12):
        alerts.evaluate(BEGIN + second)
    firing = {rule for _, _, rule, _, after in alerts.transitions if after == "firing"}
    assert len(firing) == 3, "both pages and the ticket"
    assert [(page.labels["severity"], page.status) for page in told] == [
        ("page", "firing"), ("ticket", "firing"), ("page", "resolved"), ("ticket", "resolved")
    ]  # fmt: skip


def test_pages_that_a_webhook_refuses_are_sent_again_until_it_takes_them() -> None:
    taken: list[Page] = []
    refuses = [True]

    def receive(pages: list[Page]) -> None:
        if refuses[0]:
            raise ServiceError("down")
        taken.extend(pages)

    alerts = Alerts(live(300, bad=range(100, 110)), [LAPSED], notify=receive)
    for second in range(98, 118):
        alerts.evaluate(BEGIN + second)
    assert [page.status for page in alerts.undelivered] == ["firing", "resolved"]
    refuses[0] = False
    alerts.evaluate(BEGIN + 131)
    assert [page.status for page in taken] == ["firing", "resolved"]
    assert not alerts.undelivered
