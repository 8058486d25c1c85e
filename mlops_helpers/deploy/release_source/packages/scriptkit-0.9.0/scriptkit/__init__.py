"""Cyrillic in Latin letters, sound by sound."""

__version__ = "0.9.0"
__all__ = ["to_latin"]

_SOUNDS = dict(
    zip(
        "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
        "a b v g d e yo zh z i y k l m n o p r s t u f kh ts ch sh shch _ y _ e yu ya".replace("_", "").split(" "),
        strict=True,
    )
)


def to_latin(text: str) -> str:
    """Return a text in lower case with its Cyrillic letters written in Latin ones."""
    return "".join(_SOUNDS.get(letter, letter) for letter in text.lower())
