"""The format for any other model: the fitted scikit-learn pipeline as a pickle, with the versions that can read it.

Unpickling runs code. So the bytes are opened only when the caller has named the artifact's hash, and only by the
scikit-learn that wrote them.
"""

import pickle
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mlops_helpers.errors import ArtifactError

if TYPE_CHECKING:  # scikit-learn is what a service does not have
    from sklearn.pipeline import Pipeline

__all__ = ["FORMAT", "SklearnScorer", "contents", "read"]

FORMAT = "opslab-sklearn-pickle/1"
_PICKLE = "pipeline.pkl"


class SklearnScorer:
    """Scores with the pipeline itself: exact by definition, slow for one text, much less so for several at once."""

    inline = False

    def __init__(self, pipeline: "Pipeline") -> None:
        self._pipeline = pipeline

    def score(self, text: str) -> float:
        """Return the spam score of a text, 0 to 1."""
        return self.scores([text])[0]

    def scores(self, texts: Sequence[str]) -> list[float]:
        """Return the spam score of each text."""
        return self._pipeline.predict_proba(list(texts))[:, 1].tolist() if texts else []


def contents(pipeline: "Pipeline") -> dict[str, bytes]:
    """Return the files' contents. Raises ``ArtifactError`` for what is no classifier or cannot be pickled."""
    if not hasattr(pipeline, "predict_proba"):
        raise ArtifactError(f"{type(pipeline).__name__} has no predict_proba; accepted: a fitted pipeline that has")
    try:
        return {_PICKLE: pickle.dumps(pipeline, protocol=5)}
    except (pickle.PicklingError, AttributeError, TypeError, RecursionError) as error:
        raise ArtifactError(
            f"the pipeline cannot be pickled: {error}; accepted: steps whose functions and classes can be imported"
        ) from error


def read(manifest: dict[str, Any], content_of: Callable[[str], bytes], trusted: bool) -> SklearnScorer:
    """Return the scorer of an artifact whose hash the caller has named (``trusted``).

    Raises ``ArtifactError`` without that, for another scikit-learn, and when the pickle cannot be opened.
    """
    if not trusted:
        raise ArtifactError(
            f"format {FORMAT} holds a pickle, and opening one runs code: it was not opened. Next: "
            "artifact.load(folder, expected_sha256=HASH) with the hash from the registry, "
            "Registry().get(ALIAS).artifact_sha256"
        )
    written, here = str(manifest["versions"]["scikit-learn"]), _installed()
    if _minor(written) != _minor(here):
        raise ArtifactError(
            f"the pipeline was pickled by scikit-learn {written}, here is {here}; accepted: the same major.minor. "
            f"Next: pip install scikit-learn=={written}, or export the model again"
        )
    content = content_of(_PICKLE)
    try:
        return SklearnScorer(pickle.loads(content))  # noqa: S301 (its hash is the one that the caller trusts)
    except (pickle.UnpicklingError, ImportError, EOFError, IndexError) as error:
        raise ArtifactError(f"the pickled pipeline cannot be opened: {error}. Next: export the model again") from error


def _installed() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("scikit-learn")
    except PackageNotFoundError:
        return "none"


def _minor(number: str) -> str:
    return ".".join(number.split(".")[:2])
