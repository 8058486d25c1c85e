"""The error budget is counted exactly, is unknown when nothing is known, and nines have their price."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_helpers.errors import MetricsError, ObjectiveError
from mlops_helpers.observe.budget import attribution, budget, burn_down
from mlops_helpers.observe.nines import downtime, price
from mlops_helpers.observe.objectives import DAY, HOUR
from tests.support.slo_examples import AVAILABLE, START, failures

NAN = float("nan")
HOURS = 720


def month(*bad: tuple[int, float], total: float = 1000.0) -> pd.DataFrame:
    """30 days by the hour, with bad events in some hours."""
    hours = np.zeros(HOURS)
    for hour, events in bad:
        hours[hour] = events
    return failures(list(hours), [total] * HOURS, HOUR)


@settings(max_examples=40)
@given(
    steps=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 10_000)), min_size=1, max_size=30),
    target=st.decimals("0.5", "0.99999", places=5),
)
def test_the_budget_is_what_fractions_say(steps, target) -> None:
    bad, total = [min(pair) for pair in steps], [max(pair) for pair in steps]
    found = budget(failures(bad, total), replace(AVAILABLE, target=float(target)))
    if not sum(total):
        assert np.isnan([found.spent, found.remaining, found.events_left, found.exhausted_in]).all()
        return
    allowed = (1 - Fraction(target)) * sum(total)
    assert found.spent == pytest.approx(float(sum(bad) / allowed), rel=1e-15)
    assert (found.remaining <= 0) == (sum(bad) >= allowed), "spent is spent, to the last event"
    assert found.events_left == pytest.approx(float(allowed - sum(bad)), rel=1e-15, abs=1e-12)


@pytest.mark.parametrize(("target", "total", "bad"), [(0.999, 720_000, 720), (0.7, 7_200, 2_160), (0.93, 900, 63)])
def test_a_budget_that_is_just_spent_is_spent(target: float, total: int, bad: int) -> None:
    # 63 / (0.07 x 900) is 0.9999999999999999 in floats
    found = budget(failures([bad, 0], [bad, total - bad]), replace(AVAILABLE, target=target))
    assert (found.spent, found.remaining, found.events_left, found.exhausted_in) == (1, 0, 0, 0)


def test_at_14_4_times_a_budget_lasts_50_hours() -> None:
    found = budget(month((719, 14.4)), AVAILABLE)
    assert found.burn_rate == pytest.approx(14.4)
    fresh = budget(month((719, 14.4), total=1000.0).iloc[-1:], AVAILABLE)
    assert fresh.spent == pytest.approx(14.4) and fresh.exhausted_in == 0
    assert found.exhausted_in == pytest.approx((1 - 14.4 / 720) * 50 * HOUR)
    assert budget(month((3, 100)), AVAILABLE).exhausted_in == float("inf"), "nothing burns now"


def test_the_period_rolls() -> None:
    table = month((0, 100), (700, 50))
    assert budget(table, AVAILABLE).bad == 150
    assert budget(table, AVAILABLE, period=DAY).bad == 50
    assert budget(table, AVAILABLE, at=START + pd.Timedelta(2, "h")).bad == 100
    later = budget(table, AVAILABLE, at="2026-01-31 06:00")
    assert later.bad == 50 and later.known == pytest.approx(714 / 720)
    for at in ("2025-12-31", "2026-05-01"):
        with pytest.raises(MetricsError, match="no step of the Counts"):
            budget(table, AVAILABLE, at=at)
    with pytest.raises(MetricsError, match="period is 0"):
        budget(table, AVAILABLE, period=0)


def test_what_is_not_known_is_not_spent_and_not_left() -> None:
    nothing = budget(failures([NAN] * 5, [NAN] * 5, HOUR), AVAILABLE)
    assert np.isnan([nothing.spent, nothing.remaining, nothing.events_left, nothing.exhausted_in]).all()
    assert nothing.known == 0 and "unknown budget" in str(nothing)
    silent = budget(failures([0] * 5, [0] * 5, HOUR), AVAILABLE)
    assert np.isnan(silent.remaining) and silent.known == pytest.approx(5 / 720)
    part = month((3, 72))
    part.iloc[360:] = NAN
    found = budget(part, AVAILABLE)
    assert found.spent == 0.2 and found.known == 0.5 and np.isnan(found.exhausted_in)
    assert "50 % of the period is known" in str(found)


def test_a_month_burns_down_to_what_the_budget_says() -> None:
    table = month((100, 180), (200, 360), (300, 360))
    down = burn_down(table, AVAILABLE, START)
    assert down.index[0] == START + pd.Timedelta(1, "h") and len(down) == HOURS
    assert down["remaining"].iloc[[99, 100, 200, 300, -1]].tolist() == [1, 0.75, 0.25, -0.25, -0.25]
    assert budget(table, AVAILABLE).remaining == down["remaining"].iloc[-1]
    half = burn_down(table.iloc[:360], AVAILABLE, START)
    pd.testing.assert_frame_equal(half, down.iloc[:360]), "events to come are reckoned at the rate so far"
    with pytest.raises(MetricsError, match="not into the period"):
        burn_down(table, AVAILABLE, "2026-03-01")


def test_the_rolling_burn_down_forgets() -> None:
    week = replace(AVAILABLE, period=7 * DAY)
    down = burn_down(month((0, 84), (300, 168)), week)
    assert down["spent"].iloc[[167, 168, 300, -1]].tolist() == [0.5, 0, 1, 0]
    assert down["spent"].iloc[-1] == budget(month((0, 84), (300, 168)), week).spent


def test_what_is_unknown_is_a_gap_in_the_burn_down() -> None:
    table = month((100, 180))
    table.iloc[50:60] = NAN
    down = burn_down(table, AVAILABLE, START)
    assert down["spent"].isna().sum() == 10 and down["remaining"].iloc[-1] == pytest.approx(0.75)
    for nothing in (NAN, 0):
        assert burn_down(failures([nothing], [nothing]), AVAILABLE, START).isna().all(axis=None)


def test_the_spend_is_attributed_to_what_happened() -> None:
    table = month((100, 180), (101, 90), (200, 360), (719, 90))
    causes = {"release": (100, 102), "database": (200, 201), "going on": (719, None)}
    hour = pd.Timedelta(1, "h")
    found = attribution(
        table,
        AVAILABLE,
        {name: (START + begin * hour, end and START + end * hour) for name, (begin, end) in causes.items()},
    )
    assert found["bad"].to_dict() == {"release": 270, "database": 360, "going on": 90, "elsewhere": 0}
    assert found["spent"].sum() == budget(table, AVAILABLE).spent and found["of_spend"].sum() == 1
    overlapping = attribution(table, AVAILABLE, {"a": (START, None), "b": (START, pd.NaT)})
    assert overlapping["of_spend"].tolist() == [1, 1, 0]
    old = attribution(table, replace(AVAILABLE, period=DAY), {"release": (START, START + pd.Timedelta(102, "h"))})
    assert old["bad"].tolist() == [0, 90], "what has rolled out of the period is not in its budget"
    unknown = attribution(failures([NAN], [NAN]), AVAILABLE, {"a": (START, None)})
    assert unknown[["spent", "of_spend"]].isna().all(axis=None)


def test_nines_allow_what_everybody_knows() -> None:
    table = downtime([0.99, 0.999, 0.99999])
    assert table["30 days"].tolist() == [25_920, 2_592, 25.92] and table.loc[0.999, "year"] == 31_536
    with pytest.raises(ObjectiveError, match="target is 1"):
        downtime([1])


def test_another_nine_is_worth_what_it_avoids() -> None:
    offer = price(0.999, 0.9999, events=10_000_000, cost_per_bad_event=0.5, engineering=5_000)
    assert offer.avoided == 9_000 and offer.saved == 4_500 and not offer.worth
    assert "not worth it, break-even at 0.556 a bad event" in str(offer)
    assert offer.table()["allowed bad events"].tolist() == [10_000, 1_000]
    assert offer.table()["cost"].tolist() == [5_000, 5_500]
    assert price(0.999, 0.9999, events=10_000_000, cost_per_bad_event=0.6, engineering=5_000).worth
    with pytest.raises(ObjectiveError, match="accepted"):
        price(0.9999, 0.999, events=1, cost_per_bad_event=1, engineering=1)
