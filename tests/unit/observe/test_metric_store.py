"""The embedded store: what it takes, what it refuses, what it forgets, and that it answers fast and never guesses."""

import math

import numpy as np
import pandas as pd
import pytest
from prometheus_client import CollectorRegistry, Gauge

from mlops_helpers.errors import MetricsError
from mlops_helpers.observe.store import Store

T0 = 1_700_000_000.0
TARGET = {"job": "filter", "instance": "a:1"}


def filled(*values: float, name: str = "x_total", step: float = 10.0, store: Store | None = None) -> Store:
    store = store or Store()
    for number, value in enumerate(values):
        store.append(T0 + number * step, f"{name} {value!r}\n", TARGET)
    return store


def only(table: pd.DataFrame) -> float:
    assert len(table) == 1
    return table["value"][0]


def test_a_table_has_the_columns_that_were_asked_for() -> None:
    store = Store()
    for number in range(3):
        lines = (f'x_total{{code="{code}",zone="{zone}"}} {number}\n' for code in (500, 200) for zone in "ba")
        store.append(T0 + number, "".join(lines), TARGET)
    range_ = {"start": T0 + 1, "end": T0 + 2.5, "step": 1.0}
    table = store.increase("x_total", 10, **range_, by=("zone", "code"))
    assert list(table["zone"] + table["code"]) == ["a200"] * 2 + ["a500"] * 2 + ["b200"] * 2 + ["b500"] * 2
    assert list(store.increase("x_total", 10, by=None, at=T0 + 1).columns) == [
        *("time", "code", "instance", "job", "zone", "value")
    ]  # fmt: skip
    empty = store.increase('x_total{code="404"}', 10, at=T0 + 1, by=("code",))
    assert empty.empty
    assert empty.dtypes.equals(table.dtypes[["time", "code", "value"]])


@pytest.mark.parametrize(
    ("question", "says"),
    [
        (lambda s: s.increase("x_totl", 60), "no metric 'x_totl'.*nearest: x_total"),
        (lambda s: s.increase("x_total", 0), "window is 0"),
        (lambda s: s.increase("x_total", math.nan), "is no time"),
        (lambda s: s.increase("x_total", 60, at=T0, start=T0, end=T0, step=1), "accepted: at, or"),
        (lambda s: s.increase("x_total", 60, start=T0, end=T0 - 1, step=1), "start <= end"),
        (lambda s: s.increase("x_total", 60, start=0, end=T0, step=0.001), "steps; accepted"),
        (lambda s: s.increase("rate(x_total[5m])", 60), "selects no series"),
        (lambda s: s.quantile(1.5, "x_total", 60), "accepted: 0 to 1"),
        (lambda s: s.quantile(0.5, "x_total", 60, by=("le",)), "has 'le'"),
        (lambda s: Store().value("x_total"), "there are none at all"),
    ],
)
def test_what_cannot_be_asked_is_refused(question, says: str) -> None:
    with pytest.raises(MetricsError, match=says):
        question(filled(1, 2))


def test_what_is_not_known_is_nan_and_never_0() -> None:
    store = filled(5)
    at = T0 + 5
    assert math.isnan(only(store.increase("x_total", 60, at=at))), "one sample only"
    assert math.isnan(only(store.increase("x_total", 60, at=T0 - 100))), "before all samples"
    assert math.isnan(only(store.increase('x_total{code="500"}', 60, at=at))), "no such series"
    store.append(T0 + 10, "x_total 5\n", TARGET)
    assert only(store.increase("x_total", 60, at=T0 + 10)) == 0, "two samples say that nothing grew"
    assert math.isnan(only(store.ratio("x_total", "x_total", 60, at=T0 + 10))), "of nothing"
    store.append(T0 + 20, "x_total 5\ny_total 1\n", TARGET)
    store.append(T0 + 30, "x_total 5\ny_total 2\n", TARGET)
    assert math.isnan(only(store.ratio("y_total", "x_total", 60, at=T0 + 30))), "something of nothing"
    assert math.isnan(only(filled(5, math.inf).increase("x_total", 60, at=T0 + 10)))


def test_samples_of_counters_that_are_no_counts_are_refused_and_counted() -> None:
    store = Store()
    for number, value in enumerate(("1", "-5", "NaN", "4")):
        store.append(T0 + number, f"# TYPE x_total counter\nx_total {value}\n# TYPE y gauge\ny {value}\n", TARGET)
        if number == 2:
            assert store.targets()["error"][0] == "samples refused: 1 no count"
            assert store.value("x_total", T0 + 2).empty, "stale: not known"
            assert store.value("x_total", T0).shape[0] == 1
    assert store.refused == {"no count": 2}
    assert list(store.series("x_total", T0, T0 + 9)["value"]) == [1, 4]
    assert len(store.series("y", T0, T0 + 9)) == 4


def test_a_clock_that_goes_back_loses_samples_and_says_so() -> None:
    store = filled(1, 2, 3)
    store.append(T0 + 5, "x_total 9\n", TARGET)
    assert store.targets()["error"][0] == "samples refused: 1 out of order"
    assert list(store.series("x_total", T0, T0 + 60)["value"]) == [1, 2, 3]
    store.append(T0 + 30, "x_total 10\n", TARGET)
    assert store.targets()["error"][0] == ""
    assert list(store.series("x_total", T0, T0 + 60)["value"]) == [1, 2, 3, 10]
    assert store.refused["out of order"] == 3, "x_total, up and scrape_duration_seconds"


