"""Who in a window acts together: new accounts that write much, or that repeat phrases which only new accounts use."""

from collections import Counter
from dataclasses import dataclass

import pandas as pd

from mlops_helpers.errors import MetricsError
from mlops_helpers.observe.drift_signals import phrases, times

__all__ = ["MUCH", "Crowds"]

MUCH = 5
"""Comments of one account, or with one phrase, in one window: the smallest crowd."""
OFTENER = 5  # times as often as in the reference
PURE = 0.9  # of the comments with a phrase come from new accounts


@dataclass(frozen=True)
class Crowds:
    """What a reference knows: its accounts and phrases, from so many ``rows``; made by :meth:`fit`.

    ``usual`` says of each comment of the reference whether it would have been one of a crowd to the other windows: the
    column to compare with. As accounts come and go, fit anew on a later reference.
    """

    accounts: frozenset[object]
    phrases: Counter[str]
    rows: int
    usual: pd.Series

    @classmethod
    def fit(cls, reference: pd.DataFrame, *, window: int = 7, time: str = "created_at") -> "Crowds":
        """Learn from comments with ``text``, ``time`` and ``author_id``, by windows of ``window`` days from the last.

        Without a column ``author_id`` every comment counts as one of a new account.

        Raises ``MetricsError`` without ``text`` or ``time``, or with a single window: there would be nothing to try on.
        """
        when = times(reference, time)
        if "text" not in reference:
            raise MetricsError(f"there is no column 'text', only {', '.join(map(str, reference.columns))}")
        age = (when.max().floor("D") - when.dt.floor("D")).dt.days // window
        if age.nunique() < 2:
            raise MetricsError(f"the reference holds {age.nunique()} windows of {window} days; accepted: at least 2")
        said = reference["text"].map(phrases)
        of_window = {one: _counted(said[age == one]) for one in age.unique()}
        total = sum(of_window.values(), Counter())
        found = []
        for one, own in of_window.items():
            others = reference[age != one]
            found.append(cls(_accounts(others), total - own, len(others), age).find(reference[age == one]))
        return cls(_accounts(reference), total, len(reference), pd.concat(found).reindex(reference.index))

    def find(self, current: pd.DataFrame) -> pd.Series:
        """Return which comments of a window belong to a crowd (boolean)."""
        new, much = pd.Series(True, current.index), pd.Series(False, current.index)
        if "author_id" in current:
            new = ~current["author_id"].isin(self.accounts)
            much = new & (current.groupby("author_id")["author_id"].transform("size") >= MUCH)
        said = current["text"].map(phrases)
        of_all, of_new = _counted(said), _counted(said[new])
        expected = len(current) / self.rows
        burst = {
            phrase
            for phrase, count in of_all.items()
            if count >= max(MUCH, OFTENER * expected * self.phrases[phrase]) and of_new[phrase] >= PURE * count
        }
        return much | (new & ~said.map(burst.isdisjoint).astype(bool))


def _accounts(comments: pd.DataFrame) -> frozenset[object]:
    return frozenset(comments["author_id"]) if "author_id" in comments else frozenset()


def _counted(said: pd.Series) -> Counter[str]:
    return Counter(phrase for some in said for phrase in some)
