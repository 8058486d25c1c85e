"""Runs a pipeline: stage after stage, as far as the gates let it, and continues where a killed run was.

>>> stages.load()                                      # the pipeline that ships
>>> run(stages.load(), source, Target(production), store=Store(folder), end="deployment")
"""

import hashlib
import inspect
import json
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache, lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlops_helpers
from mlops_helpers.deploy.gates import GATES, Gate, Job, Target
from mlops_helpers.deploy.pipeline_store import StageResult, Store, hashes, refuse_overlap
from mlops_helpers.deploy.stages import Pipeline, Stage
from mlops_helpers.errors import GateRefused, PipelineError

__all__ = ["PipelineRun", "run"]


@dataclass(frozen=True)
class PipelineRun:
    """How far a source came: ``deployed``, ``ready`` (all that its end asks for) or ``blocked`` by a stage, and why.

    ``release`` is its name in the record, ``stages`` has the result of each stage that was asked, in order.
    """

    release: str
    outcome: str
    stopped_by: str
    reason: str
    stages: Mapping[str, StageResult] = field(repr=False)

    @property
    def bundle(self) -> Path:
        """The folder of the bundle, if it came that far. Raises ``PipelineError`` otherwise."""
        if "package" not in self.stages or self.stages["package"].verdict != "passed":
            raise PipelineError(
                f"{self.release} has no bundle: it was {self.outcome} by {self.stopped_by or 'its end'}"
            )
        return self.stages["package"].output

    def __str__(self) -> str:
        lines = [f"{self.release}: {self.outcome}" + (f" by {self.stopped_by}" if self.stopped_by else "")]
        for one in self.stages.values():
            took = "not run again" if one.reused else f"{one.seconds:.1f} s"
            lines.append(f"  {one.name:<16} {one.verdict:<8} {took}")
        return "\n".join([*lines, self.reason] if self.reason else lines)


def run(
    pipeline: Pipeline,
    source: Path,
    target: Target | None = None,
    *,
    store: Store,
    end: str = "deployment",
    gates: Mapping[str, Gate] = GATES,
    say: Callable[[str], None] = lambda text: None,
) -> PipelineRun:
    """Take a source folder through a pipeline to one of its ends, and record every step.

    A stage that passed before with the same files, needed results, settings, code and target is not run again. A run
    that was killed goes on under the same name, and so does one that ended ``ready`` when it is taken to a later end.
    ``say`` is told of each stage when it begins and when it ends.

    Raises ``ParameterError`` when the store's folder holds the source or lies in it; ``PipelineError`` for an unknown
    gate, end or missing file, or when another run is under way in the store;
    ``TamperedArtifactError`` when a result that would be reused was changed; and what a gate raises that is no verdict.
    """
    stages, target, source = pipeline.until(end), target or Target(), Path(source)
    _refuse(stages, source, target, gates)
    refuse_overlap(source, store.folder)
    with store.one_run():
        target = replace(target, champion=target.serving())  # one and the same for all stages
        release, identity = _identify(store, source)
        known = {entry["event"] for entry in store.record.entries() if entry["release"] == release}
        if not known:
            store.record.append("started", release, source=identity, end=end)
        done: dict[str, StageResult] = {}
        for stage in stages:
            say(f"{stage.name} ...")
            result = _stage(stage, gates[stage.gate], source, target, store, done, release)
            done[stage.name] = result
            say(f"{stage.name} {result.verdict}{', not run again' if result.reused else ''}")
            if result.verdict == "refused":
                store.record.append("blocked", release, stage=stage.name, reason=result.reason)
                return PipelineRun(release, "blocked", stage.name, result.reason, done)
        last = done[stages[-1].name]
        if stages[-1].gate != "production":
            store.record.append("ready", release, end=end)
            return PipelineRun(release, "ready", "", "", done)
        if "deployed" not in known:
            store.record.append("deployed", release, **last.facts)
        return PipelineRun(release, "deployed", "", "", done)


