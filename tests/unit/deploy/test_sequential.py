"""The sequential test: its arithmetic against sums that a reader can follow, and its error rates by simulation."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binom

from mlops_helpers.deploy.canary_plan import DEFAULT, Plan, Stage
from mlops_helpers.deploy.canary_simulation import Harm, World, simulate_releases
from mlops_helpers.deploy.sequential import RATIOS, Evidence, bursts, increments, mixture, slowest, threshold
from mlops_helpers.errors import ParameterError


def by_hand(hits: int, events: int, weight: float) -> float:
    """The mean over the ratios of P(these events | ratio) / P(these events | not worse)."""
    terms = []
    for ratio in RATIOS:
        share = weight * ratio / (1 - weight + weight * ratio)
        terms.append((share / weight) ** hits * ((1 - share) / (1 - weight)) ** (events - hits))
    return sum(terms) / len(terms)


@pytest.mark.parametrize(("hits", "events", "weight"), [(0, 0, 0.5), (3, 4, 0.05), (0, 9, 0.25), (20, 30, 0.5)])
def test_evidence_is_a_likelihood_ratio(hits, events, weight):
    assert math.exp(mixture(increments(hits, events, weight))) == pytest.approx(by_hand(hits, events, weight))


@pytest.mark.parametrize("weight", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_mean_of_the_evidence_is_at_most_1_when_the_canary_is_not_worse(weight, ratio):
    share = weight * ratio / (1 - weight + weight * ratio)
    mean = sum(binom.pmf(hits, 12, share) * by_hand(hits, 12, weight) for hits in range(13))
    assert mean <= 1 + 1e-9
    if ratio == 1:
        assert mean == pytest.approx(1)


def test_evidence_is_valid_at_every_moment_not_only_in_the_end():
    """All 2^14 histories: the probability that evidence ever reaches a limit is at most 1 over that limit."""
    histories = np.array(list(itertools.product((0, 1), repeat=14)))
    peaks = np.exp(mixture(np.cumsum(increments(histories, np.ones_like(histories), 0.3), axis=1)).max(axis=1))
    probability = 0.3 ** histories.sum(axis=1) * 0.7 ** (14 - histories.sum(axis=1))
    assert probability.sum() == pytest.approx(1)
    for limit in (2, 5, 20):
        assert 0 < probability[peaks >= limit].sum() <= 1 / limit


def test_evidence_grows_and_is_kept():
    one = Evidence()
    assert (one.e_value, one.p_value) == (1.0, 1.0)
    one.add(4, 4, 0.05)
    assert one.e_value == pytest.approx(by_hand(4, 4, 0.05))
    at_its_height = one.e_value
    one.add(0, 50, 0.05)
    assert one.e_value == at_its_height  # who stopped then was right to
    assert one.p_value == pytest.approx(1 / at_its_height)
    assert (one.hits, one.events, one.expected) == (4, 54, pytest.approx(2.7))
    for _ in range(40):
        one.add(1000, 1000, 0.01)
    assert math.isfinite(one.e_value)


@pytest.mark.parametrize(
    ("hits", "events", "weight"), [(2, 1, 0.5), (-1, 1, 0.5), (1, 1, 0.0), (1, 1, 1.0), (1, 1, -0.1)]
)
def test_impossible_events_are_refused(hits, events, weight):
    with pytest.raises(ParameterError, match="accepted"):
        Evidence().add(hits, events, weight)


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 5, float("nan")])
def test_alpha_that_is_no_probability_is_refused(alpha):
    with pytest.raises(ParameterError, match="accepted: a probability"):
        threshold(alpha)


def test_slowest_are_those_of_both_versions():
    assert slowest([5.0, 1.0, 9.0, 2.0], 0.25).tolist() == [False, False, True, False]
    assert slowest([1.0] * 200, 0.01).sum() == 2
    assert slowest([], 0.01).sum() == 0


def test_burst_counts_once_and_an_endless_burst_goes_on_counting():
    assert bursts([0.0, 0.01, 0.02, 5.0, 5.2], 0.1) == [0, 3, 4]
    assert bursts([0.05, 1.0], 0.1, last=0.0) == [1]
    assert len(bursts(np.arange(0, 10, 0.01), 0.1)) >= 90


@pytest.mark.parametrize("drift", [0.0, 4.0])
def test_equal_version_is_aborted_no_more_often_than_stated(drift):
    result = simulate_releases(DEFAULT, world=World(drift=drift), seed=1)
    assert result.interval()[1] <= DEFAULT.alpha
    assert 0 < result.aborted <= sum(result.by.values())


@pytest.mark.parametrize(
    ("harm", "test"),
    [(Harm(wrong=0.02), "quality"), (Harm(slower=1.2), "latency"), (Harm(errors=0.005), "errors")],
    ids=str,
)
def test_slightly_worse_version_is_noticed_by_the_right_test(harm, test):
    result = simulate_releases(DEFAULT, harm, seed=1)
    assert result.interval()[0] >= 0.9
    assert result.by[test] >= 0.95 * result.aborted
    assert result.served < result.comments


def test_broken_version_is_noticed_at_the_first_look():
    result = simulate_releases(DEFAULT, Harm(errors=0.5), releases=100)
    assert (result.aborted, result.comments) == (100, DEFAULT.window)


def test_late_labels_are_waited_for_and_missing_ones_tell_nothing():
    plan = Plan((Stage(0.5, 20_000),))
    worlds = World(label_delay=1_000), World(label_delay=20_000), World(labelled=0.0)
    soon, late, never = (simulate_releases(plan, Harm(wrong=0.05), world, releases=100) for world in worlds)
    assert soon.comments < late.comments
    assert never.by["quality"] == 0


def test_simulation_is_decided_by_its_seed():
    first, again, other = (simulate_releases(DEFAULT, Harm(errors=0.003), releases=50, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("plan", "harm"), [(Plan((Stage(0.5, 10),)), Harm()), (DEFAULT, Harm(errors=2.0)), (DEFAULT, Harm(wrong=-0.5))]
)
def test_impossible_simulation_is_refused(plan, harm):
    with pytest.raises(ParameterError, match="accepted"):
        simulate_releases(plan, harm)


GOOD = {"stages": [{"weight": 0.05, "comments": 100}, {"weight": 0.5, "comments": 200, "labels": 50}], "alpha": 0.1}


def test_plan_is_read_from_data():
    assert Plan.read(GOOD) == Plan((Stage(0.05, 100), Stage(0.5, 200, 50)), alpha=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": [{"weight": -0.1, "comments": 10}]}, r"weight of a stage is -0.1; accepted: above 0"),
        ({"stages": [{"weight": 1.2, "comments": 10}]}, r"weight of a stage is 1.2; accepted: .*below 1 \(100 %\)"),
        ({"stages": [{"weight": float("nan"), "comments": 10}]}, "is nan"),
        ({"stages": [{"weight": "half", "comments": 10}]}, "is 'half'"),
        ({"stages": [{"weight": 0.5, "comments": 10}, {"weight": 0.1, "comments": 10}]}, "rising"),
        ({"stages": []}, "at least one"),
        ({"stages": [{"weight": 0.5}]}, "comments"),
        ({"stages": [{"weight": 0.5, "comments": 10, "colour": 1}]}, "colour"),
        ({"stages": [{"weight": 0.5, "comments": 0}]}, "comments is 0; accepted: a whole number, at least 1"),
        ({"stages": [{"weight": 0.5, "comments": 5, "labels": -1}]}, "labels is -1"),
        ({"stages": "all"}, "accepted: a list"),
        ({"alpha": 0}, "alpha is 0"),
        ({"slow_share": 2}, "slow_share is 2"),
        ({"window": 1.5}, "window is 1.5"),
        ({"stage_seconds": -1}, "stage_seconds is -1"),
        ({"alfa": 0.1}, "knows no alfa; accepted: alpha"),
    ],
    ids=str,
)
def test_impossible_plan_is_refused_with_the_reason(change, message):
    with pytest.raises(ParameterError, match=message):
        Plan.read({**GOOD, **change})


@pytest.mark.parametrize("content", [None, [], "stages", {"alpha": 0.05}])
def test_content_that_is_no_plan_is_refused(content):
    with pytest.raises(ParameterError, match="a plan is a mapping with stages"):
        Plan.read(content)
