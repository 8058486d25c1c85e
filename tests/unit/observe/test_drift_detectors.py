"""A detector keeps its budget on days that are not independent, sees shifts, and says what it does not know."""

import numpy as np
import pandas as pd
import pytest

from mlops_helpers.errors import MetricsError, ParameterError
from mlops_helpers.observe.drift_detectors import Detector

COLUMNS = ["length", "kind", "traces", "label"]


def comments(days: int, seed: int, *, per_day: int = 60, day_effect: float = 0.0, shift: float = 0.0) -> pd.DataFrame:
    """Comments whose length, with ``day_effect``, has a mean of its own each day; two fifths have a label."""
    rng = np.random.default_rng(seed)
    n = days * per_day
    day = np.repeat(np.arange(days), per_day)
    length = rng.normal(0, 1, n) + day_effect * rng.normal(0, 1, days)[day] + shift
    label = pd.Series(rng.choice(["spam", "ham"], n)).mask(rng.random(n) < 0.6)
    when = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(day * 24 + rng.uniform(0, 24, n), unit="h")
    columns = {"length": length, "kind": rng.choice(list("abc"), n), "traces": 0.0, "label": label, "created_at": when}
    return pd.DataFrame(columns)


def fitted(reference: pd.DataFrame, **settings: object) -> Detector:
    return Detector.fit(reference, COLUMNS, delayed=["label"], **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def detector() -> Detector:
    return fitted(comments(28, 0))


@pytest.mark.parametrize("window", [7, 1])
def test_quiet_windows_raise_alarms_within_the_budget(window: int) -> None:
    alarms, checks = 0, 0
    for seed in range(3):
        found = fitted(comments(28, seed, day_effect=0.4), window=window, weeks_per_false_alarm=10 * window / 7)
        quiet = comments(window * 30, 100 + seed, day_effect=0.4)
        number = (quiet["created_at"] - quiet["created_at"].min().floor("D")) // pd.Timedelta(window, "D")
        alarms += sum(found.check(part).state == "alarm" for _, part in quiet.groupby(number))
        checks += number.nunique()
    assert found.false_alarm_rate == pytest.approx(0.1)
    assert checks == 90 and alarms <= 15  # two standard deviations above the budget


def test_limits_for_independent_rows_would_not_have_kept_it() -> None:
    """What the blocks are for: with days of their own, limits of shuffled rows are far too low."""
    reference = comments(28, 1, day_effect=0.4)
    shuffled = reference.assign(length=reference["length"].sample(frac=1, random_state=0).to_numpy())
    right, wrong = (fitted(one, window=1).columns["length"].limit for one in (reference, shuffled))
    assert wrong < right / 2


def test_a_shift_moves_its_column_and_no_other(detector: Detector) -> None:
    found = detector.check(comments(7, 50, shift=0.8))
    assert found.state == "alarm" and found.moved == ["length"]
    row = found.table.loc["length"]
    assert row["ratio"] == pytest.approx(row["distance"] / row["limit"]) and 0.2 < row["changed"] < 0.5


def test_what_is_missing_is_drift_in_inputs_and_unknown_in_labels(detector: Detector) -> None:
    week = comments(7, 51)
    assert detector.check(week).state == "quiet"
    assert detector.check(week.assign(label=None)).state == "quiet"
    assert np.isnan(detector.check(week.assign(label=None)).table.loc["label", "distance"])
    assert detector.check(week.assign(kind=None)).moved == ["kind"]
    assert detector.check(week.assign(length="not a number")).moved == ["length"]


def test_a_constant_column_bears_an_odd_comment_but_not_many(detector: Detector) -> None:
    week = comments(7, 51)
    for odd, moved in ((1, []), (4, []), (12, ["traces"])):
        assert detector.check(week.assign(traces=np.where(np.arange(len(week)) < odd, 2.0, 0.0))).moved == moved


def test_limits_grow_as_windows_and_budgets_shrink(detector: Detector) -> None:
    strict = fitted(comments(28, 0), weeks_per_false_alarm=100)
    assert strict.columns["length"].limit > detector.columns["length"].limit
    large, small = (detector.check(comments(7, 52, per_day=size)).table["limit"] for size in (60, 15))
    assert small["length"] > 2 * large["length"]


def test_too_few_rows_are_unknown_never_quiet(detector: Detector) -> None:
    for rows in (0, 29):
        found = detector.check(comments(7, 53).head(rows))
        assert (found.state, found.moved, found.rows) == ("unknown", [], rows) and "at least 30" in found.reason
    assert detector.check(comments(7, 53).head(30)).state == "quiet"


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"columns": ["lenght"]}, MetricsError, "no column 'lenght'; the nearest are length"),
        ({"window": 0}, ParameterError, "whole days"),
        ({"window": 14}, MetricsError, "holds 2 windows of 14 days"),
        ({"weeks_per_false_alarm": 1000}, ParameterError, "more resamples"),
        ({"distance": "ks"}, ParameterError, "psi, jensen_shannon, chi_squared"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused(change: dict, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        Detector.fit(comments(28, 0), **({"columns": COLUMNS} | change))


def test_references_that_cannot_be_used_are_refused() -> None:
    reference = comments(28, 0)
    for bad, said in (
        (reference.head(0), "no time"),
        (reference.assign(created_at=reference["created_at"].where(reference.index > 3)), "4 of 1680 rows"),
        (reference[reference.index % 60 < 2], "of 14 rows as a rule"),
        (reference.assign(label=None), "'label' holds no value"),
    ):
        with pytest.raises(MetricsError, match=said):
            fitted(bad)
