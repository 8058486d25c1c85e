"""Every scenario with every responder, drills that are interrupted at random moments, and input that is refused."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from benchmarks.evidence import Claim
from benchmarks.harness import Figure
from benchmarks.responding.consistency import Ran, consistency_figures
from mlops_helpers.errors import OpsLabError
from mlops_helpers.respond import faults, responders, scenario

__all__ = ["CLAIMS", "drill_figures"]

INTERRUPTED = 100
AT_ONCE = 3  # they mostly wait
_LATEST = 18.0  # seconds; most drills are longer
RETRIES = 2  # of a drill that was void: the machine was too busy for a steady state
CLAIMS = [
    Claim(
        "scenarios, drills and faults: bad input tried",
        "scenarios, drills and faults: bad input without a clear refusal",
        ("test_scenarios", "test_drill", "test_faults"),
        ("refused", "is_missed", "is_named", "checked_too", "earns_nothing"),
        40,
    ),
    Claim(
        "faults whose maker is killed, fails or is interrupted, tried",
        "of these, faults that were not put back",
        ("test_faults", "test_drill"),
        ("watchdog", "ends_with_its_block", "stack", "undone", "again", "leaves_nothing"),
        10,
    ),
]
_JOB = """
import sys, orjson
from pathlib import Path
from mlops_helpers.respond import drill, responders, scenario
for line in sys.stdin:
    name, which, folder = orjson.loads(line)
    chosen = scenario.load(name)
    if which.startswith("with the fix: "):
        found = drill.run(chosen, folder=Path(folder), prevented_by=which.removeprefix("with the fix: "))
    else:
        responder = responders.NOTHING if which == responders.NOTHING.name else chosen.responder(which)
        found = drill.run(chosen, responder, folder=Path(folder))
    print(orjson.dumps([found.outcome, found.points, found.seconds, found.journal]).decode(), flush=True)
