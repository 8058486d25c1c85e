"""The pipeline: what it costs, that it continues wherever it is killed, that nothing unverified is released."""

import multiprocessing
import os
import shutil
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.evidence import Claim
from benchmarks.harness import Figure
from mlops_helpers.deploy import bundle, release_source, stages
from mlops_helpers.deploy.gates import GATES, Gate, Job, Target
from mlops_helpers.deploy.pipeline import PipelineRun, run
from mlops_helpers.deploy.pipeline_store import Store
from mlops_helpers.deploy.production import PlatformProduction
from mlops_helpers.errors import ArtifactError, PipelineError
from mlops_helpers.observe.policy import ALWAYS, CHANGES

__all__ = ["CLAIMS", "pipeline_figures"]

_ROUNDS = 9
_FORK = multiprocessing.get_context("fork")
CLAIMS = [
    Claim(
        "kills of a pipeline tried, at each stage and around each write to its record",
        "kills after which it did not continue, or released what was not judged",
        ("test_pipeline", "test_pipeline_releases"),
        ("killed",),
        40,
    ),
    Claim(
        "bad stages, sources, bundles and records tried",
        "bad stages, sources, bundles and records without a clear refusal, or with a release",
        ("test_pipeline", "test_pipeline_releases", "test_gates", "test_release_record"),
        ("refused", "tampered", "missing", "changed_record", "is_seen", "not_believed", "cannot", "do_not_mix"),
        60,
    ),
]


class _World:
    def __init__(self, folder: Path) -> None:
        self.source, self.store = release_source.copy(folder / "source"), Store(folder / "store")
        self.production = PlatformProduction(folder / "production")
        self.pipeline = stages.load()

    def run(self, end: str = "deployment", remaining: float = 0.4, gates: dict[str, Gate] | None = None) -> PipelineRun:
        target = Target(self.production, remaining=remaining)
        return run(self.pipeline, self.source, target, store=self.store, end=end, gates=gates or GATES)


def pipeline_figures() -> Iterator[Figure]:
    """Measure a pipeline from a source folder to a platform of processes."""
    with TemporaryDirectory() as scratch:
        killed = _World(Path(scratch) / "killed")
        try:
            yield from _kills(killed)
        finally:
            killed.production.close()
        world = _World(Path(scratch) / "whole")
        try:
            yield from _costs(world)
            yield from _budgets(world)
            yield from _tampering(world)
        finally:
            world.production.close()


def _kills(world: _World) -> Iterator[Figure]:
    """Kill each stage when its gate has done its work and nothing is kept of it; then let the rest be done."""
    names = [stage.name for stage in world.pipeline.stages]
    not_killed, again = [], []
    for place, name in enumerate(names):
        child = _FORK.Process(target=_killed_at, args=(world, name))
        child.start()
        child.join(120)
        if child.exitcode != -signal.SIGKILL:
            not_killed.append(name)
        kept = {entry["stage"] for entry in world.store.record.entries() if entry["event"] == "stage"}
        if kept - set(names[:place]) or (world.production.serving() is not None and name != "production"):
            again.append(name)
    done = world.run()
    serving = world.production.serving()
    wrong = [*not_killed, *again, *([] if done.outcome == "deployed" else [done.outcome])]
    if serving is None or serving.sha256 != done.stages["package"].facts["bundle"]:
        wrong.append("something else is served")
    yield Figure(
        "pipeline: stages that were killed (SIGKILL)", len(names), "count", ">= 12", "each of the real ones once"
    )
    yield Figure(
        "pipeline: kills after which it went wrong", len(wrong), "count", "<= 0", ", ".join(wrong) or "continued"
    )


def _killed_at(world: _World, name: str) -> None:
    def check(job: Job) -> dict[str, object]:
        GATES[name].check(job)
        os.kill(os.getpid(), signal.SIGKILL)
        return {}

    # The real gate's key: what is killed here is what the next run takes up.
    world.run(gates={**GATES, name: replace(GATES[name], check=check)})


def _costs(world: _World) -> Iterator[Figure]:
    began = time.perf_counter()
    world.run()
    yield Figure(
        "pipeline: a new commit to readers", time.perf_counter() - began, "s", "<= 60", "2,000 comments, process"
    )
    world.run()
    seconds = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        world.run()
        seconds.append(time.perf_counter() - began)
    spread = f"{_ROUNDS} rounds, {min(seconds):.3f} to {max(seconds):.3f}"
    yield Figure("pipeline: unchanged, median", statistics.median(seconds), "s", "<= 0.5", spread)


def _budgets(world: _World) -> Iterator[Figure]:
    """Take each kind of change to delivery with a spent and an unknown budget, and with one that is left."""
    path, wrong, tried = world.source / "release.toml", [], 0
    text = path.read_text("utf-8")
    for change in CHANGES:
        path.write_text(text.replace('"feature"', f'"{change}"'), "utf-8")
        for remaining in (-0.3, 0.0, float("nan"), 0.4):
            done = world.run("delivery", remaining)
            passes, tried = remaining > 0 or change in ALWAYS, tried + 1
            if (done.outcome == "ready") != passes or (not passes and f"waits: {change}" not in done.reason):
                wrong.append(f"{change} at {remaining}")
    path.write_text(text, "utf-8")
    yield Figure("error budget: changes tried", tried, "count", ">= 20", "each kind, at four budgets")
    yield Figure("error budget: wrong verdicts", len(wrong), "count", "<= 0", ", ".join(wrong) or "with the reason")


def _tampering(world: _World) -> Iterator[Figure]:
    """Change each file of a bundle by one bit, and lines of the record by one byte."""
    serving = world.production.serving()
    assert serving is not None
    accepted, files = [], [path for path in sorted(serving.folder.rglob("*")) if path.is_file()]
    for path in files:
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]) if whole else b"x")
        with suppress(ArtifactError):
            bundle.load(serving.folder, serving.sha256)
            accepted.append(path.name)
        path.write_bytes(whole)
    record = world.store.record.path
    whole, copy = record.read_bytes(), Path(f"{record}.copy")
    shutil.copyfile(record, copy)
    places = range(0, len(whole) - 1, max(1, len(whole) // 200))
    for place in places:
        record.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with suppress(PipelineError):
            Store(world.store.folder).record.entries()
            accepted.append(f"byte {place} of the record")
    shutil.move(copy, record)
    tried = len(files) + len(places)
    yield Figure("tampering: changes of a bundle or the record tried", tried, "count", ">= 200", "one bit each")
    yield Figure(
        "tampering: changes that were not seen", len(accepted), "count", "<= 0", ", ".join(accepted[:3]) or "all seen"
    )
