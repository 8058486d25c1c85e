"""A place to practise a runbook on: blog, gateway, two versions of the filter, and readers who write comments."""

from pathlib import Path
from typing import Any, Self

from mlops_helpers.deploy.platform import Platform
from mlops_helpers.model import artifact, data, simulate, training
from mlops_helpers.serve import plan, traffic

__all__ = ["Practice"]

_SECONDS = 300  # readers who write longer than any runbook takes


class Practice:
    """A platform of this machine with versions ``v1`` (it serves) and ``v2`` (it waits), one model in both.

    Readers send ``rate`` comments a second, drawn by ``seed``. What stops is not started again: a fault stays until
    a runbook does something about it. A context; or call :meth:`start` and :meth:`stop`.
    """

    def __init__(self, folder: Path, *, seed: int = 0, rate: float = 30.0, n_comments: int = 800) -> None:
        self.folder, self._seed, self._rate, self._n_comments = folder, seed, rate, n_comments
        self._readers: traffic.Traffic | None = None

    def start(self) -> Self:
        """Train, start everything and let readers come. Raises as :class:`Platform` does."""
        comments = data.load("simulated", n_comments=self._n_comments, seed=self._seed)
        model = artifact.export(training.train(comments.frame, comments.sha256), self.folder / "artifact")
        self.platform = Platform({"v1": model, "v2": model}, supervise=False, comments_per_minute=10**6)
        self.platform.up()
        try:
            texts = plan.comments_from(simulate.simulate(2000, days=1, seed=self._seed + 1))
            self.send(plan.plan(texts, rate=self._rate, seconds=_SECONDS, seed=self._seed))
        except BaseException:
            self.stop()
            raise
        return self

    def send(self, arrivals: Any) -> None:
        """Let readers come as this plan says, instead of those that came."""
        if self._readers is not None:
            self._readers.stop()
        self._readers = traffic.Traffic(self.platform.blog, arrivals, self.folder / "readers.jsonl").start()

    def stop(self) -> None:
        """End everything; may be called twice."""
        if self._readers is not None:
            self._readers.stop()
        self.platform.down()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *raised: object) -> None:
        self.stop()
