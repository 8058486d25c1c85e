"""How good a spam model is: one table of estimates with intervals, and the same by slice and over time."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from mlops_helpers.errors import DataError

__all__ = ["Estimate", "Evaluation", "by_slice", "evaluate", "slices"]

_LINK = r"(?i)https?://|www\.|\b[\w-]+\.(?:com|net|org|example|test|invalid)\b"


@dataclass(frozen=True)
class Estimate:
    """A point estimate with the bounds of its 95 % confidence interval; NaN bounds: no interval can be stated."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.low):
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Evaluation:
    """What one set of scores is worth at one threshold.

    accuracy: share of comments judged rightly; spam_caught: recall of spam; ham_blocked: false-positive rate; mcc:
    Matthews correlation (-1 to 1); roc_auc, pr_auc: ranking, free of the threshold; brier: mean squared error of the
    score; calibration_error: mean distance of score and spam rate over ten bins of equal size. Proportions have Wilson
    intervals, the others percentile bootstrap intervals (2,000 draws for mcc, 300 for the rankings) where there are at
    least ten comments of each class. calibration_error has none: resampling makes it larger, so it would be biased.
    """

    n: int
    spam: int
    threshold: float
    accuracy: Estimate
    spam_caught: Estimate
    ham_blocked: Estimate
    mcc: Estimate
    roc_auc: Estimate
    pr_auc: Estimate
    brier: Estimate
    calibration_error: Estimate

    def estimates(self) -> dict[str, Estimate]:
        """Return the measures by name."""
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in named.items() if isinstance(value, Estimate)}

    def table(self) -> pd.DataFrame:
        """Return one row a measure: ``value``, ``low``, ``high``."""
        rows = {name: (e.value, e.low, e.high) for name, e in self.estimates().items()}
        return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high"])


def _proportion(hits: int, n: int) -> Estimate:
    from scipy.stats import binomtest

    if n == 0:
        return Estimate(np.nan, np.nan, np.nan)
    interval = binomtest(int(hits), int(n)).proportion_ci(method="wilson")
    return Estimate(hits / n, interval.low, interval.high)


def _mcc(tp: np.ndarray, fn: np.ndarray, fp: np.ndarray, tn: np.ndarray) -> np.ndarray:
    """Matthews (1975), vectorised over draws; 0 where a margin is empty, as in scikit-learn."""
    tp, fn, fp, tn = (np.asarray(x, dtype=float) for x in (tp, fn, fp, tn))
    scale = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return np.divide(tp * tn - fp * fn, scale, out=np.zeros_like(scale), where=scale > 0)


def _rankings(labels: np.ndarray, scores: np.ndarray, axis: int = -1) -> np.ndarray:
    """ROC-AUC, average precision, Brier score and calibration error along ``axis``, for many resamples at once."""
    from scipy.stats import rankdata

    labels, scores = np.moveaxis(labels, axis, -1).astype(float), np.moveaxis(scores, axis, -1)
    spam = labels.sum(-1)
    ham = labels.shape[-1] - spam
    n = labels.shape[-1]
    ranks = rankdata(scores, axis=-1)
    roc_auc = ((ranks * labels).sum(-1) - spam * (spam + 1) / 2) / (spam * ham)  # Mann and Whitney (1947)
    order = np.argsort(-scores, axis=-1, kind="stable")
    hits, sorted_scores = np.take_along_axis(labels, order, -1), np.take_along_axis(scores, order, -1)
    # equal scores are one threshold: what counts is where their block ends, not how they happen to be ordered
    ends = np.diff(sorted_scores, axis=-1, append=-np.inf) != 0
    last = np.minimum.accumulate(np.where(ends, np.arange(n), n)[..., ::-1], axis=-1)[..., ::-1]
    starts = np.diff(sorted_scores, axis=-1, prepend=np.inf) != 0
    first = np.maximum.accumulate(np.where(starts, np.arange(n), 0), axis=-1)
    found = np.take_along_axis(hits.cumsum(-1), last, -1)
    pr_auc = (found / (last + 1) * hits).sum(-1) / spam
    brier = ((scores - labels) ** 2).mean(-1)
    before = np.take_along_axis(hits.cumsum(-1) - hits, first, -1)
    rates = (found - before) / (last - first + 1)
    edges = np.linspace(0, n, min(10, n) + 1).astype(int)[:-1]
    gaps = np.abs(np.add.reduceat(rates - sorted_scores, edges, axis=-1)).sum(-1) / n
    return np.stack([roc_auc, pr_auc, brier, gaps])


