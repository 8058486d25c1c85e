"""The error-budget policy: what ships with how much of the budget, and what must be written up."""

import pandas as pd
import pytest

from mlops_helpers.errors import ObjectiveError
from mlops_helpers.observe.budget import budget
from mlops_helpers.observe.objectives import DAY, Indicator, Objective
from mlops_helpers.observe.policy import ALWAYS, CHANGES, FOUR_WEEKS, decide, postmortem

AVAILABLE = Objective("x", 0.999, Indicator.of_counters("availability", "a_total", bad="b_total"))


@pytest.mark.parametrize("change", CHANGES)
def test_what_ships_depends_on_the_budget_that_is_left(change: str) -> None:
    urgent = change in ALWAYS
    unknown = (float("nan"), urgent, False)
    for remaining, allowed, known in ((1.0, True, True), (1e-12, True, True), (0.0, urgent, True), unknown):
        decision = decide(remaining, change)
        assert (decision.allowed, decision.known) == (allowed, known)
    assert change in decide(1.0, change).reason and (urgent or "unknown" in decision.reason)


def test_the_reason_names_the_overdraft_and_an_unknown_change_is_refused() -> None:
    assert set(ALWAYS) == {"emergency fix", "security"}
    assert "(125 %)" in decide(-0.25, "feature").reason
    with pytest.raises(ObjectiveError, match="change is 'hotfix'; accepted: feature"):
        decide(1.0, "hotfix")


def test_the_four_weeks_before_decide() -> None:
    days = pd.date_range("2026-01-01", periods=30, freq="D", tz="UTC")
    table = pd.DataFrame({"good": 1000.0, "total": 1000.0}, index=days)
    table.attrs["step"] = DAY
    table.iloc[1, 0] -= 31
    assert not decide(budget(table, AVAILABLE).remaining, "feature").allowed
    assert decide(budget(table, AVAILABLE, period=FOUR_WEEKS).remaining, "feature").allowed, "that was 29 days ago"


def test_an_incident_that_took_more_than_a_fifth_is_written_up() -> None:
    assert [postmortem(spent).required for spent in (0.0, 0.2, 0.2000001, 3.0)] == [False, False, True, True]
    unknown = postmortem(float("nan"))
    assert unknown.required and not unknown.known and "unknown" in unknown.reason
