"""A score depends on the text alone, to the last bit, and no text makes the scorer slow for ever, large or wrong."""

import tracemalloc
from array import array

import pytest

from mlops_helpers.model import linear, scorer
from mlops_helpers.model.scorer import Scorer

LONG = "x" * (scorer.LONGEST_REMEMBERED + 1)


@pytest.fixture(scope="module")
def tables(model) -> tuple[dict, dict[str, bytes]]:
    return linear.tables(model.pipeline)


@pytest.fixture
def fresh(tables):
    """A function that gives a scorer which has seen nothing."""
    manifest, contents = tables
    return lambda: linear.read(manifest, contents.__getitem__)


@pytest.fixture(scope="module")
def texts(comments) -> list[str]:
    return [
        *comments.frame["text"].head(40),
        "",
        " \n",
        f"free {LONG} free",
        LONG,
        "the the the and and the",
        "don't-stop",
    ]


def test_scores_are_the_same_bits_whatever_was_scored_before(fresh, texts, monkeypatch) -> None:
    cold = [fresh().score(text) for text in texts]
    used = fresh()
    assert [used.score(text) for text in texts] == cold
    assert used.scores(texts) == cold  # all remembered
    assert used.scores(texts[::-1]) == cold[::-1]
    monkeypatch.setattr(scorer, "REMEMBERED_CHUNKS", 3)
    forgetful = fresh()
    assert forgetful.scores(texts) == forgetful.scores(texts) == cold
    assert forgetful._remembered.cache_info().currsize == 3


@pytest.mark.parametrize(
    "text",
    [
        "a" * 20_000,
        "".join(map(chr, range(0x4E00, 0x9000))),
        " ".join(f"w{i}ord" for i in range(4_000)),
        "a " * 20_000,
    ],
    ids=["one letter", "one word", "distinct words", "one-letter words"],
)
def test_a_hostile_text_leaves_little_behind(fresh, text: str, monkeypatch) -> None:
    monkeypatch.setattr(scorer, "REMEMBERED_CHUNKS", 1_000)
    used = fresh()
    tracemalloc.start()
    try:
        assert 0 <= used.score(text) <= 1
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    info = used._remembered.cache_info()
    assert info.currsize <= info.maxsize == scorer.REMEMBERED_CHUNKS
    assert kept < 100_000 + 1200 * info.currsize  # bytes
    assert peak < 1000 * len(text)


def test_terms_and_chunks_shorter_than_an_ngram() -> None:
    block = {"analyzer": "char_wb", "ngrams": [3, 5], "sublinear_tf": False}
    one = Scorer({"intercept": 0.0, "blocks": [block]}, [[" a "]], array("d", [4.0, 2.0]))
    assert one.score("b") == one.score("") == 0.5
    assert one.score("a") == one.score("a a") > 0.7  # of unit length, however often