def test_times_that_the_target_states_count() -> None:
    store = Store()
    for number in range(3):
        store.append(T0 + number, f"x {number} {(T0 + 100 * (number // 2)) * 1000:.0f}\n", TARGET)
    store.append(T0 + 3, f"x 9 {(T0 + 3_600) * 1000:.0f}\n", TARGET)
    store.append(T0 + 150, "", TARGET)
    assert list(store.series("x", T0, T0 + 9999)["value"]) == [0, 2]
    assert store.refused == {"duplicate": 1, "from the future": 1}
    assert only(store.value("x", T0 + 200)) == 2, "a series that states its times is not stale when it is not repeated"


def test_series_end_when_they_vanish_or_their_target_does() -> None:
    store = filled(1, 2)
    assert only(store.value("x_total", T0 + 310)) == 2, "5 minutes old, just"
    assert store.value("x_total", T0 + 310.001).empty
    store.append(T0 + 20, "y 1\n", TARGET)
    assert store.value("x_total", T0 + 20).empty
    assert only(store.value("x_total", T0 + 19.999)) == 2
    store.fail(T0 + 30, TARGET, "no route to host")
    assert store.value("y", T0 + 30).empty
    assert only(store.value("up", T0 + 30)) == 0
    assert store.targets().loc[0, ["job", "up", "error"]].to_list() == ["filter", 0, "no route to host"]
    store.append(T0 + 40, "x_total 3\n", TARGET, duration=0.25)
    assert only(store.value("scrape_duration_seconds", T0 + 40)) == 0.25
    store.remove(T0 + 50, TARGET)
    assert store.value("up", T0 + 50).empty
    assert store.targets().empty


def test_labels_of_the_target_win() -> None:
    store = Store()
    store.append(T0, 'x{job="mine",code="1"} 1\n', TARGET)
    assert store.value("x", T0).drop(columns="time").to_dict("records") == [
        {"code": "1", "exported_job": "mine", **TARGET, "value": 1.0}
    ]


def test_what_is_pushed_persists_until_it_is_replaced_or_removed() -> None:
    registry, store = CollectorRegistry(), Store()
    Gauge("rows_scored", "Rows.", registry=registry).set(7)
    store.push("backfill", registry, at=T0, shard="1")
    for number in range(1, 40):
        store.repeat(T0 + 15 * number)
    row = store.value("rows_scored", T0 + 600).to_dict("records")[0]
    assert (row["job"], row["shard"], row["value"]) == ("backfill", "1", 7)
    assert only(store.value("push_time_seconds", T0 + 600)) == T0
    store.push("backfill", 'other_total{job="its own"} 3\n', at=T0 + 600, shard="1")
    assert store.value("other_total", T0 + 600).drop(columns="time").to_dict("records") == [
        {"job": "backfill", "shard": "1", "value": 3.0}
    ]
    assert store.value("rows_scored", T0 + 600).empty, "replaced as a whole"
    assert store.targets().empty, "nothing is scraped"
    store.remove(T0 + 610, {"job": "backfill", "shard": "1"})
    store.repeat(T0 + 620)
    assert store.value("other_total", T0 + 620).empty
    with pytest.raises(MetricsError, match="state times"):
        store.push("backfill", "x 1 1700000000000\n", at=T0)


def test_old_samples_are_forgotten_and_so_are_their_series() -> None:
    store = Store(retention=100, most_samples=60)
    store.append(T0, "old 1\nx_total 0\n", TARGET)
    for number in range(1, 60):
        store.append(T0 + 10 * number, f"x_total {number % 4}\n", TARGET)
    kept = store.series("x_total", T0, T0 + 600)
    assert 10 <= len(kept) <= 13
    range_ = store.increase("x_total", 80, start=T0 + 580, end=T0 + 590, step=10)
    assert store.growth("x_total", 80, T0 + 590) == range_["value"][1] == 6
    with pytest.raises(MetricsError, match="no metric 'old'"):
        store.value("old")


def test_too_many_series_or_samples_are_refused_whole() -> None:
    store = Store(most_series=5)
    store.append(T0, "a 1\nb 1\n", TARGET)  # and two that the store reports itself
    with pytest.raises(MetricsError, match=r"2 new series beside 4; accepted: at most 5.*Next: drop such labels"):
        store.append(T0 + 1, "a 2\nc 1\nd 1\n", TARGET)
    assert list(store.series("a", T0, T0 + 9)["value"]) == [1]
    store.fail(T0 + 1, TARGET, "too many")
    small = Store(most_samples=10)
    with pytest.raises(MetricsError, match=r"samples are held; accepted: at most 10.*Next: a longer interval"):
        filled(*range(20), store=small)
    assert len(small.series("x_total", T0, T0 + 999)) == 4


def test_many_times_and_series_at_once_are_those_one_by_one() -> None:
    rng, store = np.random.default_rng(1), Store()
    totals = np.zeros(30)
    for number in range(200):
        totals = np.where(rng.random(30) < 0.02, 0, totals + rng.integers(0, 9, 30))
        lines = (f'x_total{{n="{n}"}} {total}\n' for n, total in enumerate(totals) if rng.random() > 0.1)
        store.append(T0 + number, "".join(lines), TARGET)
    together = store.increase("x_total", 20, start=T0, end=T0 + 210, step=7, by=None)
    for place in rng.integers(0, len(together), 40):
        row = together.iloc[place]
        alone = store.increase(f'x_total{{n="{row["n"]}"}}', 20, at=row["time"].timestamp())
        assert only(alone) == pytest.approx(row["value"], nan_ok=True)
        growth = store.growth(f'x_total{{n="{row["n"]}"}}', 20, row["time"].timestamp())
        assert growth == pytest.approx(row["value"], nan_ok=True)
