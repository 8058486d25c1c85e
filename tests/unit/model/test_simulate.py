"""The simulated platform: what it promises about classes, time, streams, labels, disguises and its words."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_helpers.errors import ParameterError
from mlops_helpers.model.simulate import FAMILIES, SHIFTS, Campaign, Shift, simulate
from mlops_helpers.model.simulate_text import read_world

BURST = Campaign("gift_card", start=10, days=5, share=0.3, obfuscation=0.5, authors=7)


@pytest.fixture(scope="module")
def month() -> pd.DataFrame:
    return simulate(4_000, seed=3)


@pytest.fixture(scope="module")
def busy() -> pd.DataFrame:
    """Some 16,000 comments with every family in a campaign, disguised, and every benign shift."""
    campaigns = [Campaign(f, start=2 * i, days=3, share=0.2, obfuscation=0.5) for i, f in enumerate(FAMILIES)]
    return simulate(12_000, seed=11, campaigns=campaigns, shifts=[Shift(kind, start=5, share=0.3) for kind in SHIFTS])


def ranking(label: pd.Series, number: pd.Series) -> float:
    """ROC-AUC by ranks (Mann-Whitney): importing scikit-learn costs more than this file's slowest test."""
    spam = label == 1
    return (number.rank()[spam].sum() - spam.sum() * (spam.sum() + 1) / 2) / (spam.sum() * (~spam).sum())


def by_id(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.set_index("comment_id").sort_index()


# shape


def test_every_comment_is_whole_and_in_order(busy: pd.DataFrame) -> None:
    assert busy["created_at"].is_monotonic_increasing
    assert busy.drop(columns=["moderator_label", "labelled_at"]).notna().all(axis=None)
    assert busy["text"].str.contains(r"[^\W_]").mean() > 0.999
    assert (busy["text"].str.strip() != "").all()
    assert not busy["text"].str.contains(r"[{}]").any()  # every slot of a pattern has words


# streams


def test_same_arguments_same_frame() -> None:
    plan = {"campaigns": [BURST], "shifts": [Shift("new_topic", 3)]}
    pd.testing.assert_frame_equal(simulate(1500, seed=5, **plan), simulate(1500, seed=5, **plan))
    pd.testing.assert_frame_equal(simulate(1500, seed=np.int64(5)), simulate(1500, seed=5))


def test_another_seed_another_world() -> None:
    a, b = simulate(1500, seed=5), simulate(1500, seed=6)
    assert not set(a["comment_id"]) & set(b["comment_id"])
    assert a["text"].isin(b["text"]).mean() < 0.1
    assert not (a["created_at"] == b["created_at"]).any()


def test_a_campaign_changes_nothing_but_itself(month: pd.DataFrame) -> None:
    def part(frame: pd.DataFrame, campaign: str) -> pd.DataFrame:
        return frame[frame["campaign"] == campaign].reset_index(drop=True)

    more = simulate(4_000, seed=3, campaigns=[BURST])
    pd.testing.assert_frame_equal(part(more, ""), month)
    assert len(part(more, "gift_card-10")) > 200
    other, less = Campaign("dating", 20, 4, 0.2), dataclasses.replace(BURST, share=0.1)
    two = simulate(4_000, seed=3, campaigns=[BURST, other], shifts=[Shift("rhythm", 29)])
    pd.testing.assert_frame_equal(part(two, "gift_card-10"), part(more, "gift_card-10"))
    fewer = simulate(4_000, seed=3, campaigns=[less, other])
    dating = [part(frame, "dating-20").drop(columns="comment_id") for frame in (two, fewer)]
    pd.testing.assert_frame_equal(*dating)


@pytest.fixture(scope="module")
def shifted() -> Callable[[str], pd.DataFrame]:
    """What ``month`` would be with a shift of half the comments for six days from day 12."""
    return functools.cache(lambda kind: simulate(4_000, seed=3, shifts=[Shift(kind, start=12, days=6, share=0.5)]))


@pytest.mark.parametrize("kind", SHIFTS)
def test_a_shift_touches_its_share_of_its_window_and_no_label(kind: str, month: pd.DataFrame, shifted) -> None:
    before, after = by_id(month), by_id(shifted(kind))
    truth = ["label", "moderator_label", "author_id", "campaign"]
    pd.testing.assert_frame_equal(after[truth], before[truth])
    changed = (after[["text", "created_at", "group"]] != before[["text", "created_at", "group"]]).any(axis=1)
    day = (before["created_at"] - pd.Timestamp("2026-01-01", tz="UTC")) / pd.Timedelta(days=1)
    window = day.between(12, 18, inclusive="left")
    assert not changed[~window].any()
    if kind == "ham_links":
        assert not changed[before["label"] == 1].any()
        window &= before["label"] == 0
    assert changed[window].mean() == pytest.approx(0.5, abs=0.08)


def test_each_shift_does_what_its_name_says(month: pd.DataFrame, shifted) -> None:
    def pair(kind: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        before, after = by_id(month), by_id(shifted(kind))
        changed = (after[["text", "created_at", "group"]] != before[["text", "created_at", "group"]]).any(axis=1)
        return before[changed], after[changed]

    topic = read_world()["new_topic"]
    assert set(pair("new_topic")[1]["group"]) == {topic}
    assert topic not in set(month["group"])
    slang = "|".join(read_world()["slang"]["words"])
    assert pair("new_slang")[1]["text"].str.contains(slang).all()
    assert not month["text"].str.contains(slang).any()
    short, long = (frame["text"].str.len().median() for frame in pair("longer_comments"))
    assert long > 2 * short
    assert pair("ham_links")[1]["text"].str.contains("https?://").all()
    usual, nightly = (frame["created_at"].dt.hour.between(0, 8).mean() for frame in pair("rhythm"))
    assert usual < 0.25 and nightly > 0.5


# rates


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.5, 1.0])
def test_the_spam_rate_is_kept(rate: float) -> None:
    label = simulate(2000, seed=8, spam_rate=rate)["label"]
    assert label.mean() == pytest.approx(rate, abs=4 * (rate * (1 - rate) / 2000) ** 0.5)


