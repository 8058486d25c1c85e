"""DORA's five, by hand."""

import pandas as pd
import pytest

from mlops_helpers.errors import ObjectiveError
from mlops_helpers.observe.delivery_metrics import COLUMNS, delivery_metrics


def records(*rows: tuple[str, str, bool, str | None, bool]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(COLUMNS))


PLANNED = ("2026-01-01 10:00", "2026-01-01 12:00", False, None, False)
FAILED = ("2026-01-02 06:00", "2026-01-02 12:00", True, "2026-01-02 12:30", False)
REWORK = ("2026-01-02 12:30", "2026-01-02 13:00", False, None, True)
OPEN = ("2026-01-03 11:00", "2026-01-03 12:00", True, None, False)


def test_the_five_of_four_releases() -> None:
    found = delivery_metrics(records(PLANNED, FAILED, REWORK, OPEN), "2026-01-01", "2026-01-05")
    assert found.change_lead_time == pd.Timedelta("2h")  # of 1, 2 and 6 hours; rework does not count
    assert found.deployments_per_day == 1.0
    assert found.failed_deployment_recovery_time == pd.Timedelta("30min")
    assert (found.change_fail_rate, found.deployment_rework_rate, found.still_failing) == (0.5, 0.25, 1)
    assert "(1 not recovered)" in str(found)


def test_what_no_release_can_tell_is_unknown_and_not_zero() -> None:
    found = delivery_metrics(records(PLANNED), "2026-02-01", "2026-02-05")
    assert found.deployments == 0
    assert found.change_lead_time is found.failed_deployment_recovery_time is None
    assert found.change_fail_rate is found.deployment_rework_rate is None
    assert str(found).count("unknown") == 4


def test_the_end_is_exclusive_and_times_with_zones_are_understood() -> None:
    table = records(PLANNED)
    assert delivery_metrics(table, "2026-01-01", "2026-01-01 12:00").deployments == 0
    assert delivery_metrics(table, "2026-01-01T12:00+01:00", "2026-01-01T13:00+01:00").deployments == 0
    assert delivery_metrics(table, "2026-01-01T12:00+01:00", "2026-01-01T13:00:01+01:00").deployments == 1


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("2026-01-02", "2026-01-01", False, None, False), "before it was committed"),
        (("2026-01-01", "2026-01-03", True, "2026-01-02", False), "before it was deployed"),
        (("2026-01-01", None, False, None, False), "no time"),
    ],
)
def test_records_that_cannot_be_are_refused(row: tuple, reason: str) -> None:
    with pytest.raises(ObjectiveError, match=reason):
        delivery_metrics(records(PLANNED, row), "2026-01-01", "2026-01-05")


def test_no_stretch_of_time_is_refused() -> None:
    with pytest.raises(ObjectiveError, match="no stretch of time"):
        delivery_metrics(records(PLANNED), "2026-01-05", "2026-01-05")
