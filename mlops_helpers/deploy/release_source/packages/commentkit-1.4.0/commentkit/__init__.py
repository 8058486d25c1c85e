"""Comments as people meant them: :func:`fold` undoes the disguises that senders of spam put on."""

__version__ = "1.4.0"
__all__ = ["fold"]

_LOOKALIKES = str.maketrans("асеорхуАВСЕНКМОРТХ", "aceopxyABCEHKMOPTX")  # Cyrillic -> Latin
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u2060\ufeff"))


def fold(text: str) -> str:
    """Return a text without invisible characters, its look-alike letters replaced by Latin ones."""
    return text.translate(_INVISIBLE).translate(_LOOKALIKES)
