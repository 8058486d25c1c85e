"""A class graded on a Dask cluster: two workers against one."""

import hashlib
import os
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat

from benchmarks.harness import Figure, interleaved
from benchmarks.marking.speed import LAB, solved
from mlops_helpers.teach import labs
from mlops_helpers.teach.grading_dask import DaskGraders
from mlops_helpers.teach.grading_store import Job
from mlops_helpers.teach.grading_worker import Recipe

__all__ = ["cluster_figures"]

SUBMISSIONS = 24
ROUNDS = 9


def _jobs(folder: Path) -> list[Job]:
    notebook = solved(labs.load(LAB))
    jobs = []
    for number in range(SUBMISSIONS):
        path = folder / f"student-{number:02}.ipynb"
        nbformat.write(notebook, path)
        jobs.append(Job(path.stem, path, "", hashlib.sha256(path.read_bytes()).hexdigest()))
    return jobs


def cluster_figures() -> Iterator[Figure]:
    """Measure how much faster two workers are, their graders warm."""
    from distributed import LocalCluster

    lab = labs.load(LAB)

    def cluster(workers: int) -> LocalCluster:
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address="127.0.0.1:0",
            host="127.0.0.1",
            scheduler_port=0,
        )

    with TemporaryDirectory(prefix="opslab-bench-") as scratch, cluster(1) as one, cluster(2) as two:
        jobs, recipe = _jobs(Path(scratch)), Recipe(lab.name, lab.folder)
        with DaskGraders(recipe, one.scheduler_address) as alone, DaskGraders(recipe, two.scheduler_address) as pair:

            def call(graders: DaskGraders) -> Callable[[], None]:
                def grade() -> None:
                    results = [result for _, result in graders.graded(jobs)]
                    if any(not result.points or result.earned != result.points for result in results):
                        raise RuntimeError("a class of right answers did not get all points")

                return grade

            seconds = interleaved({"one": call(alone), "two": call(pair)}, ROUNDS, warm_up=1)
    gains = [slow / fast for slow, fast in zip(seconds["one"], seconds["two"], strict=True)]
    conditions = (
        f"{SUBMISSIONS} right answers of lab {LAB}, warm; {ROUNDS} rounds, {min(gains):.3g} to {max(gains):.3g}; "
        f"medians {statistics.median(seconds['one']):.1f} s and {statistics.median(seconds['two']):.1f} s; "
        f"{os.cpu_count()} processors"
    )
    yield Figure(
        "two Dask workers over one: submissions in the same time",
        statistics.median(gains),
        "ratio",
        ">= 1.7",
        conditions,
    )
