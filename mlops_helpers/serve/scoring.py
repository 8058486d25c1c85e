"""Which model answers: one reference, swapped whole."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mlops_helpers.model.artifact import Artifact

__all__ = ["ServedModel"]

_INLINE_AT_ONCE = 16  # texts between two turns of the event loop: a batch must not stall single requests


@dataclass(frozen=True)
class ServedModel:
    """A model under the name that it serves by, such as ``v1``: everything that an answer depends on, in one object."""

    version: str
    artifact: Artifact
    since: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @classmethod
    def of(cls, version: str, artifact: Artifact) -> "ServedModel":
        """Return the model under this name."""
        return cls(version, artifact)

    async def scores(self, texts: Sequence[str]) -> list[float]:
        """Return the spam score (0 to 1) of each text."""
        score = self.artifact.scorer.score
        scores: list[float] = []
        for start in range(0, len(texts), _INLINE_AT_ONCE):
            if start:
                await asyncio.sleep(0)
            scores += map(score, texts[start : start + _INLINE_AT_ONCE])
        return scores
