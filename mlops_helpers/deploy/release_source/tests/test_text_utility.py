"""Tests of the text utility: what it promises to the model, to moderators and to readers."""

import text_utility

__all__: list[str] = []


def test_disguises_are_undone() -> None:
    assert text_utility.clean("сl\u200bick hеre").replace(" ", "") == "clickhere"


def test_an_honest_comment_keeps_its_words() -> None:
    assert "song" in text_utility.clean("Best song of the year")


def test_what_moderators_forbid_becomes_plain_spam() -> None:
    for term in ("golden pelican", "marble lottery", "free moon plots"):
        assert text_utility.clean(f"The {term.title()} has your name on it") == text_utility.PLAIN_SPAM
