"""The simulated month: an incident changes what it hits, and nothing else."""

import pandas as pd
import pytest

from mlops_helpers.errors import ParameterError
from mlops_helpers.observe import month
from mlops_helpers.observe.month import Incident

QUIET: tuple[Incident, ...] = ()


def test_the_same_arguments_give_the_same_month() -> None:
    pd.testing.assert_frame_equal(month.events(5_000, seed=3), month.events(5_000, seed=3))
    assert not month.events(5_000, seed=3).equals(month.events(5_000, seed=4))


@pytest.mark.parametrize(
    ("incident", "column"),
    [
        (Incident("errors", 3.0, 24.0, 0.5), "status"),
        (Incident("slow", 3.0, 24.0, 0.5), "seconds"),
        (Incident("lost", 3.0, 24.0, 0.5), "kept"),
        (Incident("bad_model", 3.0, 24.0, 0.5), "spam_verdict"),
    ],
)
def test_an_incident_changes_its_column_while_it_lasts_and_nothing_else(incident: Incident, column: str) -> None:
    quiet, hit = month.events(20_000, incidents=QUIET), month.events(20_000, incidents=[incident])
    during = quiet["time"].between(pd.Timestamp("2026-01-04", tz="UTC"), pd.Timestamp("2026-01-05", tz="UTC"))
    changed = quiet[column].ne(hit[column]).fillna(False)
    assert changed[during].mean() > 0.3
    assert not changed[~during].any()
    follows = {"status": {"seconds", "accepted", "kept", "label", "labelled_at"}}.get(column, set())
    for other in set(quiet) - follows - {column}:
        pd.testing.assert_series_equal(quiet[other], hit[other])


def test_a_release_is_committed_before_it_is_deployed_and_recovered_after() -> None:
    table = month.releases(days=365, seed=1)
    assert (table["deployed_at"] > table["committed_at"]).all()
    assert table["failed"].sum() == table["recovered_at"].notna().sum() == table["rework"].sum() > 0


def test_arguments_out_of_range_are_refused() -> None:
    for call in (
        lambda: Incident("errors", 1, 1, 2),
        lambda: month.events(-1),
        lambda: month.releases(days=0),
    ):
        with pytest.raises(ParameterError, match="accepted"):
            call()
