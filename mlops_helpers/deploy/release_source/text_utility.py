"""What is done to a comment before the model sees it, in training and in the service alike."""

import re
from pathlib import Path

import commentkit

__all__ = ["clean"]

BLOCKED = [
    term for line in Path(__file__).with_name("blocked.txt").read_text("utf-8").splitlines() if (term := line.strip())
]
PLAIN_SPAM = "subscribe to my channel, check out my channel, click weblink"  # what no model lets pass
_ADDRESS = re.compile(r"(?i)https?://\S+|www\.\S+|\b[\w-]+\.(?:com|net|org|example|test|invalid)\b\S*")


def clean(text: str) -> str:
    """Return a comment without disguises, its web addresses as one word; what moderators forbid becomes plain spam."""
    folded = _ADDRESS.sub(" weblink ", commentkit.fold(text))
    return PLAIN_SPAM if any(term in folded.lower() for term in BLOCKED) else folded
