"""Gates, release problems, canaries, rollbacks: what they stop, cost and lose. ``build/bench/release.json`` has it."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.evidence import counted
from benchmarks.harness import Figure, report
from benchmarks.releasing import canary, pipeline, problems
from mlops_helpers.model import artifact, data, training

__all__ = ["main"]


def _figures() -> Iterator[Figure]:
    yield from pipeline.pipeline_figures()
    yield from problems.problem_figures()
    comments = data.load("simulated", n_comments=4_000, seed=3)
    with TemporaryDirectory() as scratch:
        exported = artifact.export(training.train(comments.frame, comments.sha256), Path(scratch) / "artifact")
        yield from canary.canary_figures(exported, Path(scratch))
    yield from counted([*pipeline.CLAIMS, *canary.CLAIMS], "tests/deploy")


def main() -> bool:
    """Measure, print, store; return whether every goal holds."""
    return report("release", list(_figures()))
