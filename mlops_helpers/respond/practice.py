"""A place to practise a runbook on: blog, gateway, two versions of the filter, and readers who write comments."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from mlops_helpers.serve.plan import Burst
    from mlops_helpers.serve.traffic import Traffic

__all__ = ["Practice"]

_CAUTIOUS = 1e-6  # a score that nearly every comment has
_SECONDS = 300  # readers who write longer than any runbook takes


class Practice:
    """A platform of this machine with versions ``v1`` (it serves) and ``v2`` (it waits; it would hold nearly all).

    Readers send ``rate`` comments a second, drawn by ``seed``. What stops is not started again: a fault stays until
    a runbook does something about it. A context; or call :meth:`start` and :meth:`stop`.
    """

    def __init__(self, folder: Path, *, seed: int = 0, rate: float = 30.0, n_comments: int = 800) -> None:
        self.folder, self._seed, self._rate, self._n_comments = folder, seed, rate, n_comments
        self._readers: Traffic | None = None

    def start(self) -> Self:
        """Train, start everything and let readers come. Raises as ``deploy.platform.Platform`` does."""
        # who runs a runbook on a service of their own need not wait for what trains models
        from mlops_helpers.deploy.platform import Platform
        from mlops_helpers.model import artifact, data, simulate, training
        from mlops_helpers.serve import plan

        comments = data.load("simulated", n_comments=self._n_comments, seed=self._seed)
        model = training.train(comments.frame, comments.sha256)
        versions = {"v1": model, "v2": dataclasses.replace(model, threshold=_CAUTIOUS)}
        exported = {name: artifact.export(one, self.folder / name) for name, one in versions.items()}
        self.platform = Platform(exported, supervise=False, comments_per_minute=10**6)
        self.platform.up()
        try:
            self.texts = plan.comments_from(simulate.simulate(2000, days=1, seed=self._seed + 1))
            self.send()
        except BaseException:
            self.stop()
            raise
        return self

    def send(self, *campaigns: "Burst") -> None:
        """Let the readers come, with these campaigns on top; instead of those who came."""
        from mlops_helpers.serve import plan
        from mlops_helpers.serve.traffic import Traffic

        if self._readers is not None:
            self._readers.stop()
        arrivals = plan.plan(self.texts, rate=self._rate, seconds=_SECONDS, seed=self._seed, campaigns=campaigns)
        self._readers = Traffic(self.platform.blog, arrivals, self.folder / "readers.jsonl").start()

    def stop(self) -> None:
        """End everything; may be called twice."""
        if self._readers is not None:
            self._readers.stop()
        self.platform.down()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *raised: object) -> None:
        self.stop()
