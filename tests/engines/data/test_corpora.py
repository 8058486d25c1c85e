"""What the two real corpora are, which traps they set, and what the model reaches on them."""

import numpy as np
import pandas as pd
import pytest

from mlops_helpers.model import data, evaluation, training
from mlops_helpers.model.simulate import FAMILIES, Campaign, simulate


@pytest.fixture(scope="module")
def youtube() -> data.Comments:
    return data.load("youtube")


@pytest.fixture(scope="module")
def sms() -> data.Comments:
    return data.load("sms")


def judge(train, test) -> evaluation.Evaluation:
    return evaluation.evaluate(test["label"], training.train(train, "x").scores(test["text"]))


def test_youtube_comes_whole_with_every_trap_found(youtube: data.Comments) -> None:
    assert (len(youtube), int(youtube.frame["label"].sum())) == (1956, 1005)
    assert set(youtube.frame["group"]) == {"Psy", "KatyPerry", "LMFAO", "Eminem", "Shakira"}
    rows = youtube.report.table.set_index("trap")["rows"].to_dict()
    assert rows == {
        "names of authors": 1956,
        "archive litter": 5,
        "missing date": 245,
        "id of another kind": 401,
        "repeated id": 3,
        "invisible end": 1548,
        "HTML entities": 263,
        "HTML tags": 106,
        "duplicate text": 294,
        "sorted rows": 1956,
    }
    table = youtube.report.table.set_index("trap")
    assert table.loc["missing date", "spam_inside"] == 1
    assert table.loc["id of another kind", "spam_inside"] == pytest.approx(0.83, abs=0.01)
    assert not youtube.frame["text"].str.contains("\ufeff$|&#39;|<br />").any()


def test_sms_comes_whole_in_spite_of_its_quotes(sms: data.Comments) -> None:
    assert (len(sms), int(sms.frame["label"].sum())) == (5574, 747)
    table = sms.report.table.set_index("trap")
    assert table.loc["HTML entities", ["rows", "spam_inside"]].tolist() == [309, 0]
    assert table.loc["duplicate text", "rows"] >= 403


def test_sms_on_the_split_of_the_paper(sms: data.Comments) -> None:
    train, test = training.split_at_row(sms.frame)
    assert (len(train), len(test)) == (1674, 3900)
    assert judge(train, test).mcc.value >= 0.93


def test_youtube_on_random_splits(youtube: data.Comments) -> None:
    found = [judge(*training.split_random(youtube.frame, seed=seed, keep_apart=False)).mcc.value for seed in range(5)]
    assert np.mean(found) >= 0.90
    assert min(found) >= 0.88


def test_no_simulated_text_is_a_real_comment(youtube: data.Comments, sms: data.Comments) -> None:
    def normal(texts: pd.Series) -> pd.Series:
        bare = texts.str.casefold().str.replace(r"[\W_]+", " ", regex=True).str.strip()
        return bare[bare.str.count(" ") >= 3]  # up to three words are nobody's

    real = normal(pd.concat([comments.frame["text"] for comments in (youtube, sms)]))
    campaigns = [Campaign(family, start=2 * i, days=3, share=0.2) for i, family in enumerate(FAMILIES)]
    ours = normal(simulate(40_000, seed=11, campaigns=campaigns)["text"])
    assert len(real) > 5_000 and len(ours) > 30_000
    assert sorted(set(ours) & set(real)) == []
