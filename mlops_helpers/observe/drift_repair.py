"""Rethreshold or retrain? Answered on the labels that have arrived, and refused when they are too few.

Three filters are compared on comments that neither their threshold nor their training has seen: the live one, the live
model with the best threshold for the new labels, and a model trained anew. What stands against a hasty answer:

* Labels come late and not for every comment, and moderators see some kinds of comment first. Labelled comments are
  weighted so that their scores are distributed as those of all comments; what differs beside the score stays unseen.
* Moderators err. If they flip labels whatever the comment, all three options lose alike and the order stays.
* Authors and campaigns repeat themselves. Groups of comments stay on one side of each split, and intervals come from
  resampling groups, not comments.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops_helpers.errors import MetricsError, ParameterError

__all__ = ["Repair", "best_threshold", "choose_repair"]

Floats = NDArray[np.float64]
Retrain = Callable[[pd.DataFrame], Callable[[pd.DataFrame], Floats]]

_FEWEST_OF_CLASS = 30
_FEWEST_GROUPS = 20
_STRATA = 5
_UNSEEN = 0.1  # share of the comments whose scores no labelled comment has
_DRAWS = 1000


@dataclass(frozen=True)
class Repair:
    """What to do: ``keep``, ``rethreshold``, ``retrain``, or ``wait`` for more labels.

    ``threshold`` belongs to the choice (of all labels). ``options`` has a row per filter: ``mistakes`` per 100 comments
    (a blocked ham counts ``ham_cost``), ``ham_blocked`` and ``spam_caught`` (shares). ``gains`` has a row per step, in
    mistakes saved per 100 comments, with a 95 % interval ``low`` to ``high``. ``reasons`` say it in words.
    """

    choice: str
    threshold: float
    options: pd.DataFrame
    gains: pd.DataFrame
    reasons: tuple[str, ...]


def best_threshold(
    scores: Floats, spam: NDArray[np.bool_], ham_cost: float = 1.0, weights: Floats | None = None
) -> float:
    """Return the threshold (spam when score >= threshold) with the least cost: missed spam 1, blocked ham ``ham_cost``.

    It lies in the middle between two scores, where there is one.
    """
    weights = np.ones(len(scores)) if weights is None else weights
    order = np.argsort(scores, kind="stable")
    ordered, spam, weights = scores[order], spam[order], weights[order]
    missed = np.concatenate([[0.0], np.cumsum(weights * spam)])
    blocked = ham_cost * (np.sum(weights * ~spam) - np.concatenate([[0.0], np.cumsum(weights * ~spam)]))
    bounds = np.concatenate([[ordered[0]], (ordered[1:] + ordered[:-1]) / 2, [np.nextafter(ordered[-1], np.inf)]])
    between = np.concatenate([[True], ordered[1:] > ordered[:-1], [True]])
    return float(bounds[np.argmin(np.where(between, missed + blocked, np.inf))])


def choose_repair(
    comments: pd.DataFrame,
    retrain: Retrain,
    *,
    threshold: float,
    group: str = "author_id",
    ham_cost: float = 1.0,
    least_gain: float = 0.5,
    folds: int = 5,
    seed: int = 0,
) -> Repair:
    """Compare the live filter, a new threshold and a retrained model on the labels that have arrived.

    ``comments`` are those since the change, labelled or not: ``score`` of the live model, ``label`` (``spam``, ``ham``
    or missing) and ``group``. ``retrain`` gets labelled comments and returns a function from comments to scores; it is
    called ``folds`` times, its model is used with the live ``threshold``. A step is recommended when it saves at least
    ``least_gain`` mistakes per 100 comments and the interval of what it saves lies above 0.

    Raises ``MetricsError`` when a column is missing, ``ParameterError`` for a cost that is not positive.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    absent = [name for name in ("score", "label", group) if name not in comments]
    if absent:
        raise MetricsError(f"comments have no column {', '.join(absent)}, only {', '.join(map(str, comments.columns))}")
    if not ham_cost > 0:
        raise ParameterError(
            f"ham_cost is {ham_cost}; accepted: above 0; 5 says that a blocked ham is as bad as 5 missed"
        )
    seen = comments[comments["label"].notna() & comments["score"].notna()].reset_index(drop=True)
    spam = (seen["label"] == "spam").to_numpy()
    groups = pd.factorize(seen[group], use_na_sentinel=False)[0]
    weights, unseen = _weights(comments["score"], seen["score"])
    reasons = [f"{len(seen)} of {len(comments)} comments have a label: {spam.sum()} spam, {(~spam).sum()} ham"]
    few = min(spam.sum(), (~spam).sum()) < _FEWEST_OF_CLASS or len(set(groups)) < _FEWEST_GROUPS
    if few or unseen > _UNSEEN:
        reasons.append(
            f"{unseen:.0%} of the comments have scores that no labelled comment has; accepted: at most {_UNSEEN:.0%}"
            if not few
            else f"accepted: at least {_FEWEST_OF_CLASS} labels of each class, of {_FEWEST_GROUPS} groups"
        )
        return Repair("wait", np.nan, pd.DataFrame(), pd.DataFrame(), tuple(reasons))

    scores = seen["score"].to_numpy(float)
    called = {name: np.zeros(len(seen), dtype=bool) for name in ("keep", "rethreshold", "retrain")}
    called["keep"] = scores >= threshold
    for past, new in StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(scores, spam, groups):
        called["rethreshold"][new] = scores[new] >= best_threshold(scores[past], spam[past], ham_cost, weights[past])
        called["retrain"][new] = retrain(seen.iloc[past])(seen.iloc[new]) >= threshold
    costs = {name: np.where(spam, ~says, ham_cost * says) * weights for name, says in called.items()}
    options = pd.DataFrame(
        {
            "mistakes": {name: 100 * cost.sum() / weights.sum() for name, cost in costs.items()},
            "ham_blocked": {name: np.average(says[~spam], weights=weights[~spam]) for name, says in called.items()},
            "spam_caught": {name: np.average(says[spam], weights=weights[spam]) for name, says in called.items()},
        }
    )
    gains = pd.DataFrame(columns=["gain", "low", "high"])
    choice = "keep"
    for step in ("rethreshold", "retrain"):
        gain, low, high = _gain(costs[choice] - costs[step], weights, groups, seed)
        gains.loc[f"{step} instead of {choice}"] = gain, low, high
        better = gain >= least_gain and low > 0
        reasons.append(
            f"{step} instead of {choice} saves {gain:.1f} mistakes per 100 comments ({low:.1f} to {high:.1f}): "
            + ("shown and worth it" if better else "not shown" if low <= 0 else f"less than {least_gain:g}")
        )
        choice = step if better else choice
    new = best_threshold(scores, spam, ham_cost, weights) if choice == "rethreshold" else threshold
    return Repair(choice, new, options, gains, tuple(reasons))


