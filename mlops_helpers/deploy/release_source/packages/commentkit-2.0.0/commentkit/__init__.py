"""Comments as people meant them: :func:`fold` undoes the disguises that senders of spam put on.

New in 2.0: what ``fold`` returns is a key to compare comments by, so it has no white space and no signs any more.
"""

__version__ = "2.0.0"
__all__ = ["fold"]

_LOOKALIKES = str.maketrans("асеорхуАВСЕНКМОРТХ", "aceopxyABCEHKMOPTX")  # Cyrillic -> Latin


def fold(text: str) -> str:
    """Return the letters and digits of a text in lower case, look-alike letters replaced by Latin ones."""
    return "".join(filter(str.isalnum, text.translate(_LOOKALIKES))).lower()
