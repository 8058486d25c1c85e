"""Counts from events and from counters: every event in its step, and what is not known stays unknown."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_helpers.errors import MetricsError, ObjectiveError
from mlops_helpers.observe.counting import count, for_objective, from_metrics, slices, validate
from mlops_helpers.observe.objectives import Indicator, Objective, TimeSlices
from mlops_helpers.observe.store import Store
from tests.support.scrapes import BEGIN, scraped
from tests.support.slo_examples import AVAILABLE, START, counts

NAN = float("nan")


events = st.lists(st.tuples(st.integers(0, 6_000), st.booleans(), st.integers(0, 3)), min_size=1, max_size=40)


@settings(max_examples=40)
@given(
    events=events,
    tenths=st.integers(1, 400),
    unit=st.sampled_from(["s", "ms", "us", "ns", "float"]),
    chunk=st.integers(1, 9),
)
def test_every_event_is_counted_in_its_step(events, tenths, unit, chunk) -> None:
    at = [round(BEGIN * 10) + tenth for tenth, *_ in events]
    if unit == "s":
        at = [tenth // 10 * 10 for tenth in at]
    times = [tenth / 10 for tenth in at]
    shown = (
        times
        if unit == "float"
        else pd.Series(pd.to_datetime(np.array(at) * 100, unit="ms", utc=True)).dt.as_unit(unit)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlops_helpers.observe.counting._CHUNK", chunk)
        found = count(shown, [good for _, good, _ in events], tenths / 10, weights=[weight for *_, weight in events])
    first, last = min(at) // tenths, max(at) // tenths
    total, kept = [0.0] * (last - first + 1), [0.0] * (last - first + 1)
    for tenth, (_, good, weight) in zip(at, events, strict=True):
        total[tenth // tenths - first] += weight
        kept[tenth // tenths - first] += weight * good
    assert found["total"].tolist() == total and found["good"].tolist() == kept
    assert found.index[0].timestamp() == pytest.approx(first * tenths / 10)
    assert found.attrs["step"] == tenths / 10 and str(found.index.tz) == "UTC" and found.index.name == "start"
    validate(found)


def test_events_at_the_borders_and_outside_of_start_and_end() -> None:
    times = pd.DatetimeIndex(["2026-01-01 00:00", "2026-01-01 00:01", "2026-01-01 00:02", "2025-12-31 23:59:59.999"])
    table = count(times, [True, False, True, True], 60, start="2026-01-01", end="2026-01-01 00:02")
    assert table["total"].tolist() == [1, 1] and table["good"].tolist() == [1, 0]
    elsewhere = times.tz_localize("UTC").tz_convert("Asia/Tokyo")
    other = count(elsewhere, [True, False, True, True], 60, start=START, end=BEGIN + 120)
    pd.testing.assert_frame_equal(other, table)
    for per_second in (10, 100, 1000):
        exact = count([BEGIN + k / per_second for k in range(1000)], [True] * 1000, 1 / per_second)
        assert exact["total"].tolist() == [1] * 1000, "a float at a step's border falls to the step that it begins"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((pd.to_datetime(["2026-01-01", None]), [True, True], 60), "none missing"),
        (([1_767_225_600_000.0], [True], 60), "milliseconds"),
        (([1.0], [True, False], 60), "1 times, but 2 verdicts"),
        (([1.0], pd.array([None], dtype="boolean"), 60), "1 of 1 verdicts are missing"),
        ((["noon"], [True], 60), "accepted: datetimes"),
        (([1.0], [True], NAN), "step is nan"),
        (([], [], 60), "give start and end"),
    ],
)
def test_events_that_cannot_be_counted_are_refused(arguments, reason) -> None:
    with pytest.raises(MetricsError, match=reason):
        count(*arguments)


@pytest.mark.parametrize(
    ("window", "reason"),
    [
        ({"start": 0, "end": 90}, "1.5 steps"),
        ({"start": 60, "end": 60}, "0 steps"),
        ({"start": pd.NaT, "end": 60}, "is no time"),
        ({"weights": [NAN]}, "finite"),
        ({"weights": [1.0, 1.0]}, "2 weights"),
    ],
)
def test_windows_and_weights_that_make_no_sense_are_refused(window, reason) -> None:
    with pytest.raises(MetricsError, match=reason):
        count([1.0], [True], 60, **window)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (counts([1], [1]).drop(columns="good"), "lack good"),
        (counts([], []), "nothing is known"),
        (counts([1, 1], [1, 1]).tz_localize(None), "times with a time zone"),
        (counts([1, 2], [1, 1]), "more good events than events: good 2.0, total 1.0 at 2026-01-01 00:01"),
        (counts([-1, 1], [1, 1]), "negative"),
        (counts([1, 1], [1, float("inf")]), "infinite"),
        (counts([1, 1, 1], [1, 1, 1]).iloc[[0, 1, 1]], "clock went backwards"),
        (counts([1, 1, 1, 1], [1, 1, 1, 1]).iloc[[0, 1, 3]], "rows of NaN"),
    ],
)
def test_what_are_no_counts_is_refused(table: pd.DataFrame, reason: str) -> None:
    with pytest.raises(MetricsError, match=reason):
        validate(table)


def test_one_row_must_say_how_long_it_is() -> None:
    row = counts([1], [1])
    assert validate(row).attrs["step"] == 60
    row.attrs.clear()
    with pytest.raises(MetricsError, match=r'attrs\["step"\]'):
        validate(row)


def test_a_slice_is_good_when_enough_of_its_events_are() -> None:
    table = counts([99, 95, 98, 94, 0, 0], [100, 100, 100, 100, 0, 0])
    judged = slices(table, TimeSlices(120, 0.97))
    assert judged["good"].tolist() == [1, 0, 1] and judged["total"].tolist() == [1, 1, 1]
    assert judged.attrs["step"] == 120 and judged.index.tolist() == table.index[::2].tolist()
    exactly = slices(counts([7], [100]), TimeSlices(60, 0.07))
    assert exactly["good"].tolist() == [1], "0.07 x 100 is 7.000000000000001 in floats"


def test_slices_of_what_is_unknown_are_unknown_and_incomplete_ones_are_none() -> None:
    judged = slices(counts([1, NAN, 1, 1, 1], [1, NAN, 1, 1, 1]), TimeSlices(120))
    assert judged["good"].isna().tolist() == [True, False] and judged["total"].isna().tolist() == [True, False]
    with pytest.raises(MetricsError, match="less than one slice"):
        slices(counts([1], [1]), TimeSlices(120))
    for seconds in (30, 90):
        with pytest.raises(ObjectiveError, match="steps that divide them"):
            slices(counts([1, 1, 1], [1, 1, 1]), TimeSlices(seconds))


def test_counters_are_counted_by_their_growth() -> None:
    source = scraped(c200=[0, 1, 2, 3, 4, 4, 4, 4, 10], c500=[0, 0, 0, 0, 1, 1, 1, 1, 1])
    table = from_metrics(source, AVAILABLE, START, BEGIN + 120, 60)
    assert table["total"].tolist() == [5, 6] and table["good"].tolist() == [4, 6]
    assert table.index.tolist() == [START, START + pd.Timedelta(60, "s")] and table.attrs["step"] == 60
    by_good = Indicator.of_counters("availability", "http_total", good='http_total{code="200"}')
    again = from_metrics(source, replace(AVAILABLE, indicator=by_good), START, BEGIN + 120, 60)
    pd.testing.assert_frame_equal(again, table)
    busy = Objective("busy", 0.99, Indicator.of_throughput("http_total", 0.1))
    assert for_objective(from_metrics(source, busy, START, BEGIN + 120, 60), busy)["good"].tolist() == [0, 1]


def test_a_gap_is_unknown_not_zero() -> None:
    gap = [None] * 8
    source = scraped(c200=[0, 1, 2, 3, *gap, 4, 5, 6, 7, 8], c500=[0, 0, 0, 0, *gap, 0, 0, 0, 0, 0])
    table = from_metrics(source, AVAILABLE, START, BEGIN + 240, 60)
    assert table["total"].isna().tolist() == [False, True, True, False] == table["good"].isna().tolist()[:4]


def test_no_error_so_far_is_zero_errors_if_the_label_exists() -> None:
    source = scraped(c200=[0, 1, 2, 3, 4])
    assert from_metrics(source, AVAILABLE, START, BEGIN + 60, 60)["good"].tolist() == [4]
    misspelt = Indicator.of_counters("availability", "http_total", bad='http_total{status="500"}')
    with pytest.raises(MetricsError, match="no series of http_total has the label status"):
        from_metrics(source, replace(AVAILABLE, indicator=misspelt), START, BEGIN + 60, 60)


def test_a_bound_that_the_histogram_lacks_is_an_error_not_zero() -> None:
    source = scraped(30, **{"s_count": [0, 5, 9], 's_bucket{le="0.25"}': [0, 5, 9]})
    fast, other = (Objective("fast", 0.99, Indicator.of_histogram("latency", "s", bound)) for bound in (0.25, 0.3))
    assert from_metrics(source, fast, START, BEGIN + 60, 60)["good"].tolist() == [9]
    with pytest.raises(MetricsError, match="le must be one of its bounds"):
        from_metrics(source, other, START, BEGIN + 60, 60)


def test_a_metric_that_is_missing_is_an_error_and_nothing_scraped_is_unknown() -> None:
    with pytest.raises(MetricsError, match="no metric 'http_total'"):
        from_metrics(Store(), AVAILABLE, START, BEGIN + 60, 60)
    later = from_metrics(scraped(c200=[0, 1]), AVAILABLE, BEGIN + 600, BEGIN + 720, 60)
    assert later.isna().all(axis=None)


def test_steps_too_short_for_the_scrapes_are_refused() -> None:
    source = scraped(c200=list(range(40)))
    assert from_metrics(source, AVAILABLE, START, BEGIN + 300, 30)["total"].tolist() == [2] * 10
    for step in (25, 15):
        with pytest.raises(MetricsError, match="scraped every 15s, too rarely for steps of"):
            from_metrics(source, AVAILABLE, START, BEGIN + 300, step)


def test_more_good_events_than_events_are_clipped_and_said() -> None:
    source = scraped(30, all_total=[0, 5, 9, 15, 20], good_total=[0, 5, 10, 15, 20])
    torn = replace(AVAILABLE, indicator=Indicator.of_counters("availability", "all_total", good="good_total"))
    with pytest.warns(UserWarning, match="1 of 2 steps counted more of good_total than of all_total"):
        table = from_metrics(source, torn, START, BEGIN + 120, 60)
    assert table["good"].tolist() == [9, 10] and table["total"].tolist() == [9, 11]
