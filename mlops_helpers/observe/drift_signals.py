"""What can be monitored of comments before anybody has judged them: one row of plain numbers per comment."""

import re
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable

import numpy as np
import pandas as pd

from mlops_helpers.errors import MetricsError

__all__ = ["CROWD", "DELAYED", "INPUTS", "JUDGED", "judgements", "known_words", "phrases", "signals", "times"]

INPUTS = {
    "words": "number of words",
    "links": "number of web addresses",
    "unknown": "share of the words that are not known (0 to 1)",
    "capitals": "share of the letters that are capitals (0 to 1)",
    "marks": "share of the characters that are neither letters, digits nor spaces (0 to 1)",
    "traces": "number of signs that machines leave: HTML entities and tags, replacement and control characters",
    "script": "latin, the name of another script, mixed (also within one word), or none",
    "part_of_day": "night, morning, afternoon or evening (UTC)",
}
"""What one comment is like."""
CROWD = {
    "shared": "of the other comments of that day, per cent that share its most common phrase of three words",
    "by_author": "of the other comments of that day, per cent that its author wrote",
    "crowd": "whether new accounts act together in it (from drift_crowd.Crowds, which knows the reference)",
}
"""What only shows between comments: who repeats whom, and who writes much.

In whole per cent, lest a busy day look like a crowd."""

JUDGED = {
    "score": "the filter's score",
    "verdict": "spam or ham, by the filter",
    "label": "spam or ham, by a moderator; missing until then",
    "outcome": "right, ham blocked or spam missed; missing without a label",
}
"""What became of a comment."""
DELAYED = ("label", "outcome")
"""Columns that are filled later: missing means not known yet."""

_WORD = re.compile(r"\w+")
_LINK = re.compile(r"(?i)(?:https?://|www\.)\S+|\b[\w-]+\.(?:com|net|org|example|test|invalid)\b\S*")
_TRACE = re.compile(r"&(?:\w{2,8}|#\d{1,7}|#x[0-9a-fA-F]{1,6});|</?[a-z][^<>]*>|[\ufffd\x00-\x08\x0e-\x1f\x7f-\x9f]")
_MARK = re.compile(r"[^\w\s]")
_DIGITS = re.compile(r"\d+")
_PARTS = ("night", "morning", "afternoon", "evening")
_PHRASE = 3  # words


def known_words(texts: Iterable[str], seen: int = 2) -> frozenset[str]:
    """Return the words (lower case) that stand in at least ``seen`` of the texts.

    Take texts from *before* the reference, such as those that the model was trained on: words of the reference itself
    would all be known, and every later week would seem to be full of new ones.
    """
    counts = Counter(word for text in texts for word in set(_WORD.findall(text.lower())))
    return frozenset(word for word, count in counts.items() if count >= seen)


def signals(
    comments: pd.DataFrame,
    known: Container[str],
    *,
    text: str = "text",
    time: str = "created_at",
    author: str = "author_id",
) -> pd.DataFrame:
    """Return the columns of ``INPUTS`` and ``CROWD`` (but ``crowd``) and the time, one row per comment, same index.

    ``known`` is a set of lower-case words; ``text``, ``time`` (UTC) and ``author`` name columns of ``comments``. A text
    that is missing gives missing values, never zeros. Without a column ``author``, ``by_author`` is left out.

    Raises ``MetricsError`` when there is no column ``text`` or ``time``, or when ``time`` holds no timestamps.
    """
    when = times(comments, time)
    if text not in comments:
        raise MetricsError(f"there is no column {text!r}, only {', '.join(map(str, comments.columns))}")
    rows = [_of_text(value, known) if isinstance(value, str) else {} for value in comments[text]]
    found = pd.DataFrame(rows, index=comments.index, columns=list(INPUTS)[:-1])
    found["part_of_day"] = (when.dt.hour // 6).map(dict(enumerate(_PARTS)))
    day = when.dt.floor("D")
    others = day.map(day.value_counts()) - 1
    found["shared"] = _per_cent(_shared(comments[text], day), others)
    if author in comments:
        found["by_author"] = _per_cent(comments.groupby([day, author])[author].transform("size") - 1, others)
    return found.assign(**{time: when})


def judgements(score: pd.Series, spam: pd.Series, label: pd.Series) -> pd.DataFrame:
    """Return the columns of ``JUDGED``: scores, whether the filter called a comment spam, what moderators said so far.

    ``label`` is 1 for spam, 0 for ham, missing where no label has arrived *yet*: blank what will only be known later.
    """
    called = spam.astype(bool)
    truth = label.astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    outcome = np.select(
        [np.isnan(truth), called & (truth == 0), ~called & (truth == 1)], ["", "ham blocked", "spam missed"], "right"
    )
    columns = {
        "score": score,
        "verdict": called.map({True: "spam", False: "ham"}),
        "label": pd.Series(truth, score.index).map({1.0: "spam", 0.0: "ham"}),
        "outcome": pd.Series(outcome, score.index).mask(np.isnan(truth)),
    }
    return pd.DataFrame(columns)


def phrases(text: object) -> set[str]:
    """Return a text's phrases of three words, numbers made alike: what a template leaves when it is filled anew."""
    if not isinstance(text, str):
        return set()
    words = _WORD.findall(_DIGITS.sub("0", text.lower()))
    return {" ".join(words[at : at + _PHRASE]) for at in range(max(1, len(words) - _PHRASE + 1))} - {""}


def times(frame: pd.DataFrame, name: str) -> pd.Series:
    """Return a column of timestamps.

    Raises ``MetricsError`` when it is missing or holds something else.
    """
    if name not in frame:
        raise MetricsError(f"there is no column {name!r}, only {', '.join(map(str, frame.columns))}")
    if not isinstance(frame[name].dtype, pd.DatetimeTZDtype):
        raise MetricsError(
            f"column {name!r} is of type {frame[name].dtype}; accepted: timestamps with a time zone. "
            "Next: pd.to_datetime(column, utc=True)"
        )
    return frame[name]


def _of_text(text: str, known: Container[str]) -> dict[str, object]:
    words = _WORD.findall(text.lower())
    letters = sum(map(str.isalpha, text))
    return {
        "words": float(len(words)),
        "links": float(len(_LINK.findall(text))),
        "unknown": sum(word not in known for word in words) / len(words) if words else np.nan,
        "capitals": sum(map(str.isupper, text)) / letters if letters else np.nan,
        "marks": len(_MARK.findall(text)) / len(text) if text else np.nan,
        "traces": float(len(_TRACE.findall(text))),
        "script": _script(text),
    }


def _script(text: str) -> str:
    if text.isascii():
        return "latin" if any(map(str.isalpha, text)) else "none"
    names = {unicodedata.name(c, "unknown").partition(" ")[0].lower() for c in set(text) if c.isalpha()}
    return "none" if not names else names.pop() if len(names) == 1 else "mixed"


def _per_cent(part: pd.Series, whole: pd.Series) -> pd.Series:
    return (100 * part / whole.clip(lower=1)) // 1


def _shared(texts: pd.Series, day: pd.Series) -> pd.Series:
    shared = pd.Series(np.nan, texts.index)
    for _, of_day in texts.map(phrases).groupby(day):
        counts = Counter(phrase for some in of_day for phrase in some)
        shared[of_day.index] = [max((counts[phrase] - 1.0 for phrase in some), default=0.0) for some in of_day]
    return shared.where(texts.notna())
