"""Which model answers: one reference, swapped whole; and scikit-learn's pipelines, scored in batches of what waits."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mlops_helpers.model.artifact import Artifact

__all__ = ["Batcher", "ServedModel"]

_INLINE_AT_ONCE = 16  # texts between two turns of the event loop: a batch must not stall single requests
_MAX_BATCH = 256


class Batcher:
    """Scores texts in a thread, all that wait at once; nothing waits for others to come.

    A call of scikit-learn costs much and little more for many texts: while one runs, the next batch gathers. A timer
    would make a single request wait for company that may not come.
    """

    def __init__(self, score: Callable[[Sequence[str]], list[float]]) -> None:
        self._score = score
        self._waiting: list[tuple[str, asyncio.Future[float]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def scores(self, texts: Sequence[str]) -> list[float]:
        """Return the score of each text; raises what the pipeline raises."""
        loop = asyncio.get_running_loop()
        mine = [(text, loop.create_future()) for text in texts]
        self._waiting += mine
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        return await asyncio.gather(*(future for _, future in mine))

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
                batch = [(text, future) for text, future in batch if not future.done()]
                try:
                    scores = await asyncio.to_thread(self._score, [text for text, _ in batch])
                except Exception as error:  # noqa: BLE001 (whatever it is, those who wait must learn it)
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(error)
                else:
                    for (_, future), score in zip(batch, scores, strict=True):
                        if not future.done():
                            future.set_result(score)
        finally:
            self._worker = None


@dataclass(frozen=True)
class ServedModel:
    """A model under the name that it serves by, such as ``v1``: everything that an answer depends on, in one object."""

    version: str
    artifact: Artifact
    batcher: Batcher | None
    since: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @classmethod
    def of(cls, version: str, artifact: Artifact) -> "ServedModel":
        """Return the model, ready to score: in the event loop where that is cheap, else through a :class:`Batcher`."""
        return cls(version, artifact, None if artifact.scorer.inline else Batcher(artifact.scorer.scores))

    async def scores(self, texts: Sequence[str]) -> list[float]:
        """Return the spam score (0 to 1) of each text."""
        if self.batcher is not None:
            return await self.batcher.scores(texts)
        score = self.artifact.scorer.score
        scores: list[float] = []
        for start in range(0, len(texts), _INLINE_AT_ONCE):
            if start:
                await asyncio.sleep(0)
            scores += map(score, texts[start : start + _INLINE_AT_ONCE])
        return scores
