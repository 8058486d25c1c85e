"""What may be asked of the simulator: families, campaigns, benign shifts; checks of all arguments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd

from mlops_helpers.errors import ParameterError

__all__ = ["FAMILIES", "HAM_KINDS", "SHIFTS", "Campaign", "Shift", "check_plan"]

FAMILIES = (
    "self_promotion", "sub4sub", "link_drop", "easy_money", "gift_card", "followers", "pills_diet", "dating",
    "chain_letter", "fake_support", "begging", "prize_text", "flattery",
)  # fmt: skip
HAM_KINDS = (
    "praise", "reaction", "nostalgia", "counting", "joke", "opinion", "critique", "argument", "question",
    "story", "lyric", "fandom", "tongues", "advice", "link", "meta", "own_work",
)  # fmt: skip
SHIFTS = {
    "new_topic": "comments move to posts about a topic that was never seen before, with its own vocabulary",
    "new_slang": "comments pick up words that nobody used before",
    "longer_comments": "comments grow by two to five sentences",
    "ham_links": "harmless comments contain links",
    "rhythm": "comments arrive at night instead of by day",
}

# name: (low, high, type, example)
RANGES: dict[str, tuple[float, float, type, str]] = {
    "n_comments": (0, 5_000_000, int, "20_000"),
    "days": (0.01, 3_650, float, "30.0"),
    "seed": (0, 2**63, int, "0"),
    "spam_rate": (0, 1, float, "0.3"),
    "label_noise": (0, 1, float, "0.02"),
    "label_delay_hours": (0, 10_000, float, "24.0"),
    "unlabelled": (0, 1, float, "0.2"),
    "start": (0, 3_650, float, "10.0"),
    "share": (0, 1, float, "0.2"),
    "obfuscation": (0, 1, float, "0.5"),
    "authors": (1, 100_000, int, "12"),
}
MOST_SHARE = 0.95  # of campaigns that run together: some background must remain


@dataclass(frozen=True)
class Campaign:
    """A burst of one spam family from a few authors, on top of the background traffic.

    ``family`` is one of ``FAMILIES``; ``start`` and ``days`` count days from the beginning; ``share`` (0 to
    0.95) is the part of all comments while it runs; ``obfuscation`` (0 to 1) the part of its comments whose
    words or addresses are disguised; ``authors`` (>= 1) how many accounts post.
    """

    family: str
    start: float
    days: float
    share: float
    obfuscation: float = 0.0
    authors: int = 12


@dataclass(frozen=True)
class Shift:
    """A harmless change of what readers do, from day ``start`` on, for ``days`` (None: until the end).

    ``kind`` is a key of ``SHIFTS``; ``share`` (0 to 1) the part of the comments that it touches (of ham only
    for ``ham_links``). Labels stay as they are.
    """

    kind: str
    start: float
    days: float | None = None
    share: float = 0.5


def check_plan(
    settings: Mapping[str, Any], start: Any, campaigns: Sequence[Any], shifts: Sequence[Any]
) -> pd.Timestamp:
    """Return the beginning (UTC); raise ``ParameterError`` for the first argument that is not accepted."""
    for name, value in settings.items():
        _check_range(name, value)
    for name, events in (("campaigns", campaigns), ("shifts", shifts)):
        if not isinstance(events, list | tuple):
            example = '[Shift("new_topic", start=10)]' if name == "shifts" else '[Campaign("gift_card", 10, 5, 0.2)]'
            raise ParameterError(f"{name} is {events!r}; accepted is a list, for example {name}={example}")
    for event in campaigns:
        _check_event(event, Campaign, settings["days"])
    for event in shifts:
        _check_event(event, Shift, settings["days"])
    for moment in [c.start for c in campaigns]:
        together = sum(c.share for c in campaigns if c.start <= moment < c.start + c.days)
        if together > MOST_SHARE:
            raise ParameterError(
                f"campaigns on day {moment:g} have a share of {together:g} together; accepted is at most "
                f"{MOST_SHARE}, for example two campaigns with share=0.4"
            )
    return _midnight(start)


def _check_range(name: str, value: Any) -> None:
    low, high, kind, example = RANGES[name]
    number = isinstance(value, (int, np.integer) if kind is int else (int, float, np.integer, np.floating))
    if isinstance(value, bool) or not number or not isfinite(value) or not low <= value <= high:
        what = "a whole number" if kind is int else "a number"
        raise ParameterError(
            f"{name} is {value!r}; accepted is {what} from {low:,} to {high:,}, for example {name}={example}"
        )


def _midnight(start: Any) -> pd.Timestamp:
    try:
        begin = pd.Timestamp(start)
        if not pd.isna(begin) and begin.tz is None and begin == begin.normalize():
            return begin.tz_localize("UTC")
    except (ValueError, TypeError):
        pass
    raise ParameterError(f'start is {start!r}; accepted is a date, for example start="2026-01-01"')


def _check_event(event: Any, kind: type[Campaign] | type[Shift], days: float) -> None:
    if not isinstance(event, kind):
        example = {
            Campaign: 'Campaign("gift_card", start=10, days=5, share=0.2)',
            Shift: 'Shift("new_topic", start=10)',
        }
        raise ParameterError(f"{event!r} is no {kind.__name__}; accepted is, for example, {example[kind]}")
    if isinstance(event, Campaign):
        _check_name("family", event.family, FAMILIES)
        _check_range("obfuscation", event.obfuscation)
        _check_range("authors", event.authors)
    else:
        _check_name("kind", event.kind, tuple(SHIFTS))
    _check_range("share", event.share)
    _check_range("start", event.start)
    if isinstance(event, Campaign) or event.days is not None:
        _check_range("days", event.days)
    if event.start >= days:
        raise ParameterError(
            f"{event!r} starts after the end; accepted is a start before day {days:g}, for example start={days / 2:g}"
        )


def _check_name(name: str, value: Any, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        near = get_close_matches(str(value), accepted, n=1)
        raise ParameterError(
            f"{name} is {value!r}; accepted are {', '.join(accepted)}; for example {name}={(near or accepted)[0]!r}"
        )
