"""A domain classifier: can a model tell the current comments from the reference, and by what?

It looks at all columns and words together, and says which of them it goes by. It raises no alarms: two quiet weeks
differ as well (their posts have topics). So compare its AUC with that of a quiet week, and use it to explain an alarm
that a detector with a budget has raised.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops_helpers.errors import MetricsError
from mlops_helpers.observe.drift_distances import Bins
from mlops_helpers.observe.drift_ranking import Ranking

__all__ = ["Domain", "tell_apart"]

_FEWEST = 50
_FEWEST_WITH_WORD = 5


@dataclass(frozen=True)
class Domain:
    """How well two samples can be told apart.

    ``auc`` is the cross-validated ROC-AUC (0.5: not at all, 1: always), ``low`` to ``high`` its 95 % interval with
    authors as groups. ``tells`` lists what the classifier goes by, the strongest first: the share of comments that have
    it ``in_reference`` and ``in_current``, and its ``weight`` (positive: speaks for the current window). With too few
    rows all is NaN, and ``unknown`` says so.
    """

    n_reference: int
    n_current: int
    auc: float = np.nan
    low: float = np.nan
    high: float = np.nan
    tells: pd.DataFrame = field(default_factory=pd.DataFrame)
    unknown: str = ""


def tell_apart(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    columns: Iterable[str] = (),
    *,
    text: str | None = "text",
    author: str = "author_id",
    most: int = 2000,
    folds: int = 5,
    seed: int = 0,
) -> Domain:
    """Cross-validate a logistic regression on the words of ``text`` (None: no words) and the values of ``columns``.

    At most ``most`` rows of each sample are used, drawn by ``seed``, so that the cost is bounded. Comments of one
    ``author`` (where there is such a column) stay on one side of each split: reposts would be recognised, which is not
    telling apart.

    Raises ``MetricsError`` when a column is missing.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    columns = list(columns)
    wanted = [*columns, *([text] if text else [])]
    missing = [name for name in wanted if name not in reference or name not in current]
    if missing or not wanted:
        raise MetricsError(
            f"no column {', '.join(missing)} to tell by; there are {', '.join(map(str, current.columns))}"
        )
    sizes = len(reference), len(current)
    if min(sizes) < _FEWEST:
        return Domain(*sizes, unknown=f"{sizes[0]} and {sizes[1]} rows; at least {_FEWEST} each are needed")
    rng = np.random.default_rng(seed)
    parts = [part.iloc[rng.permutation(len(part))[:most]] for part in (reference, current)]
    both = pd.concat(parts, ignore_index=True)
    is_current = np.arange(len(both)) >= len(parts[0])
    groups = pd.factorize(both[author], use_na_sentinel=False)[0] if author in both else np.arange(len(both))
    matrix, names = _matrix(both, reference, columns, text)
    model = LogisticRegression(C=0.1, class_weight="balanced", solver="liblinear", random_state=0)
    splits = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    found = cross_val_predict(model, matrix, is_current, groups=groups, cv=splits, method="decision_function")
    ranking = Ranking.of(found[is_current], found[~is_current])
    half = 1.96 * ranking.variance_of_groups(groups[is_current], groups[~is_current]) ** 0.5
    weights = model.fit(matrix, is_current).coef_[0]
    tells = _tells(matrix, is_current, names, weights)
    return Domain(*sizes, ranking.auc, max(0.0, ranking.auc - half), min(1.0, ranking.auc + half), tells)


def _matrix(
    both: pd.DataFrame, reference: pd.DataFrame, columns: list[str], text: str | None
) -> tuple[object, list[str]]:
    """Return one 0/1 column per bin of each column and per word, and what each means."""
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import CountVectorizer

    blocks, names = [], []
    for name in columns:
        bins = Bins.of(reference[name])
        places = np.arange(len(both)), bins.codes(both[name])
        blocks.append(csr_matrix((np.ones(len(both)), places), shape=(len(both), len(bins))))
        names += [f"{name}: {label}" for label in bins.names]
    if text:
        words = CountVectorizer(binary=True, min_df=_FEWEST_WITH_WORD)
        try:
            blocks.append(words.fit_transform(both[text].fillna("").astype(str)).astype(float))
            names += [f"word {word!r}" for word in words.get_feature_names_out()]
        except ValueError:  # no word stands in enough comments
            blocks.append(csr_matrix((len(both), 0)))
    return hstack(blocks, format="csr"), names


def _tells(
    matrix: object, is_current: NDArray[np.bool_], names: list[str], weights: NDArray[np.float64]
) -> pd.DataFrame:
    shares = [np.asarray(matrix[rows].mean(axis=0)).ravel() for rows in (~is_current, is_current)]  # type: ignore[index]
    table = pd.DataFrame({"in_reference": shares[0], "in_current": shares[1], "weight": weights}, index=names)
    spread = np.sqrt((shares[0] + shares[1]) / 2)  # a heavy weight of what hardly ever occurs explains little
    return table.iloc[np.argsort(-np.abs(weights) * spread, kind="stable")[:20]]