def _weights(of_all: pd.Series, of_seen: pd.Series) -> tuple[Floats, float]:
    """Weigh labelled comments so that their scores lie as all scores do, by fifths; and the share none stands for."""
    known = of_all.dropna()
    edges = np.unique(np.quantile(known, np.arange(1, _STRATA) / _STRATA)) if len(known) else np.empty(0)
    everyone = np.bincount(np.searchsorted(edges, known), minlength=len(edges) + 1)
    stratum = np.searchsorted(edges, of_seen)
    labelled = np.bincount(stratum, minlength=len(edges) + 1)
    unseen = everyone[labelled == 0].sum() / max(1, len(of_all)) + of_all.isna().mean()
    return everyone[stratum] / labelled[stratum], float(unseen)


def _gain(saved: Floats, weights: Floats, groups: NDArray[np.int64], seed: int) -> tuple[float, float, float]:
    """Return what is saved per 100 comments with its 95 % interval, from resampled groups."""
    of_group, size = np.bincount(groups, saved), np.bincount(groups, weights)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(size), np.full(len(size), 1 / len(size)), _DRAWS)
    low, high = np.quantile(100 * (drawn @ of_group) / (drawn @ size), [0.025, 0.975])
    return float(100 * saved.sum() / weights.sum()), float(low), float(high)
