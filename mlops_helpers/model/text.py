"""Comments as text: the damage that exports do, its repair, and what makes two comments the same to a reader."""

import html
import re
import unicodedata
from html.entities import html5

import pandas as pd

__all__ = ["ENTITY", "INVISIBLE", "MARKUP", "duplicate_key", "repair"]

# closed entities only: html.unescape alone would see "&copy" in "?a=1&copy=2"
ENTITY = re.compile(r"&(?:" + "|".join(name for name in html5 if name.endswith(";")) + r"|#\d+;|#[xX][0-9a-fA-F]+;)")
# a known tag whose attributes have values: "a <b then c> d" and "<3" are what somebody wrote
MARKUP = re.compile(
    r"</?(?:a|b|blockquote|br|code|div|em|font|h[1-6]|hr|i|iframe|img|li|ol|p|pre|s|script|span|strong|style|sub|sup"
    r"|table|td|th|tr|u|ul)(?:\s+[\w:-]+\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'<>]+))*\s*/?>",
    re.IGNORECASE,
)
INVISIBLE = "\ufeff\u200b\u2060"
_NOT_ALPHANUMERIC = re.compile(r"[\W_]+")


def repair(text: str) -> str:
    """Undo export damage: tags, entities, invisible ends. Tags go first: an escaped tag is what somebody wrote."""
    bare = ENTITY.sub(lambda entity: html.unescape(entity[0]), MARKUP.sub(" ", text))
    return bare.strip().strip(INVISIBLE).strip()


def duplicate_key(texts: pd.Series) -> pd.Series:
    """Return what is left of each text when case, width, entities, tags and punctuation are ignored.

    Two comments with one key are the same comment to a reader. Text without letters or digits is its own key.
    """

    def key(text: str) -> str:
        bare = unicodedata.normalize("NFKC", repair(text)).casefold()
        return _NOT_ALPHANUMERIC.sub("", bare) or text

    return texts.map(key)
