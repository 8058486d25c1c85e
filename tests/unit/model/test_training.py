"""Splits are honest, the fit is reproducible, bad arguments are refused."""

import pandas as pd
import pytest

from mlops_helpers.errors import DataError, ParameterError
from mlops_helpers.model import data, training


def test_near_duplicates_share_a_group_and_others_do_not() -> None:
    texts = pd.Series(
        [
            "Check out my new channel, it is great fun",
            "check out my NEW channel!! it is great fun 7",
            "I remember this from my childhood",
            "ok",
            "OK!",
            "👍",
        ]
    )
    groups = training.near_duplicate_groups(texts)
    assert groups[0] == groups[1]
    assert groups[3] == groups[4]
    assert len(set(groups)) == 4


def test_near_duplication_is_transitive() -> None:
    long = "one two three four five six seven eight nine ten "
    texts = pd.Series([long + "a" * 5, long + "a" * 5 + "b" * 5, long + "b" * 5 + "c" * 2])
    assert len(set(training.near_duplicate_groups(texts, 0.7))) == 1


def test_a_large_campaign_is_one_group_beyond_a_chunk() -> None:
    campaign = [f"get your free gift card at our page today, offer number {i}" for i in range(600)]
    texts = pd.Series([*campaign, "what a lovely song", *campaign[:3]])
    groups = training.near_duplicate_groups(texts)
    assert len(set(groups)) == 2
    assert groups[600] != groups[0] == groups[-1]


def test_the_honest_split_keeps_near_duplicates_apart_and_the_plain_one_does_not(comments) -> None:
    copies = comments.frame.head(200).assign(text=lambda f: f["text"] + "!", comment_id=lambda f: f["comment_id"] + "x")
    frame = pd.concat([comments.frame, copies], ignore_index=True)
    groups = pd.Series(training.near_duplicate_groups(frame["text"]), index=frame["comment_id"])

    def shared(train: pd.DataFrame, test: pd.DataFrame) -> int:
        assert len(train) + len(test) == len(frame)
        assert not set(train["comment_id"]) & set(test["comment_id"])
        return len(set(groups[train["comment_id"]]) & set(groups[test["comment_id"]]))

    assert shared(*training.split_random(frame)) == 0
    assert shared(*training.split_random(frame, keep_apart=False)) > 20


def test_the_instant_of_the_split_belongs_to_the_test(comments) -> None:
    at = comments.frame["created_at"].sort_values().iloc[500]
    train, test = training.split_at_time(comments.frame, at.isoformat()[:26])
    assert train["created_at"].max() < at == test["created_at"].min()
    with pytest.raises(DataError, match="the test side holds no comments"):
        training.split_at_time(comments.frame, "2036-01-01")


def test_the_split_by_row_follows_the_source(comments) -> None:
    train, test = training.split_at_row(comments.frame, 600)
    assert (len(train), len(test)) == (600, 400)
    assert train["row"].max() == 599


@pytest.mark.parametrize("threshold", [0, 1, -0.1, float("nan")])
def test_a_threshold_out_of_range_is_refused(comments, threshold: float) -> None:
    with pytest.raises(ParameterError, match="threshold is"):
        training.train(comments.frame, "x", threshold=threshold)


def test_one_class_cannot_be_trained(comments) -> None:
    ham = comments.frame[comments.frame["label"] == 0]
    with pytest.raises(DataError, match="training needs spam and ham"):
        training.train(ham, data.content_hash(ham))