def evaluate(labels: pd.Series, scores: np.ndarray, threshold: float = 0.5, *, seed: int = 0) -> Evaluation:
    """Judge scores (n,) against labels (n,) of 0 and 1, at a threshold (spam when score >= threshold).

    ``seed`` fixes the bootstrap. Raises ``DataError`` when a class is missing or the shapes differ.
    """
    from scipy.stats import bootstrap

    truth, scores = np.asarray(labels), np.asarray(scores, dtype=float)
    classes = set(truth.tolist())
    if truth.shape != scores.shape or classes != {0, 1} or not np.isfinite(scores).all():
        raise DataError(
            f"{truth.shape} labels of classes {sorted(classes)[:5]} and {scores.shape} scores; accepted: as "
            "many finite scores as labels, and both classes, 0 and 1"
        )
    truth = truth.astype(int)
    called = scores >= threshold
    counts = np.array([(called & (truth == 1)).sum(), (~called & (truth == 1)).sum(), (called & (truth == 0)).sum()])
    tp, fn, fp = (int(count) for count in counts)
    tn = len(truth) - tp - fn - fp
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(truth), np.array([tp, fn, fp, tn]) / len(truth), size=2000)
    low, high = np.percentile(_mcc(*draws.T), [2.5, 97.5])
    settings = {"paired": True, "vectorized": True, "method": "percentile", "n_resamples": 300, "batch": 100}
    with np.errstate(invalid="ignore"), warnings.catch_warnings():  # a resample of one class has no ranking
        warnings.simplefilter("ignore")
        ranked = bootstrap((truth, scores), _rankings, **settings, rng=rng).bootstrap_distribution
    bounds = np.nanpercentile(ranked, [2.5, 97.5], axis=-1)
    bounds[:, 3] = np.nan
    if min(tp + fn, fp + tn) < 10:  # too few to resample: the interval would be far too narrow
        bounds[:], low, high = np.nan, np.nan, np.nan
    roc_auc, pr_auc, brier, gap = (
        Estimate(float(p), float(a), float(b)) for p, a, b in zip(_rankings(truth, scores), *bounds, strict=True)
    )
    return Evaluation(
        n=len(truth),
        spam=tp + fn,
        threshold=threshold,
        accuracy=_proportion(tp + tn, len(truth)),
        spam_caught=_proportion(tp, tp + fn),
        ham_blocked=_proportion(fp, fp + tn),
        mcc=Estimate(float(_mcc(*np.array([[tp], [fn], [fp], [tn]]))[0]), float(low), float(high)),
        roc_auc=roc_auc,
        pr_auc=pr_auc,
        brier=brier,
        calibration_error=gap,
    )


def slices(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """Return named row masks over comments: length, links, capitals, other scripts, and each group."""
    text = frame["text"]
    letters = text.str.count(r"[^\W\d_]").clip(lower=1)
    masks = {
        "short (< 40 characters)": text.str.len() < 40,
        "long (>= 150 characters)": text.str.len() >= 150,
        "with a link": text.str.contains(_LINK),
        "no link": ~text.str.contains(_LINK),
        "mostly capitals": text.str.count(r"[A-Z]") / letters > 0.5,
        "beyond ASCII": text.map(lambda t: not t.isascii()),
    }
    return masks | {f"group {name}": frame["group"] == name for name in sorted(frame["group"].unique())}


def by_slice(
    frame: pd.DataFrame, scores: np.ndarray, masks: Mapping[str, pd.Series], threshold: float = 0.5
) -> pd.DataFrame:
    """Return one row a slice: ``n, spam, spam_caught, ham_blocked`` with their intervals' bounds (Wilson, 95 %).

    A share is missing where the slice holds no comment of that class.
    """
    truth, called = frame["label"].to_numpy(), np.asarray(scores) >= threshold
    rows = {}
    for name, mask in masks.items():
        inside = np.asarray(mask, dtype=bool)
        spam, ham = inside & (truth == 1), inside & (truth == 0)
        caught = _proportion((called & spam).sum(), spam.sum())
        blocked = _proportion((called & ham).sum(), ham.sum())
        rows[name] = {
            "n": int(inside.sum()),
            "spam": int(spam.sum()),
            "spam_caught": caught.value,
            "caught_low": caught.low,
            "caught_high": caught.high,
            "ham_blocked": blocked.value,
            "blocked_low": blocked.low,
            "blocked_high": blocked.high,
        }
    return pd.DataFrame.from_dict(rows, orient="index")
