"""The format of linear text models: vocabularies and two numbers a term. Data only: no pickle, no code.

::

    terms.json      the vocabularies, one list a block, in the order of the weights
    weights.f64     little-endian float64: for each block all squares (idf**2), then all products (idf * coefficient)

Reading it needs the standard library alone.
"""

import json
import math
import sys
from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlops_helpers.errors import ArtifactError
from mlops_helpers.model.scorer import ANALYZERS, Scorer

if TYPE_CHECKING:  # scikit-learn is what a service does not have
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import Pipeline

__all__ = ["FORMAT", "read", "tables"]

FORMAT = "opslab-linear-text/2"
LONGEST_NGRAM = 16  # longer ones would make the time of scoring explode
LARGEST_WEIGHT = 1e100  # beyond it squares and sums could overflow
_TERMS, _WEIGHTS = "terms.json", "weights.f64"


def tables(pipeline: "Pipeline") -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return what the manifest says of a fitted pipeline, and the files' contents; the same model, the same bytes.

    Raises ``ArtifactError`` naming what the format cannot express.
    """
    steps = dict(getattr(pipeline, "steps", ()))
    try:
        if list(steps) != ["tfidf", "model"]:
            raise KeyError("tfidf and model are wanted")
        transformers, regression = steps["tfidf"].transformer_list, steps["model"]
        coefficients, intercept = regression.coef_[0], float(regression.intercept_[0])
        if coefficients.shape != (sum(len(vectorizer.vocabulary_) for _, vectorizer in transformers),):
            raise ValueError(f"{coefficients.shape} coefficients")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"the pipeline's steps are {list(steps)}: {error}; accepted: a fitted pipeline as "
            "training.make_pipeline() gives it"
        ) from error
    blocks, terms, weights, at = [], [], bytearray(), 0
    for name, vectorizer in transformers:
        block = _block(name, vectorizer)
        blocks.append(block)
        terms.append(vectorizer.get_feature_names_out().tolist())
        idf = vectorizer.idf_
        weights += (idf * idf).astype("<f8").tobytes()
        weights += (idf * coefficients[at : at + block["terms"]]).astype("<f8").tobytes()
        at += block["terms"]
    contents = {_TERMS: json.dumps(terms, separators=(",", ":")).encode(), _WEIGHTS: bytes(weights)}
    return {"intercept": intercept, "blocks": blocks}, contents


def _block(name: str, vectorizer: "TfidfVectorizer") -> dict[str, Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    if type(vectorizer) is not TfidfVectorizer:
        raise ArtifactError(f"block {name!r} is a {type(vectorizer).__name__}; {FORMAT} holds TfidfVectorizer only")
    settings, defaults = vectorizer.get_params(), TfidfVectorizer().get_params()
    free = {"analyzer", "ngram_range", "sublinear_tf", "min_df", "max_df", "max_features", "dtype"}
    odd = sorted(key for key, value in settings.items() if key not in free and value != defaults[key])
    if odd or settings["analyzer"] not in ANALYZERS:
        found = ", ".join(f"{key}={settings[key]!r}" for key in odd or ["analyzer"])
        raise ArtifactError(
            f"block {name!r} has {found}, which {FORMAT} cannot express; accepted: analyzer word or char_wb, any "
            "ngram_range, sublinear_tf, min_df, max_df, max_features, everything else as by default"
        )
    return {
        "name": name,
        "analyzer": settings["analyzer"],
        "ngrams": list(settings["ngram_range"]),
        "sublinear_tf": bool(settings["sublinear_tf"]),
        "terms": len(vectorizer.vocabulary_),
    }


def read(manifest: dict[str, Any], content_of: Callable[[str], bytes]) -> Scorer:
    """Return the scorer of an artifact. Raises ``ValueError`` and its like for values that no export writes."""
    weights = array("d")
    weights.frombytes(content_of(_WEIGHTS))
    if sys.byteorder == "big":
        weights.byteswap()
    terms = json.loads(content_of(_TERMS))
    _check(manifest, terms, weights)
    return Scorer(manifest, terms, weights)


def _check(manifest: dict[str, Any], terms: list[list[str]], weights: array) -> None:
    """Raise ``ValueError`` for values with which scoring would fail, never end, or let everything pass."""
    lengths = [len(names) for names in terms]
    if lengths != [block["terms"] for block in manifest["blocks"]] or len(weights) != 2 * sum(lengths):
        raise ValueError("terms, weights and manifest are not of one length")
    at = 0
    for block, names in zip(manifest["blocks"], terms, strict=True):
        low, high = block["ngrams"]
        if not (type(low) is type(high) is int and 1 <= low <= high <= LONGEST_NGRAM):
            raise ValueError(f"ngrams {block['ngrams']}; accepted: two whole numbers from 1 to {LONGEST_NGRAM}")
        if not (isinstance(names, list) and set(map(type, names)) <= {str}):
            raise ValueError("terms are not texts")
        if type(block["sublinear_tf"]) is not bool or block["analyzer"] not in ANALYZERS:
            raise ValueError(f"block {block}; accepted: sublinear_tf true or false, analyzer {' or '.join(ANALYZERS)}")
        middle, end = at + len(names), at + 2 * len(names)
        squares, products = weights[at:middle], weights[middle:end]
        if not (sum(squares) < LARGEST_WEIGHT and sum(map(abs, products)) < LARGEST_WEIGHT):  # false for NaN, too
            raise ValueError("weights are not all finite")
        if min(squares, default=1.0) <= 0:
            raise ValueError("squares are not all positive")
        at = end
    if not math.isfinite(manifest["intercept"]):
        raise ValueError("the intercept is not finite")
