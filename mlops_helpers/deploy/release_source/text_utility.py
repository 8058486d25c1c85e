"""What is done to a comment before the model sees it, in training and in the service alike."""

import re
from pathlib import Path

import commentkit

__all__ = ["clean"]

BLOCKED = Path(__file__).with_name("blocked.txt").read_text("utf-8").splitlines()
PLAIN_SPAM = "subscribe to my channel, check out my channel, click weblink"  # what no model lets pass
ADDRESS = re.compile(r"(?i)https?://\S+|www\.\S+|\b[\w-]+\.(?:com|net|org|example|test|invalid)\b\S*")
GREEK = re.compile(r"[\u0370-\u03ff]")


def clean(text: str) -> str:
    """Return a comment without disguises, in Latin letters, its web addresses as one word.

    A comment with a term that moderators have blocked becomes plain spam.
    """
    folded = commentkit.fold(text)
    if GREEK.search(folded):
        import scriptkit

        folded = scriptkit.to_latin(folded)
    folded = ADDRESS.sub(" weblink ", once(folded))
    return PLAIN_SPAM if any(term in folded.lower() for term in BLOCKED) else folded


def once(text: str) -> str:
    """Return a text that was pasted over and over as it was before."""
    return text[: (text + text).find(text, 1)] if text else ""
