"""The ten release problems: stopped by their gate, by no other, passing once repaired; and what they do to readers."""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from benchmarks.harness import Figure
from mlops_helpers.deploy import bundle as bundles
from mlops_helpers.deploy import problems, release_source, stages
from mlops_helpers.deploy.bundle import Bundle
from mlops_helpers.deploy.bundle_image import remove_bundle_images
from mlops_helpers.deploy.gates import Target
from mlops_helpers.deploy.pipeline import run
from mlops_helpers.deploy.pipeline_store import Store
from mlops_helpers.deploy.problems import Problem
from mlops_helpers.deploy.problems_harm import earlier, readers, served, unguarded
from mlops_helpers.deploy.production import PlatformProduction
from mlops_helpers.deploy.rollback import silent
from mlops_helpers.serve import sli

__all__ = ["problem_figures"]

_LEAST_HARM = 10.0  # points of an SLI
_ON_DOCKER = ("missing_dependency", "library_version", "memory")
_STAGED = ("smoke", "load")  # the gates that run the release, and so are tried on Docker as well


def problem_figures() -> Iterator[Figure]:
    """Take each problem through the pipeline, whole, without its gate, and repaired; then release it with no gate."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        bench = _Bench(folder)
        yield from bench.gates()
        yield from bench.harm("process", list(bench.problems.values()))
        try:
            yield from bench.gates_on_docker()
            yield from bench.harm("docker", [bench.problems[name] for name in _ON_DOCKER])
        finally:
            remove_bundle_images()


class _Bench:
    """A store, the release that serves, and the good one that comes next."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store, self.pipeline = folder, Store(folder / "store"), stages.load()
        self.problems = problems.load()
        self.champion = self._made(earlier(folder / "earlier"))
        self.target = Target(champion=self.champion, remaining=0.5)

    def gates(self) -> Iterator[Figure]:
        """Count what gates say of broken and of repaired releases; repaired ones are released for good."""
        wrong, others, unrepaired = [], [], []
        with PlatformProduction(self.folder / "production") as production:
            production.release(self.champion, silent)
            for problem in self.problems.values():
                source = self._broken(problem)
                stopped = run(self.pipeline, source, self.target, store=self.store, end="delivery")
                if stopped.stopped_by != problem.stopped_by:
                    wrong.append(f"{problem.name}: {stopped.stopped_by or stopped.outcome}")
                rest = self.pipeline.without(problem.stopped_by)
                passed = run(rest, source, self.target, store=self.store, end="delivery")
                if passed.outcome != "ready":
                    others.append(f"{problem.name}: {passed.stopped_by}")
                problem.repair_source(source)
                repaired = run(self.pipeline, source, Target(production, remaining=0.5), store=self.store)
                serving = production.serving()
                if repaired.outcome != "deployed" or serving is None or serving.sha256 == self.champion.sha256:
                    unrepaired.append(f"{problem.name}: {repaired.stopped_by or 'not served'}")
                production.roll_back()  # so that the next one is a release as well
        n = len(self.problems)
        yield _count("release problems stopped by their gate", n - len(wrong), f">= {n}", wrong)
        yield _count("release problems that another gate stops when theirs is off", len(others), "<= 0", others)
        yield _count("repaired releases that are not deployed", len(unrepaired), "<= 0", unrepaired)

    def gates_on_docker(self) -> Iterator[Figure]:
        """Count what the gates that run a release say of it in containers."""
        staged = [one for one in self.problems.values() if one.stopped_by in _STAGED]
        target = Target(champion=self.champion, remaining=0.5, runtime="docker")
        wrong = []
        for problem in staged:
            stopped = run(self.pipeline, self._broken(problem), target, store=self.store, end="delivery")
            if stopped.stopped_by != problem.stopped_by:
                wrong.append(f"{problem.name}: {stopped.stopped_by or stopped.outcome}")
        stopped_there = len(staged) - len(wrong)
        yield _count("docker: problems of staging stopped by their gate", stopped_there, f">= {len(staged)}", wrong)

    def harm(self, runtime: str, chosen: list[Problem]) -> Iterator[Figure]:
        """Measure how many points of its SLI each problem costs readers, against the good release, no gate asked."""
        arrivals, best = readers(), {}
        good = self._made(release_source.copy(self.folder / f"good-{runtime}"))

        def record(bundle: Bundle, taken_back: bool) -> pd.DataFrame:
            with TemporaryDirectory(dir=self.folder) as place:
                return served(self.champion, bundle, arrivals, Path(place), runtime=runtime, taken_back=taken_back)

        for problem in chosen:
            back = problem.taken_back
            if back not in best:
                best[back] = record(good, back)
            worst = record(self._made(self._broken(problem)), back)
            shares = [getattr(sli, problem.hurts)(frame) for frame in (best[back], worst)]
            ratios = [0.0 if math.isnan(share.ratio) else share.ratio for share in shares]
            yield Figure(
                f"{runtime}: {problem.title}, all gates off: {problem.hurts} lost",
                100 * (ratios[0] - ratios[1]),
                "points",
                f">= {_LEAST_HARM:g}",
                f"{shares[0].good} of {shares[0].total} when good, {shares[1].good} of {shares[1].total} when broken",
            )

    def _broken(self, problem: Problem) -> Path:
        source = self.folder / problem.name
        shutil.rmtree(source, ignore_errors=True)
        problem.break_source(release_source.copy(source))
        return source

    def _made(self, source: Path) -> Bundle:
        made = run(unguarded(self.pipeline), source, Target(), store=self.store, end="package")
        return bundles.load(made.bundle)


def _count(what: str, value: int, goal: str, named: list[str]) -> Figure:
    return Figure(what, float(value), "count", goal, "; ".join(named) or "each was tried")
