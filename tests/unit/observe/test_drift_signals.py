"""What is monitored of comments: plain numbers, and missing where there is nothing to count."""

import numpy as np
import pandas as pd
import pytest

from mlops_helpers.errors import MetricsError
from mlops_helpers.observe.drift_signals import INPUTS, JUDGED, judgements, known_words, signals


def frame(*texts: object, authors: str = "", hours: int = 1) -> pd.DataFrame:
    times = pd.date_range("2026-01-01", periods=len(texts), freq=f"{hours}h", tz="UTC")
    return pd.DataFrame({"text": texts, "created_at": times, "author_id": list(authors) or list(map(str, times))})


def test_the_inputs_of_a_comment() -> None:
    found = signals(frame("See http://a.example NOW!", "", None, "123"), {"see", "now"}, time="created_at").loc[0]
    assert found[["words", "links", "traces", "script", "part_of_day"]].tolist() == [5, 1, 0, "latin", "night"]
    assert found["unknown"] == pytest.approx(3 / 5)
    assert found["capitals"] == pytest.approx(4 / 18)
    assert found["marks"] == pytest.approx(5 / 25)
    assert set(found.index) == {*INPUTS, "shared", "by_author", "created_at"}


def test_no_words_have_no_shares_and_no_text_has_nothing() -> None:
    found = signals(frame("", None, "123"), set())
    assert found["words"].tolist()[::2] == [0, 1] and np.isnan(found["words"][1])
    assert found["unknown"].isna().tolist() == [True, True, False]
    assert found["capitals"].isna().all()
    assert found["script"].tolist()[::2] == ["none", "none"] and pd.isna(found["script"][1])
    assert found["shared"].tolist()[::2] == [0, 0] and np.isnan(found["shared"][1])


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("hello", "latin"),
        ("café", "latin"),
        ("привет", "cyrillic"),
        ("hellо", "mixed"),
        ("👍 12", "none"),
        ("日本", "cjk"),
    ],
)
def test_scripts(text: str, script: str) -> None:
    assert signals(frame(text), set())["script"][0] == script


@pytest.mark.parametrize(
    ("text", "traces"),
    [("Tom &amp; Jerry &#39;", 2), ("a<br />b</a>", 2), ("\ufffd\x00", 2), ("1 < 2 & 3 > 2; <3", 0), ("a\u200bb", 0)],
)
def test_traces_of_machines(text: str, traces: int) -> None:
    assert signals(frame(text), set())["traces"][0] == traces


def test_crowds_are_counted_within_a_day_and_in_per_cent_of_the_other_comments() -> None:
    spun = [f"win {n} dollars at the shop today" for n in range(6)]
    own = ["a first thought", "my second one", "two and three", "what a goal", "lovely weather today"]
    found = signals(frame(*spun, *own, authors="aabbccdefgh"), set())
    assert found["shared"].tolist() == [50] * 6 + [0] * 5
    assert found["by_author"].tolist() == [10] * 6 + [0] * 5
    assert signals(frame(*spun, authors="aaaaaa", hours=24), set())["by_author"].tolist() == [0] * 6
    assert "by_author" not in signals(frame(*spun).drop(columns="author_id"), set())


def test_judgements_know_what_is_not_known_yet() -> None:
    index = [4, 5, 6, 7, 8]
    label = pd.Series([1, 0, 1, 0, None], index, dtype="Int8")
    found = judgements(pd.Series(0.5, index), pd.Series([True, True, False, False, True], index), label)
    assert found["outcome"].tolist()[:4] == ["right", "ham blocked", "spam missed", "right"]
    assert found["label"].tolist()[:4] == ["spam", "ham", "spam", "ham"]
    assert found.loc[8, ["outcome", "label"]].isna().all() and found["verdict"][8] == "spam"
    assert set(found) == set(JUDGED)


def test_known_words_stand_in_several_texts() -> None:
    assert known_words(["Good good GOOD", "good one", "two"]) == {"good"}


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(MetricsError, match="no column 'created_at', only body"):
        signals(pd.DataFrame({"body": ["x"]}), set())
    with pytest.raises(MetricsError, match="no column 'text'"):
        signals(frame("x").drop(columns="text"), set())
    for wrong in ("2026-01-01", pd.Timestamp("2026-01-01"), 1.7e9):
        with pytest.raises(MetricsError, match="timestamps with a time zone"):
            signals(frame("x").assign(created_at=wrong), set())