def _stage(
    stage: Stage, gate: Gate, source: Path, target: Target, store: Store, done: Mapping[str, StageResult], release: str
) -> StageResult:
    """Return how a stage ends: as it did before if nothing has changed, else by asking its gate; and record it."""
    seen = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in _seen(stage, source).items()}
    key = _key(stage, gate, seen, target, done)
    found = None if gate.always else store.find(stage.name, key)
    if found is None:
        with store.workplace() as place, (place / "log.txt").open("w", encoding="utf-8") as log:
            inputs, scratch = place / "source", place / "scratch"
            _copy(stage, source, inputs)
            if hashes(inputs) != seen:
                raise PipelineError(f"{source} was changed while stage {stage.name} read it. Next: run again")
            scratch.mkdir()

            def write(text: str) -> None:
                print(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {text}", file=log, flush=True)

            began = time.perf_counter()
            job = Job(
                inputs,
                place / "output",
                scratch,
                {name: done[name].output for name in stage.needs},
                {name: done[name].facts for name in stage.needs},
                stage.settings,
                target,
                write,
                partial(store.record.append, release=release),
            )
            facts: dict[str, Any] = {}
            reason = ""
            try:
                facts = dict(gate.check(job))
            except GateRefused as refusal:
                reason = str(refusal)
                write(f"refused: {reason}")
            shutil.rmtree(inputs)
            shutil.rmtree(scratch)
            result = {
                "name": stage.name,
                "key": key,
                "inputs": seen | {f"{name}/": done[name].sha256 for name in stage.needs},
                "verdict": "refused" if reason else "passed",
                "reason": reason,
                "seconds": round(time.perf_counter() - began, 3),
                "facts": facts,
            }
            found = store.keep(place, result)
    _record(store, found, release)
    return found


def _record(store: Store, result: StageResult, release: str) -> None:
    """Write a stage of a release to the record, once: from then on its result is believed."""
    entry = {"stage": result.name, "key": result.key, "verdict": result.verdict, "seal": store.seal(result.folder)}
    recorded = [one for one in store.record.entries() if one["release"] == release and one["event"] == "stage"]
    if not (result.reused and any(entry.items() <= one.items() for one in recorded)):
        more = {"seconds": result.seconds, "reused": result.reused, "facts": dict(result.facts)}
        store.record.append("stage", release, **entry, **more)


def _identify(store: Store, source: Path) -> tuple[str, str]:
    """Return the release's name and the hash of its source.

    It goes on with the last release if that is of the same source and nobody had to step in since.
    """
    files = {name: digest for name, digest in hashes(source).items() if "__pycache__" not in name}
    identity = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    entries = store.record.entries()
    started = [entry for entry in entries if entry["event"] == "started"]
    if started and started[-1]["source"] == identity:
        name = str(started[-1]["release"])
        if not any(one["release"] == name and one["event"] in ("failed", "rolled_back") for one in entries):
            return name, identity
    return f"release-{len(started) + 1}", identity


def _seen(stage: Stage, source: Path) -> dict[str, Path]:
    """Return the files of a source that a stage declares, by name; what it cannot see cannot decide anything."""
    found: dict[str, Path] = {}
    for pattern in stage.files:
        named = [source / pattern] if "*" not in pattern else sorted(source.glob(pattern))
        for path in named:
            if not path.exists():
                raise PipelineError(
                    f"stage {stage.name} takes {pattern}, which {source} does not have. "
                    "Next: add it, or remove it from the files of that stage"
                )
            inside = path.rglob("*") if path.is_dir() else [path]
            found |= {one.relative_to(source).as_posix(): one for one in inside if one.is_file()}
    return {name: path for name, path in found.items() if "__pycache__" not in path.parts}


def _copy(stage: Stage, source: Path, into: Path) -> None:
    into.mkdir()
    for name, path in _seen(stage, source).items():
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, into / name)


def _key(stage: Stage, gate: Gate, seen: Mapping[str, str], target: Target, done: Mapping[str, StageResult]) -> str:
    """Return the hash of all that decides a stage's result."""
    decides = {
        "gate": stage.gate,
        "code": _code_of(gate.check),
        "files": dict(seen),
        "needs": {name: done[name].sha256 for name in stage.needs},
        "facts": {name: dict(done[name].facts) for name in stage.needs},
        "settings": dict(stage.settings),
        "target": gate.depends(target),
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


_source = lru_cache(64)(inspect.getsource)


def _code_of(check: Callable[..., object]) -> str:
    """Return what stands for a gate's code: all of this package, or its own source."""
    return _this_package() if check.__module__.startswith("mlops_helpers.") else _source(check)


@cache
def _this_package() -> str:
    """Return the hash of this package and of what it computes with: other code may judge otherwise."""
    folder = Path(mlops_helpers.__file__).parent
    parts = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.py"))]
    parts += [f"{name} {version(name)}" for name in ("numpy", "pandas", "scipy", "scikit-learn")]
    return hashlib.sha256("\n".join([platform.python_version(), *parts]).encode()).hexdigest()


def _refuse(stages: tuple[Stage, ...], source: Path, target: Target, gates: Mapping[str, Gate]) -> None:
    if unknown := [f"{stage.name} has gate {stage.gate!r}" for stage in stages if stage.gate not in gates]:
        raise PipelineError(f"unknown gates: {', '.join(unknown)}; there are: {', '.join(gates)}")
    if not source.is_dir():
        raise PipelineError(f"{source} is no folder. Next: release_source.copy(FOLDER) makes one to begin with")
    if target.production is None and any(stage.gate == "production" for stage in stages):
        raise PipelineError(
            "this end needs a production to release into. Next: Target(production=...), or end='delivery'"
        )
