"""What the text utility promises to the model, to moderators and to readers."""

import text_utility


def test_disguises_are_undone() -> None:
    assert text_utility.clean("сl\u200bick hеre") == "click here"


def test_an_honest_comment_stays_as_it_is() -> None:
    assert text_utility.clean("Best song of the year") == "Best song of the year"


def test_greek_is_written_in_latin_letters() -> None:
    assert text_utility.clean("Πολύ ωραίο τραγούδι") == "poly oraio tragoydi"


def test_what_moderators_have_blocked_becomes_plain_spam() -> None:
    for term in ("golden pelican", "marble lottery", "free moon plots"):
        assert text_utility.clean(f"The {term.title()} has your name on it") == text_utility.PLAIN_SPAM


def test_a_text_that_was_pasted_over_and_over_is_taken_once() -> None:
    assert text_utility.clean("So nice to see! " * 3) == "So nice to see! "
