"""Indicators and objectives: what they are made of, and what is refused."""

from decimal import Decimal

import pytest

from mlops_helpers.errors import ObjectiveError
from mlops_helpers.observe.objectives import DAY, MINUTE, Indicator, Objective, TimeSlices

AVAILABLE = Indicator.of_counters("availability", "http_total", bad='http_total{code=~"5.."}')


@pytest.mark.parametrize(
    ("seconds", "exposed"), [(0.25, ["0.25"]), (1, ["1", "1.0"]), (10.0, ["10", "10.0"]), (1e-05, ["1e-05"])]
)
def test_a_histogram_is_counted_up_to_one_of_its_bounds_however_it_is_written(seconds, exposed) -> None:
    indicator = Indicator.of_histogram("latency", 'answer_seconds{job="blog"}', seconds, route="/posts")
    assert indicator.total.name == "answer_seconds_count" and indicator.good.name == "answer_seconds_bucket"
    same = {"job": "blog", "route": "/posts"}
    assert indicator.total.matches(same)
    assert all(indicator.good.matches({**same, "le": bound}) for bound in exposed)
    assert not any(indicator.good.matches({**same, "le": bound}) for bound in ("0.5", "100", "1x0", "+Inf"))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Indicator.of_counters("speed", "a", good="b"), "kind is 'speed'"),
        (lambda: Indicator.of_counters("availability", "a"), "one of the two"),
        (lambda: Indicator.of_throughput("a", 0), "minimum above 0"),
        (lambda: Objective("Not A Slug", 0.9, AVAILABLE), "accepted: a-z"),
        (lambda: Objective("x", 1.0, AVAILABLE), "leaves no budget"),
        (lambda: Objective("x", 0.0, AVAILABLE), "above 0 and below 1"),
        (lambda: Objective("x", 0.9, AVAILABLE, period=float("inf")), "above 0"),
        (lambda: Objective("x", 0.9, AVAILABLE, slices=TimeSlices(31 * DAY)), "within the period"),
        (lambda: Objective("x", 0.9, AVAILABLE, slices=TimeSlices(60, 1.01)), "at most 1"),
    ],
)
def test_what_cannot_work_is_refused_with_what_would(make, reason) -> None:
    with pytest.raises(ObjectiveError, match=reason):
        make()


def test_the_budget_is_what_is_written() -> None:
    for target, budget in ((0.9, 0.1), (0.999, 0.001), (0.7, 0.3), (0.99999, 0.00001)):
        objective = Objective("x", target, AVAILABLE)
        assert objective.budget == budget and objective.exact_budget == Decimal(repr(target)) * -1 + 1


def test_throughput_is_judged_by_slices_and_other_kinds_only_if_asked_to() -> None:
    assert Objective("busy", 0.99, Indicator.of_throughput("a", 5)).slices == TimeSlices(MINUTE, 1.0)
    assert Objective("x", 0.99, AVAILABLE).slices is None
