"""Every scenario with every responder, drills that are interrupted at random moments, and input that is refused."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.evidence import Claim
from benchmarks.harness import Figure
from benchmarks.responding.consistency import Ran, consistency_figures
from mlops_helpers.errors import OpsLabError
from mlops_helpers.respond import faults, scenario, trials

__all__ = ["CLAIMS", "drill_figures"]

INTERRUPTED = 100
AT_ONCE = 5  # they mostly wait
_LATEST = 18.0  # seconds; most drills are longer
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
_MAKER = """
import faulthandler, signal, sys
from pathlib import Path
from mlops_helpers.respond import drill, scenario
faulthandler.register(signal.SIGUSR1)
drill.run(scenario.load(sys.argv[1]), folder=Path(sys.argv[2]))
"""


def drill_figures(*, share: float = 1.0, seed: int = 0, interrupted: int = INTERRUPTED) -> Iterator[Figure]:
    """Run the catalogue, or a random ``share`` of it and at least one scenario of each area, and count."""
    chosen = trials.some(share, seed)
    yield Figure("scenarios", len(scenario.names()), "count", ">= 30", "in the catalogue")
    benign = sum(not scenario.load(name).breach for name in scenario.names())
    yield Figure("scenarios in which acting is wrong", benign, "count", ">= 4", "of these")
    yield Figure(
        "faults", len(faults.catalogue()), "count", ">= 18", "each put back by the watchdog, or by its process"
    )
    yield from _catalogue(chosen, seed)
    yield from _interruptions(interrupted, seed)
    yield _refusals()


def _catalogue(chosen: list[str], seed: int) -> Iterator[Figure]:
    jobs = [job for name in chosen for job in trials.jobs(name)]
    random.Random(seed).shuffle(jobs)  # else the dear ones would come at the same time
    with TemporaryDirectory() as scratch:
        began = time.monotonic()
        results = trials.trials(jobs, Path(scratch), at_once=AT_ONCE, each=_tell)
        minutes = (time.monotonic() - began) / 60
        passed = [
            Ran(str(one.job), one.journal, one.folder, scenario.load(one.job.scenario).steady_state)
            for one in results
            if one.outcome == "passed"
        ]
        consistent = list(consistency_figures(passed))
    yield from _verdicts(results)
    of_all = f"{len(results)} drills of {len(chosen)} scenarios, {AT_ONCE} at once"
    yield Figure("the catalogue", minutes, "min", "<= 25", of_all)
    yield from consistent


def _tell(one: trials.Trial) -> None:
    print(f"{one.outcome:9} {one.seconds:5.1f} s  {one.job}", file=sys.stderr, flush=True)


def _verdicts(results: list[trials.Trial]) -> Iterator[Figure]:
    for expected, called in (
        ("passed", "reference solutions that do not pass"),
        ("failed", "wrong answers, doing nothing included, that pass"),
        ("prevented", "replays with a fix on, same seed and fault, that breach"),
        ("refuted", "replays with a fix that does not suffice, and that do not breach"),
    ):
        of = [one for one in results if one.job.expected == expected]
        wrong = [f"{one.job}: {one.outcome}" for one in of if not one.held and one.outcome != "void"]
        yield Figure(called, len(wrong), "count", "<= 0", "; ".join(wrong) or f"of {len(of)} drills")
    void = [str(one.job) for one in results if one.outcome == "void"]
    said = "; ".join(void) or f"of {len(results)} drills"
    yield Figure(f"drills that are void {trials.TRIES} times", len(void), "count", "<= 0", said)
    again = sum(one.tries - 1 for one in results)
    yield Figure("drills that were void and ran again", again, "count", "", "this machine was too busy")
    earned = max((one.points for one in results if one.outcome == "failed"), default=0.0)
    yield Figure(
        "most points of a drill that failed", earned, "points", "<= 0", "muting, deleting, scaling to zero included"
    )


def _interruptions(drills: int, seed: int) -> Iterator[Figure]:
    names = scenario.names()
    with TemporaryDirectory() as scratch:

        def some(share: int) -> list[tuple[bool, int, int]]:  # in a workspace of its own
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
    late = sum(late for late, _, _ in found)
    yield Figure("interrupted drills that have not ended a minute later", late, "count", "<= 0", said)
    yield Figure("processes that an interrupted drill leaves", sum(p for _, p, _ in found), "count", "<= 0", said)
    yield Figure(
        "folders of platforms that an interrupted drill leaves", sum(f for _, _, f in found), "count", "<= 0", said
    )
    yield Figure("a drill after these, in the same workspace, passes", "passed" in after, "count", ">= 1", "")


def _interrupt(place: Path, number: int, rng: random.Random, names: list[str]) -> tuple[bool, int, int]:
    """Interrupt a drill; return whether it goes on, and how many processes and how many folders it leaves."""
    import psutil

    environment = {**os.environ, "OPSLAB_WORKSPACE": str(place / "workspace")}
    order = [sys.executable, "-c", _MAKER, rng.choice(names), str(place / str(number))]
    place.mkdir(exist_ok=True)
    said = place / f"{number}.stderr"
    with said.open("wb") as errors:
        maker = subprocess.Popen(order, env=environment, stdout=subprocess.DEVNULL, stderr=errors)
    children: set[psutil.Process] = set()
    limit = time.monotonic() + rng.uniform(0.5, _LATEST)
    while time.monotonic() < limit and maker.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            children |= set(psutil.Process(maker.pid).children(recursive=True))
        time.sleep(0.05)
    sent = rng.choice([signal.SIGINT, signal.SIGKILL])
    maker.send_signal(sent)
    try:
        maker.wait(60)
    except subprocess.TimeoutExpired:
        maker.send_signal(signal.SIGUSR1)  # where does it wait?
        time.sleep(1)
        maker.kill()
        print(f"{order[-2]}:\n{said.read_text('utf-8', 'replace')}", file=sys.stderr, flush=True)
    late = maker.wait() == -signal.SIGKILL and sent is signal.SIGINT
    alive = psutil.wait_procs(children, timeout=30)[1]
    for one in alive:
        one.kill()
    deadline = time.monotonic() + 30
    while (kept := list((place / "workspace" / "platforms").glob("*"))) and time.monotonic() < deadline:
        time.sleep(0.1)
    return late, len(alive), len(kept)


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