@settings(max_examples=6)
@given(st.floats(0.05, 0.9), st.floats(0, 20), st.floats(2, 9), st.sampled_from(FAMILIES), st.integers(0, 2**32))
def test_campaign_share_in_its_window(share: float, start: float, days: float, family: str, seed: int) -> None:
    frame = simulate(1500, seed=seed, campaigns=[Campaign(family, start, days, share, authors=5)])
    day = (frame["created_at"] - pd.Timestamp("2026-01-01", tz="UTC")) / pd.Timedelta(days=1)
    ours = frame["campaign"] != ""
    inside = day.between(start - 1e-6, start + days + 1e-6)
    assert not ours[~inside].any()
    assert ours[inside].mean() == pytest.approx(share, abs=0.02)
    assert set(frame.loc[ours, "family"]) == {family}
    assert frame.loc[ours, "author_id"].nunique() <= 5


# moderators


@pytest.mark.parametrize(("noise", "delay", "unlabelled"), [(0.0, 6.0, 0.0), (0.1, 24.0, 0.5), (0.02, 72.0, 0.2)])
def test_moderators_are_late_and_sometimes_wrong(noise: float, delay: float, unlabelled: float) -> None:
    late = {"label_noise": noise, "label_delay_hours": delay, "unlabelled": unlabelled}
    frame = simulate(4_000, seed=9, campaigns=[BURST], **late)
    seen = frame["moderator_label"].notna()
    assert (seen == frame["labelled_at"].notna()).all()
    assert (~seen).mean() == pytest.approx(unlabelled, abs=0.025)
    labelled = frame[seen]
    wrong = labelled["moderator_label"].astype(int) != labelled["label"]
    assert wrong.mean() == pytest.approx(noise, abs=0.015)
    assert wrong[labelled["campaign"] != ""].mean() == pytest.approx(noise, abs=0.06)
    hours = (labelled["labelled_at"] - labelled["created_at"]) / pd.Timedelta(hours=1)
    assert hours.median() == pytest.approx(delay, rel=0.07)
    assert (hours >= 0).all()
    assert hours.between(delay / 2, delay * 2).mean() == pytest.approx(0.51, abs=0.04)


# time, people


