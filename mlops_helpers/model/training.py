"""The spam model: how comments are split, which pipeline is fitted, and what identifies the result."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupShuffleSplit, train_test_split
from sklearn.pipeline import FeatureUnion, Pipeline
from threadpoolctl import threadpool_limits

from mlops_helpers.errors import DataError, ParameterError
from mlops_helpers.model.provenance import code_version
from mlops_helpers.model.text import duplicate_key

__all__ = [
    "SMS_PAPER_TRAIN_ROWS",
    "TrainedModel",
    "make_pipeline",
    "near_duplicate_groups",
    "split_at_row",
    "split_at_time",
    "split_random",
    "train",
]

SMS_PAPER_TRAIN_ROWS = 1674
"""The SMS paper's split: the first 1,674 rows train, the last 3,900 test (Almeida et al., DocEng 2011)."""


def make_pipeline(c: float = 10.0) -> Pipeline:
    """Return the unfitted pipeline: TF-IDF of words (1-2) and of characters within words (3-5), logistic regression.

    ``c`` is the inverse strength of the L2 penalty.
    """
    return Pipeline(
        [
            (
                "tfidf",
                FeatureUnion(
                    [
                        ("word", TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)),
                        ("char", TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)),
                    ]
                ),
            ),
            ("model", LogisticRegression(C=c, class_weight="balanced", solver="liblinear", random_state=0)),
        ]
    )


def near_duplicate_groups(texts: pd.Series, similarity: float = 0.8) -> np.ndarray:
    """Return a group number for each text, so that near-duplicates share one.

    Two texts are near-duplicates when the cosine of their character-trigram counts, taken after
    :func:`~mlops_helpers.model.text.duplicate_key`, is at least ``similarity`` (0 to 1]; groups are the connected
    components of that relation. Time grows with the square of the number of texts: meant for some 20,000.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.preprocessing import normalize

    if not 0 < similarity <= 1:
        raise ParameterError(f"similarity is {similarity}; accepted: above 0, at most 1, for example 0.8")
    keys, key_of_text = np.unique(duplicate_key(texts).to_numpy(dtype=str), return_inverse=True)
    padded = [f"  {key}  " for key in keys]  # so that the shortest key has a trigram
    n = len(keys)
    groups = np.arange(n)
    if n > 1:
        vectors = normalize(CountVectorizer(analyzer="char", ngram_range=(3, 3), lowercase=False).fit_transform(padded))
        for start in range(0, n, 500):  # a chunk at a time: all pairs of a large campaign would not fit into memory
            alike = (vectors[start : start + 500] @ vectors.T).tocoo()
            close = alike.data >= similarity - 1e-9
            pairs = (np.append(alike.row[close] + start, np.arange(n)), np.append(alike.col[close], groups))
            groups = connected_components(coo_array((np.ones(len(pairs[0])), pairs), shape=(n, n)), directed=False)[1]
            groups = np.unique(groups, return_index=True)[1][groups]  # a group is named by its first member
    return groups[key_of_text]


Split = tuple[pd.DataFrame, pd.DataFrame]


def split_random(frame: pd.DataFrame, test_share: float = 0.3, seed: int = 0, *, keep_apart: bool = True) -> Split:
    """Split comments at random into train and test.

    With ``keep_apart`` (the honest default) near-duplicates stay on one side, and the share of test comments is met on
    average only; without it the split is stratified by class, as in published results.

    Raises ``DataError`` when a side would hold one class only.
    """
    if keep_apart:
        groups = near_duplicate_groups(frame["text"])
        splitter = GroupShuffleSplit(n_splits=1, test_size=test_share, random_state=seed)
        train_rows, test_rows = next(splitter.split(frame, groups=groups))
    else:
        rows = np.arange(len(frame))
        train_rows, test_rows = train_test_split(rows, test_size=test_share, random_state=seed, stratify=frame["label"])
    return _both_classes(frame.iloc[train_rows], frame.iloc[test_rows])


def split_at_time(frame: pd.DataFrame, at: str) -> Split:
    """Split dated comments: train before the instant ``at`` (ISO 8601, UTC), test from then on, none undated."""
    dated = frame[frame["created_at"].notna()].sort_values("created_at", kind="stable")
    early = dated["created_at"] < pd.Timestamp(at, tz="UTC")
    return _both_classes(dated[early], dated[~early])


def split_at_row(frame: pd.DataFrame, row: int = SMS_PAPER_TRAIN_ROWS) -> Split:
    """Split by the position in the source: rows before ``row`` train, the others test."""
    ordered = frame.sort_values("row")
    return _both_classes(ordered[ordered["row"] < row], ordered[ordered["row"] >= row])


def _both_classes(train: pd.DataFrame, test: pd.DataFrame) -> Split:
    for side, part in (("train", train), ("test", test)):
        counts = part["label"].value_counts()
        if len(counts) < 2:
            found = ", ".join(f"{n} of class {label}" for label, n in counts.items()) or "no comments"
            raise DataError(f"the {side} side holds {found}; both sides need spam and ham: choose another split")
    return train, test


@dataclass(frozen=True)
class TrainedModel:
    """A fitted pipeline with its threshold and what it was made from.

    A comment is called spam when ``predict_proba`` of class 1 is at least ``threshold``.
    """

    pipeline: Pipeline
    threshold: float
    data_sha256: str
    code_version: str = field(default_factory=code_version)
    hyperparameters: dict[str, float] = field(default_factory=dict)

    def scores(self, texts: pd.Series) -> np.ndarray:
        """Return the spam score (0 to 1) of each text; shape (n,)."""
        return self.pipeline.predict_proba(texts)[:, 1]


def train(frame: pd.DataFrame, data_sha256: str, *, threshold: float = 0.5, c: float = 10.0) -> TrainedModel:
    """Fit :func:`make_pipeline` on clean comments.

    ``data_sha256`` is ``data.content_hash`` of the comments that are fitted, ``threshold`` a score (0 to 1). The fit
    runs in one thread: the order in which a sum is formed decides its last bit, and so the artifact's hash. (Another
    kind of processor may still differ in that bit.)

    Raises ``DataError`` when a class is missing.
    """
    if not 0 < threshold < 1:
        raise ParameterError(f"threshold is {threshold}; accepted: between 0 and 1, for example 0.5")
    if frame["label"].nunique() < 2:
        raise DataError(f"{len(frame)} comments of {frame['label'].nunique()} class(es); training needs spam and ham")
    with threadpool_limits(1):
        pipeline = make_pipeline(c).fit(frame["text"], frame["label"])
    return TrainedModel(pipeline, threshold, data_sha256, hyperparameters={"c": c})
