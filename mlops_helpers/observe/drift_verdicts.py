"""What an alarm means: spam campaign, benign shift, broken feature or threshold failure, with the evidence.

The rules, in their order:

1. Too few comments: ``unknown``. No column beyond its limit: ``nothing``.
2. There is more of a crowd than usual (new accounts that act together), and without it the window is quiet, or at least
   less unusual than the crowd: ``spam campaign``, unless moderators call most of its comments ham.
3. What readers write has not changed, but scores, verdicts or mistakes have. Do scores still rank spam above ham, by
   the labels that have arrived? If so, ``threshold failure``: the threshold, or the scale of the scores, does not fit.
   If not, or if it cannot be said and most scores changed, ``broken feature``: something between comment and score.
4. What readers write has changed. In most comments at once, or by signs that no reader types: ``broken feature``, since
   readers do not all change in one week and deployments do. Else ``benign shift``.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops_helpers.observe.drift_detectors import Check, Detector
from mlops_helpers.observe.drift_ranking import Ranking
from mlops_helpers.observe.drift_signals import CROWD, JUDGED, times

__all__ = ["NEXT", "Diagnosis", "Verdict"]

NEXT = {
    "nothing": "nothing to do",
    "unknown": "collect more comments or labels, and look at the columns that moved",
    "spam campaign": "rate limits and blocks for the crowd's accounts act at once; label it, and retrain if missed",
    "benign shift": "watch the mistakes; when labels have arrived, ask whether to rethreshold or to retrain",
    "broken feature": "find what was deployed at that time and roll it back; do not retrain on broken data",
    "threshold failure": "check which version and threshold are live; else set the threshold anew on fresh labels",
}
"""The kinds of verdict, and what to do next."""

MOST = 0.5  # share of the values that must have changed for "most"
TRACES = "traces"  # the input whose move is damage, however few comments have it
_FEWEST_LABELS = 20  # of each class, to say anything about the ranking
_RANK_SIGMAS = 4.0  # standard errors of independent comments, which comments are not: twice what those would need


@dataclass(frozen=True)
class Verdict:
    """What happened in one window.

    ``kind`` is a key of ``NEXT``. ``evidence`` has a row per question: what was ``found``, what is ``usual`` or the
    limit, and what that ``says``. ``since`` is when the column that moved furthest began to, if it was in this window.
    """

    kind: str
    evidence: pd.DataFrame
    check: Check
    since: pd.Timestamp | None

    @property
    def next_step(self) -> str:
        """What to do next."""
        return NEXT[self.kind]


@dataclass(frozen=True)
class Diagnosis:
    """A detector and what else of the reference tells one cause from another; made by :meth:`fit`.

    Frames need the columns that the detector monitors, and ``time``. Monitored columns that are neither in ``JUDGED``
    nor in ``CROWD`` are inputs. Without the column ``crowd`` there is no rule 2.
    """

    detector: Detector
    spam_scores: NDArray[np.float64]
    ham_scores: NDArray[np.float64]
    time: str

    @classmethod
    def fit(cls, reference: pd.DataFrame, detector: Detector, *, time: str = "created_at") -> "Diagnosis":
        """Learn from the reference that the detector was fitted on."""
        return cls(detector, *_by_label(reference), time)

    def judge(self, current: pd.DataFrame) -> Verdict:
        """Judge one window of comments with the labels that have arrived.

        Raises ``MetricsError`` when a monitored column or the time is missing altogether.
        """
        times(current, self.time)
        check = self.detector.check(current)
        if check.state != "alarm":
            kind = "nothing" if check.state == "quiet" else "unknown"
            return Verdict(kind, _table([("moved columns", 0, 0, check.reason)]), check, None)
        moved = ", ".join(check.moved)
        rows: list[tuple[object, ...]] = [("largest distance over its limit", check.table["ratio"].iloc[0], 1.0, moved)]
        since, rest = self._since(current, check), check
        self._mistakes(current, check, rows)
        if "crowd" in check.moved:
            crowd = current["crowd"].astype(bool)
            rest = self.detector.check(current[~crowd])
            usual = self.detector.columns["crowd"]
            rows.append(
                ("share of comments by a crowd", crowd.mean(), usual.share("True"), "new accounts act together")
            )
            says = {"quiet": "the crowd explains it", "alarm": "there is more"}.get(rest.state, rest.reason)
            rows.append(("largest ratio without the crowd", rest.table["ratio"].max(), 1.0, says))
            known = current.loc[crowd, "label"].dropna() if "label" in current else pd.Series(dtype=object)
            spam = (known == "spam").mean() if len(known) else np.nan
            rows.append(("share of spam in the crowd's labels", spam, MOST, f"{len(known)} labels"))
            if rest.state != "alarm" or rest.table["ratio"].max() < check.table.loc["crowd", "ratio"]:
                return Verdict("benign shift" if spam < MOST else "spam campaign", _table(rows), check, since)
        kind = self._of_readers_or_filter(current, rest, rows)
        return Verdict(kind, _table(rows), check, since)

    def _of_readers_or_filter(self, current: pd.DataFrame, check: Check, rows: list[tuple[object, ...]]) -> str:
        inputs = [name for name in check.table.index if name not in JUDGED and name not in CROWD]
        moved = set(check.moved)
        ranking = self._ranking(current, rows)
        if moved & set(inputs):
            wide = check.table.loc[[name for name in inputs if name in moved], "changed"]
            says = "most comments changed at once" if wide.max() >= MOST else "a part of the comments changed"
            rows.append((f"changed share, inputs ({wide.idxmax()})", wide.max(), MOST, says))
            if TRACES in moved:
                rows.append(("signs that no reader types", wide[TRACES], 0.0, "text was damaged on its way"))
            return "broken feature" if wide.max() >= MOST or TRACES in moved else "benign shift"
        if not moved & set(JUDGED):
            rows.append(("inputs, scores and verdicts", np.nan, np.nan, "unmoved: comments repeat each other more"))
            return "benign shift"
        rows.append(("inputs", np.nan, np.nan, "what readers write has not changed"))
        if ranking == "fell":
            return "broken feature"
        scores = check.table["changed"].get("score", np.nan)
        if ranking == "unknown" and scores >= MOST:
            rows.append(("changed share, score", scores, MOST, "most scores changed, too few labels to say more"))
            return "broken feature"
        if moved == {"label"}:
            rows.append(
                ("labels", np.nan, np.nan, "only labels moved: more spam of the known kind, or other moderators")
            )
            return "unknown"
        return "threshold failure"

    def _mistakes(self, current: pd.DataFrame, check: Check, rows: list[tuple[object, ...]]) -> None:
        column = self.detector.columns.get("outcome")
        if column is not None and np.isfinite(check.table.loc["outcome", "ratio"]):
            for name in ("ham blocked", "spam missed"):
                found = (current["outcome"].dropna() == name).mean()
                says = "mistakes moved" if "outcome" in check.moved else "within what chance does"
                rows.append((f"{name}, share of the labels", found, column.share(name), says))

    def _ranking(self, current: pd.DataFrame, rows: list[tuple[object, ...]]) -> str:
        """Say whether scores rank spam above ham as they did: ``held``, ``fell`` or ``unknown``."""
        spam, ham = _by_label(current)
        if min(map(len, (spam, ham, self.spam_scores, self.ham_scores))) < _FEWEST_LABELS:
            rows.append(
                ("ranking (ROC-AUC)", np.nan, np.nan, f"unknown: {len(spam)} labels of spam, {len(ham)} of ham")
            )
            return "unknown"
        usual, found = Ranking.of(self.spam_scores, self.ham_scores), Ranking.of(spam, ham).auc
        spread = usual.variance(len(spam), len(ham)) + usual.variance(len(self.spam_scores), len(self.ham_scores))
        low = usual.auc - _RANK_SIGMAS * spread**0.5
        rows.append(("ranking (ROC-AUC)", found, low, "fell" if found < low else "held"))
        return "fell" if found < low else "held"

    def _since(self, current: pd.DataFrame, check: Check) -> pd.Timestamp | None:
        """Return the most likely moment of change in the window (Page's cumulative sum of log-likelihood ratios)."""
        column = self.detector.columns[check.table.index[0]]
        ordered = current.sort_values(self.time, kind="stable")
        codes = column.bins.codes(ordered[check.table.index[0]])
        known = codes < len(column.reference)
        codes, when = codes[known], ordered[self.time][known]
        before = column.reference + 0.5
        after = np.bincount(codes, minlength=len(before)) + 0.5
        gain = np.log(after / after.sum()) - np.log(before / before.sum())
        level = np.concatenate([[0.0], np.cumsum(gain[codes])[:-1]])
        return when.iloc[int(level.argmin())]


def _by_label(frame: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the scores of what moderators called spam, and of what they called ham."""
    if "label" not in frame or "score" not in frame:
        return np.empty(0), np.empty(0)
    scored = frame[frame["score"].notna()]
    return tuple(scored.loc[scored["label"] == name, "score"].to_numpy(float) for name in ("spam", "ham"))  # type: ignore[return-value]


def _table(rows: Iterable[tuple[object, ...]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["question", "found", "usual", "says"]).set_index("question")