def test_ids_are_unique_and_tell_nothing(busy: pd.DataFrame) -> None:
    assert busy["comment_id"].is_unique
    authors, posts = busy.drop_duplicates("author_id"), busy.drop_duplicates("post_id")
    for column, rows in (("comment_id", busy), ("author_id", authors), ("post_id", posts)):
        assert rows[column].str.fullmatch("[0-9a-f]{16}").all()
        spam, ham = rows["label"].sum(), (rows["label"] == 0).sum()
        chance = 4 * (len(rows) / (12 * spam * ham)) ** 0.5  # four standard errors of a guess's ROC-AUC
        for cut in (slice(0, 12), slice(0, 1), slice(15, 16), slice(8, 9)):
            number = rows[column].str[cut].map(lambda digits: int(digits, 16)).astype(float)
            assert ranking(rows["label"], number) == pytest.approx(0.5, abs=chance), (column, cut)
            time = rows["created_at"].astype("int64")
            assert abs(np.corrcoef(number, time)[0, 1]) < 4 / len(rows) ** 0.5


# disguises


def test_flagged_comments_are_disguised_and_no_others() -> None:
    plain, mixed, all_of_them = (
        simulate(1500, seed=6, campaigns=[dataclasses.replace(BURST, obfuscation=share)]).query("campaign != ''")
        for share in (0.0, 0.5, 1.0)
    )
    assert not plain["obfuscated"].any()
    changed = mixed["text"].to_numpy() != plain["text"].to_numpy()
    assert (changed == mixed["obfuscated"].to_numpy()).all()
    assert changed.mean() == pytest.approx(0.5, abs=0.1)
    assert all_of_them["obfuscated"].mean() > 0.99
    assert ((all_of_them["text"].to_numpy() != plain["text"].to_numpy()) == all_of_them["obfuscated"]).all()


# words


def test_every_address_lies_under_a_reserved_name(busy: pd.DataFrame) -> None:
    """RFC 2606: nobody can own these, so no learner ever follows a live link."""
    text = busy["text"].str.casefold()
    explicit = text.str.extractall(r"(?:https?://|www\.|@)([^\s/?]+\.[^\s/?]+)")[0]
    bare = text.str.extractall(r"(?<![\w./=?&-])((?:[a-z0-9-]+\.)+[a-z]{2,})(?![\w.-])")[0]
    hosts = pd.concat([explicit, bare]).str.rstrip(".!?,:;)-♥❤")
    assert len(explicit) > 1000
    assert len(bare) > 500
    reserved = hosts.str.contains(r"(?:^|\.)(?:example\.(?:com|net|org)|example|test|invalid)(?:$|[^a-z0-9.])")
    assert hosts[~reserved].unique().tolist() == []


# bad arguments


@pytest.mark.parametrize(
    ("arguments", "found", "accepted"),
    [
        ({"n_comments": -1}, "n_comments is -1", "a whole number from 0"),
        ({"days": float("nan")}, "days is nan", "a number from 0.01"),
        ({"seed": -3}, "seed is -3", "a whole number from 0"),
        ({"spam_rate": 30}, "spam_rate is 30", "from 0 to 1"),
        ({"start": "yesterday-ish"}, "start is 'yesterday-ish'", "a date"),
        ({"campaigns": [Campaign("giftcard", 1, 2, 0.2)]}, "family is 'giftcard'", "for example family='gift_card'"),
        ({"campaigns": [Campaign("dating", 1, 2, 1.0)]}, "share of 1", "at most 0.95"),
        ({"campaigns": [Campaign("dating", 31, 2, 0.2)]}, "start=31", "before day 30"),
        ({"campaigns": [Campaign("dating", 1, 9, 0.5), Campaign("begging", 5, 9, 0.5)]}, "day 5", "at most 0.95"),
        ({"campaigns": [Shift("rhythm", 1)]}, "is no Campaign", 'Campaign("gift_card"'),
        ({"campaigns": BURST}, "campaigns is Campaign(", "a list"),
        ({"shifts": [Shift("new_topics", 1)]}, "kind is 'new_topics'", "new_slang"),
    ],
)
def test_bad_arguments_are_refused_with_what_is_accepted(arguments: dict, found: str, accepted: str) -> None:
    with pytest.raises(ParameterError) as refused:
        simulate(**{"n_comments": 50, **arguments})
    message = str(refused.value)
    assert found in message
    assert accepted in message
    assert "for example" in message
