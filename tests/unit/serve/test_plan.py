"""Plans are drawn by seed, keep their rates, and one part of a plan never changes another."""

import math

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_helpers.errors import ParameterError
from mlops_helpers.serve.plan import Burst, Comment, Moderators, Spike, comments_from, plan

COMMENTS = [Comment(f"text {k}", k % 2, f"author {k}") for k in range(50)]
SPAM = [Comment(f"buy {k}", 1, f"bot {k}", "gift_card-1") for k in range(3)]
FULL = {
    "reads_per_comment": 3.0,
    "spikes": (Spike(2, 2, 3.0), Spike(3, 4, 0.0)),
    "campaigns": (Burst(1, 5, 20.0, SPAM),),
    "moderators": Moderators(every=0.7),
}
spikes = st.lists(st.builds(Spike, st.floats(0, 8), st.floats(0, 8), st.floats(0, 4)), max_size=3)
bursts = st.lists(st.builds(Burst, st.floats(0, 8), st.floats(0, 8), st.floats(0, 30), st.just(SPAM)), max_size=2)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**40), rate=st.floats(0, 60), spikes=spikes, campaigns=bursts, cut=st.floats(0, 10))
def test_a_longer_plan_begins_like_a_shorter_one(seed, rate, spikes, campaigns, cut) -> None:
    same = {"rate": rate, "seed": seed, **FULL, "spikes": spikes, "campaigns": campaigns}
    whole = plan(COMMENTS, seconds=10, **same)
    assert plan(COMMENTS, seconds=cut, **same) == [arrival for arrival in whole if arrival.at < cut]
    assert all(0 <= arrival.at < 10 for arrival in whole)
    assert whole == sorted(whole, key=lambda arrival: arrival.at)


def test_the_seed_decides_and_what_is_added_changes_nothing_else() -> None:
    alone = plan(COMMENTS, rate=20, seconds=5, seed=1)
    assert plan(COMMENTS, rate=20, seconds=5, seed=2) != alone
    more = plan(COMMENTS, rate=20, seconds=5, seed=1, reads_per_comment=2, campaigns=[Burst(1, 2, 50, SPAM)])
    assert [arrival for arrival in more if arrival.kind == "comment" and not arrival.comment.campaign] == alone


def test_arrivals_are_a_poisson_process_of_the_asked_rate() -> None:
    """Counts by second: their mean is the rate, and their variance is their mean (chi-square, 6 sigma)."""
    seconds = 400
    arrivals = plan(COMMENTS, rate=25, seconds=seconds, seed=3, reads_per_comment=4)
    for kind, rate in (("comment", 25), ("read", 100)):
        counts = [0] * seconds
        for arrival in arrivals:
            counts[int(arrival.at)] += arrival.kind == kind
        assert abs(sum(counts) - rate * seconds) < 6 * math.sqrt(rate * seconds)
        chi_square = sum((count - rate) ** 2 / rate for count in counts)
        assert abs(chi_square - seconds) < 6 * math.sqrt(2 * seconds)


def test_spikes_and_campaigns_come_when_they_should_and_as_often() -> None:
    spikes = (Spike(100, 100, 3.0), Spike(150, 150, 0.0))
    arrivals = plan(COMMENTS, rate=20, seconds=400, seed=4, spikes=spikes, campaigns=[Burst(50, 100, 40, SPAM, 2)])
    honest = [arrival.at for arrival in arrivals if not arrival.comment.campaign]
    spam = [arrival for arrival in arrivals if arrival.comment.campaign]
    expected = [(0, 100, 2000), (100, 150, 3000), (150, 300, 0), (300, 400, 2000)]
    for start, end, number in expected:
        assert abs(sum(start <= at < end for at in honest) - number) <= 6 * math.sqrt(number)
    assert abs(len(spam) - 4000) < 6 * math.sqrt(4000)
    assert all(50 <= arrival.at < 150 for arrival in spam)
    assert {arrival.reader for arrival in spam} == {"198.51.100.1", "198.51.100.2"}


def test_moderators_look_regularly_judge_late_and_sometimes_err() -> None:
    unknown = Comment("unknown", None, "somebody")
    people = Moderators(every=2, delay=8, error_rate=0.1)
    arrivals = plan([*COMMENTS, unknown], rate=100, seconds=51, seed=7, moderators=people)
    assert [a.at for a in arrivals if a.kind == "moderate"] == [2.0 * k for k in range(1, 26)]
    judged = [a for a in arrivals if a.judged_at is not None]
    assert all((a.judgement is None) == (a.judged_at is None) for a in arrivals)
    assert {a.comment for a in arrivals if a.kind == "comment" and a.judged_at is None} == {unknown}
    delays = pd.Series([a.judged_at - a.at for a in judged])
    assert delays.median() == pytest.approx(8, rel=0.1)
    assert delays.between(4, 16).mean() == pytest.approx(0.51, abs=0.05)
    assert sum(a.judgement != a.comment.label for a in judged) / len(judged) == pytest.approx(0.1, abs=0.03)


def test_comments_come_from_any_frame_with_text() -> None:
    assert comments_from(pd.DataFrame({"text": ["a"], "label": [1], "author_id": ["x"], "campaign": ["c"]})) == [
        Comment("a", 1, "x", "c")
    ]
    frame = pd.DataFrame({"text": ["a", "b"], "label": pd.array([0, None], dtype="Int8")})
    assert comments_from(frame) == [Comment("a", 0, "reader-0"), Comment("b", None, "reader-1")]
    assert comments_from(frame[["text"]])[0].label is None
    with pytest.raises(ParameterError, match=r"columns label.*needed is text"):
        comments_from(frame[["label"]])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rate": -1.0}, "rate is -1"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"seconds": float("inf")}, "seconds is inf"),
        ({"reads_per_comment": -1}, "reads_per_comment is -1"),
        ({"spikes": [Spike(0, 1, -1)]}, "factor is -1"),
        ({"campaigns": [Burst(0, 1, 1, SPAM, 0)]}, "addresses is 0"),
        ({"campaigns": [Burst(0, 1, 1, [])]}, "a campaign's comments are empty"),
        ({"moderators": Moderators(every=0)}, "every is 0"),
        ({"comments": []}, "comments are empty"),
    ],
)
def test_an_argument_out_of_range_is_named(wrong, message) -> None:
    with pytest.raises(ParameterError, match=message):
        plan(**({"comments": COMMENTS, "rate": 1.0, "seconds": 1.0, "seed": 0} | wrong))
