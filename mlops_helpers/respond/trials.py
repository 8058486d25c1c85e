"""Whether scenarios hold what they promise: each with its responders and with nobody, several drills at once.

A process of its own runs them one after the other (``python -m mlops_helpers.respond.trials``): see ``SideProcess``.
"""

import json
import random
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlops_helpers.errors import ServiceError
from mlops_helpers.respond.responders import NOTHING
from mlops_helpers.respond.scenario import Scenario, load, names
from mlops_helpers.respond.side_process import SideProcess

__all__ = ["TRIES", "Job", "Trial", "few", "jobs", "some", "trials"]

TRIES = 3  # of a drill that was void: the machine was too busy
_END_SECONDS, _HURRY_SECONDS = 60.0, 2.0


@dataclass(frozen=True)
class Job:
    """A drill that is to come: a scenario (id or file), a responder or a ``fix`` by name, and the outcome it should
    have: ``passed``, ``failed``, or what a replay with a fix should prove."""

    scenario: str
    responder: str
    expected: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.scenario}: {f'with the fix {self.fix}' if self.fix else self.responder}"


@dataclass(frozen=True)
class Trial:
    """What became of a job: outcome and its reason, points, seconds, how often it was tried, journal and folder."""

    job: Job
    outcome: str
    reason: str
    points: float
    seconds: float
    tries: int
    journal: tuple[dict[str, Any], ...]
    folder: Path

    @property
    def held(self) -> bool:
        """Whether the outcome is the expected one."""
        return self.outcome == self.job.expected


def some(share: float, seed: int) -> list[str]:
    """Return a random share of the catalogue's scenarios, and one more of each area that is not among them."""
    shuffled = names()
    random.Random(seed).shuffle(shuffled)
    kept = shuffled[: round(share * len(shuffled))]
    areas = {load(name).area for name in kept}
    for name in shuffled:
        if (area := load(name).area) not in areas:
            areas.add(area)
            kept.append(name)
    return kept


def jobs(which: str) -> list[Job]:
    """Return all drills that tell whether a scenario holds what it promises. Raises ``DrillError``."""
    one = load(which)
    right = [Job(which, each.name, "passed") for each in one.solutions]
    wrong = [Job(which, each.name, "failed") for each in one.not_solutions]
    idle = [Job(which, NOTHING.name, "failed")] if one.breach else []
    return [*right, *wrong, *idle, *_replays(which, one)]


def few(which: str, seed: int) -> list[Job]:
    """Return one drill that should pass and one that should not, chosen by a seed."""
    every, rng = jobs(which), random.Random(seed)
    return [rng.choice([job for job in every if job.expected == expected]) for expected in ("passed", "failed")]


def _replays(which: str, one: Scenario) -> Iterator[Job]:
    for name, fix in one.fixes.items():
        yield Job(which, "", fix.expect, fix=name)


def trials(
    wanted: Sequence[Job], folder: Path, *, at_once: int = 2, each: Callable[[Trial], object] = lambda trial: None
) -> list[Trial]:
    """Run drills, ``at_once`` at a time, with their records below ``folder``; ``each`` is told of what has ended.

    What is void is tried again when all others have ended, half as many at once each time, as the machine was too busy.

    Raises ``ServiceError`` when a process of them dies, which none should.
    """
    done: dict[int, Trial] = {}
    left = list(enumerate(wanted))

    def ended(number: int, trial: Trial) -> None:
        if trial.outcome == "void" and trial.tries < TRIES:
            left.append((number, trial.job))
        else:
            done[number] = trial
            each(trial)

    for tries in range(1, TRIES + 1):
        now = sorted(left, key=lambda one: one[0])
        left.clear()
        _round(now, folder, tries, at_once, ended)
        at_once = max(1, at_once // 2)
    return [done[number] for number in sorted(done)]


def _round(
    jobs: Sequence[tuple[int, Job]], folder: Path, tries: int, at_once: int, ended: Callable[[int, Trial], None]
) -> None:
    """Run each drill once. Whoever interrupts it, or one that cannot be run, ends the others too."""
    left, taking = list(jobs), threading.Lock()

    def work(process: SideProcess) -> None:
        while True:
            with taking:
                if not left:
                    return
                number, job = left.pop(0)
            trial = _tried(process, job, folder / str(number) / str(tries), tries)
            with taking:
                ended(number, trial)

    with ExitStack() as ending:
        processes = []
        for _ in range(min(at_once, len(left))):
            processes.append(SideProcess("mlops_helpers.respond.trials", "the process of the drills"))
            ending.callback(processes[-1].close, _END_SECONDS)
        pool = ending.enter_context(ThreadPoolExecutor(at_once))
        try:
            for working in as_completed([pool.submit(work, process) for process in processes]):
                working.result()
        except BaseException:
            left.clear()
            for process in processes:
                process.close(_HURRY_SECONDS)
            raise


def _tried(process: SideProcess, job: Job, folder: Path, tries: int) -> Trial:
    found = process.ask({**asdict(job), "folder": str(folder)})
    if "error" in found:
        raise ServiceError(f"{job}: {found['error']}")
    return Trial(job, tries=tries, folder=folder, **{**found, "journal": tuple(found["journal"])})


def _serve() -> None:
    from mlops_helpers.respond import drill

    for line in sys.stdin:
        told = json.loads(line)
        try:
            chosen = load(told["scenario"])
            if told["fix"]:
                found = drill.run(chosen, folder=Path(told["folder"]), fix=told["fix"])
            else:
                responder = NOTHING if told["responder"] == NOTHING.name else chosen.responder(told["responder"])
                found = drill.run(chosen, responder, folder=Path(told["folder"]))
        except Exception as error:  # noqa: BLE001 (whatever it is, who asked raises it)
            answer: dict[str, Any] = {"error": f"{type(error).__name__}: {error}"}
        else:
            answer = {"outcome": found.outcome, "reason": found.reason, "points": found.points}
            answer |= {"seconds": found.seconds, "journal": found.journal}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve()
