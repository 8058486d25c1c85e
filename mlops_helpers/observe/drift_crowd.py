"""Who in a window acts together: new accounts that write much, or that repeat phrases which only new accounts use."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mlops_helpers.observe.drift_signals import phrases

__all__ = ["Crowds"]

MUCH = 5  # comments of one account, or with one phrase, in one window
OFTENER = 5  # times as often as in the reference
PURE = 0.9  # of the comments with a phrase come from new accounts


@dataclass(frozen=True)
class Crowds:
    """What a reference knows: its accounts, phrases, rows, and the largest share of crowds in its windows."""

    accounts: frozenset[object]
    phrases: Mapping[str, int]
    rows: int
    usual: float

    @classmethod
    def fit(
        cls, reference: pd.DataFrame, window: pd.Series, *, text: str = "text", author: str = "author_id"
    ) -> "Crowds":
        """Learn from reference comments; ``window`` numbers the window of each, so that each is tried on the others.

        Without a column ``author`` every comment counts as one of a new account.
        """
        shares = [
            cls._of(reference[window != one], text, author, np.nan).find(reference[window == one], text, author).mean()
            for one in window.unique()
        ]
        return cls._of(reference, text, author, max(shares, default=np.nan))

    @classmethod
    def _of(cls, comments: pd.DataFrame, text: str, author: str, usual: float) -> "Crowds":
        accounts = frozenset(comments[author]) if author in comments else frozenset()
        return cls(accounts, Counter(p for t in comments[text] for p in phrases(t)), len(comments), usual)

    def find(self, current: pd.DataFrame, text: str = "text", author: str = "author_id") -> pd.Series:
        """Return which comments of a window belong to a crowd."""
        new, much = pd.Series(True, current.index), pd.Series(False, current.index)
        if author in current:
            new = ~current[author].isin(self.accounts)
            much = new & (current.groupby(author)[author].transform("size") >= MUCH)
        found = current[text].map(phrases)
        of_all = Counter(phrase for some in found for phrase in some)
        of_new = Counter(phrase for some in found[new] for phrase in some)
        expected = len(current) / max(1, self.rows)
        burst = {
            phrase
            for phrase, count in of_all.items()
            if count >= max(MUCH, OFTENER * expected * self.phrases.get(phrase, 0)) and of_new[phrase] >= PURE * count
        }
        return much | (new & found.map(lambda some: not burst.isdisjoint(some)))
