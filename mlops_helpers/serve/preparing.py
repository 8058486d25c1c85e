"""A team's own text utility between a comment and the model, in the process of the filter."""

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from mlops_helpers.errors import ServiceError
from mlops_helpers.model.artifact import Artifact, Scoring

__all__ = ["VARIABLE", "prepared"]

VARIABLE = "OPSLAB_TEXT_UTILITY"
"""The environment variable that names a module with ``clean(text) -> text``; it is found by PYTHONPATH."""


class _Prepared:
    def __init__(self, clean: Callable[[str], str], scorer: Scoring) -> None:
        self._clean, self._scorer = clean, scorer

    def score(self, text: str) -> float:
        return self._scorer.score(self._clean(text))

    def scores(self, texts: Sequence[str]) -> list[float]:
        return self._scorer.scores([self._clean(text) for text in texts])


def prepared(artifact: Artifact) -> Artifact:
    """Return the artifact with its texts cleaned first, if :data:`VARIABLE` is set; else as it is.

    Raises ``ServiceError`` when the utility cannot be imported: to score uncleaned texts would be another model.
    """
    name = os.environ.get(VARIABLE)
    if not name:
        return artifact
    try:
        clean = importlib.import_module(name).clean
    except (ImportError, AttributeError, SyntaxError, UnicodeError, OSError) as error:
        raise ServiceError(
            f"{VARIABLE}={name} cannot be used: {error!r}; accepted: a module with clean(text). "
            "Next: ship it, and all that it imports, with the service"
        ) from error
    return replace(artifact, scorer=_Prepared(clean, artifact.scorer))