"""
_MAKER = """
import sys
from pathlib import Path
from mlops_helpers.respond import drill, scenario
drill.run(scenario.load(sys.argv[1]), folder=Path(sys.argv[2]))
"""


@dataclass(frozen=True)
class _Drilled:
    """A drill with a responder, what was wanted of it, and what became of it."""

    id: str
    which: str
    wanted: str
    outcome: str
    points: float
    seconds: float
    journal: list[dict[str, Any]]
    folder: Path
    tries: int

    @property
    def called(self) -> str:
        return f"{self.id}: {self.which}"


class _Worker:
    """A process that runs drills one after the other, so that libraries are loaded once."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _JOB], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, name: str, which: str, wanted: str, folder: Path) -> _Drilled:
        """Run a drill, again while it is void."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        for tries in range(1, RETRIES + 2):
            each = folder / str(tries)
            self.process.stdin.write(orjson.dumps([name, which, str(each)]).decode() + "\n")
            self.process.stdin.flush()
            outcome, points, seconds, journal = orjson.loads(self.process.stdout.readline())
            if outcome != "void":
                break
        return _Drilled(name, which, wanted, outcome, points, seconds, journal, each, tries)

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)


def drill_figures(*, share: float = 1.0, seed: int = 0, interrupted: int = INTERRUPTED) -> Iterator[Figure]:
    """Run the catalogue, or a random ``share`` of it and at least one scenario of each area, and count."""
    chosen = _chosen(share, seed)
    yield Figure("scenarios", len(scenario.names()), "count", ">= 30", "in the catalogue")
    benign = sum(not scenario.load(name).breach for name in scenario.names())
    yield Figure("scenarios in which acting is wrong", benign, "count", ">= 4", "of these")
    yield Figure(
        "faults", len(faults.catalogue()), "count", ">= 18", "each put back by the watchdog, or by its process"
    )
    yield from _catalogue(chosen)
    yield from _interruptions(interrupted, seed)
    yield _refusals()


def _chosen(share: float, seed: int) -> list[str]:
    names, rng = scenario.names(), random.Random(seed)
    rng.shuffle(names)
    first = {scenario.load(name).area: name for name in names}
    kept = names[: round(share * len(names))]
    return kept + [name for name in first.values() if name not in kept]


def _catalogue(chosen: list[str]) -> Iterator[Figure]:
    jobs = []
    for one in map(scenario.load, chosen):
        jobs += [(one.id, each.name, "passed") for each in one.solutions]
        jobs += [(one.id, each.name, "failed") for each in one.not_solutions]
        jobs += [(one.id, responders.NOTHING.name, "failed")] if one.breach else []
        jobs += [(one.id, f"with the fix: {name}", "prevented") for name in list(one.fixes)[:1]]
    random.Random(len(jobs)).shuffle(jobs)  # else the dear ones would come at the same time
    with TemporaryDirectory() as scratch:
        began = time.monotonic()
        results = _run(jobs, Path(scratch))
        minutes = (time.monotonic() - began) / 60
        passed = [one for one in results if one.outcome == "passed"]
        consistent = list(
            consistency_figures(
                [Ran(one.called, one.journal, one.folder, scenario.load(one.id).steady_state) for one in passed]
            )
        )
    yield from _verdicts(results)
    of_all = f"{len(results)} drills of {len(chosen)} scenarios, {AT_ONCE} at once"
    yield Figure("the catalogue", minutes, "min", "<= 25", of_all)
    yield from consistent


def _verdicts(results: list[_Drilled]) -> Iterator[Figure]:
    for wanted, called in (("passed", "reference solutions that do not pass"), ("failed", "wrong answers that pass")):
        of = [one for one in results if one.wanted == wanted]
        wrong = [one.called for one in of if one.outcome not in (wanted, "void")]
        yield Figure(called, len(wrong), "count", "<= 0", "; ".join(wrong) or f"of {len(of)} drills")
    replays = [one for one in results if one.wanted == "prevented"]
    breached = [one.called for one in replays if any(record["kind"] == "breached" for record in one.journal)]
    said = "; ".join(breached) or f"of {len(replays)} with the same seed and fault"
    yield Figure("replays with the fix on that breach", len(breached), "count", "<= 0", said)
    void = [one.called for one in results if one.outcome == "void"]
    said = "; ".join(void) or f"of {len(results)} drills"
    yield Figure(f"drills that are void {RETRIES + 1} times", len(void), "count", "<= 0", said)
    again = sum(one.tries - 1 for one in results)
    yield Figure("drills that were void and ran again", again, "count", "", "this machine was too busy")
    earned = max((one.points for one in results if one.outcome == "failed"), default=0.0)
    yield Figure(
        "most points of a drill that failed", earned, "points", "<= 0", "muting, deleting, scaling to zero included"
    )


def _run(jobs: list[tuple[str, str, str]], scratch: Path) -> list[_Drilled]:
    workers, left, taking = [_Worker() for _ in range(AT_ONCE)], list(enumerate(jobs)), threading.Lock()

    def work(worker: _Worker) -> list[_Drilled]:
        found: list[_Drilled] = []
        while True:
            with taking:
                if not left:
                    return found
                number, job = left.pop()
            found.append(worker.run(*job, scratch / str(number)))
            print(f"{found[-1].outcome:9} {found[-1].seconds:5.1f} s  {found[-1].called}", file=sys.stderr, flush=True)

    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return [one for part in pool.map(work, workers) for one in part]
    finally:
        for worker in workers:
            worker.end()


def _interruptions(drills: int, seed: int) -> Iterator[Figure]:
    names = scenario.names()
    with TemporaryDirectory() as scratch:

        def some(share: int) -> list[tuple[int, int]]:  # in a workspace of its own
            return [
                _interrupt(Path(scratch) / str(share), number, random.Random(f"{seed} {number}"), names)
                for number in range(share, drills, AT_ONCE)
            ]

        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = [each for part in pool.map(some, range(AT_ONCE)) for each in part]
        environment = {**os.environ, "OPSLAB_WORKSPACE": str(Path(scratch) / "0" / "workspace")}
        order = [sys.executable, "-m", "mlops_helpers.cli", "drill", "run", "filter-stopped"]
        after = subprocess.run(order, env=environment, capture_output=True, text=True, timeout=120, check=False).stdout
    said = f"{drills} drills interrupted by SIGINT or SIGKILL of the runner after 0.5 to {_LATEST:g} s"
    yield Figure("processes that an interrupted drill leaves", sum(p for p, _ in found), "count", "<= 0", said)
    yield Figure(
        "folders of platforms that an interrupted drill leaves", sum(f for _, f in found), "count", "<= 0", said
    )
    yield Figure("a drill after these, in the same workspace, passes", "passed" in after, "count", ">= 1", "")


def _interrupt(place: Path, number: int, rng: random.Random, names: list[str]) -> tuple[int, int]:
    """Interrupt a drill; return how many processes and how many folders it leaves."""
    import psutil

    environment = {**os.environ, "OPSLAB_WORKSPACE": str(place / "workspace")}
    order = [sys.executable, "-c", _MAKER, rng.choice(names), str(place / str(number))]
    maker = subprocess.Popen(order, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    children: set[psutil.Process] = set()
    limit = time.monotonic() + rng.uniform(0.5, _LATEST)
    while time.monotonic() < limit and maker.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            children |= set(psutil.Process(maker.pid).children(recursive=True))
        time.sleep(0.05)
    maker.send_signal(rng.choice([signal.SIGINT, signal.SIGKILL]))
    maker.wait(60)
    alive = psutil.wait_procs(children, timeout=30)[1]
    for one in alive:
        one.kill()
    deadline = time.monotonic() + 30
    while (kept := list((place / "workspace" / "platforms").glob("*"))) and time.monotonic() < deadline:
        time.sleep(0.1)
    return len(alive), len(kept)


def _refusals() -> Figure:
    import yaml

    good = yaml.safe_load(Path(str(scenario.__file__)).parent.joinpath("scenarios/filter-stopped.yaml").read_text())
    bad = [{key: value for key, value in good.items() if key != left} for left in scenario.schema()["required"]]
    bad += [good | {"area": "weather"}, good | {"faults": [{"fault": "earthquake"}]}, good | {"surprise": 1}]
    bad += [good | {"solutions": [{"name": "x", "steps": [{"do": "pray"}]}]}, good | {"expect": {"breach": "cpu"}}]
    accepted = 0
    for one in bad:
        try:
            scenario.parse(yaml.safe_dump(one))
        except OpsLabError:
            continue
        accepted += 1
    return Figure("bad scenarios that are accepted", accepted, "count", "<= 0", f"of {len(bad)}, each breaks one rule")
