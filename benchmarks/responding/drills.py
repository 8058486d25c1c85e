"""Every scenario with every responder, drills that are interrupted at random moments, and input that is refused."""

import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from benchmarks.harness import Figure
from mlops_helpers.errors import OpsLabError
from mlops_helpers.respond import faults, responders, scenario
from mlops_helpers.respond.watch import EVERY_SECONDS

__all__ = ["drill_figures"]

INTERRUPTED = 100
AT_ONCE = 3  # they mostly wait
RETRIES = 2  # of a drill that was void: the machine was too busy for a steady state
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


class _Worker:
    """A process that runs drills one after the other, so that libraries are loaded once."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _JOB], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, name: str, which: str, folder: Path) -> tuple[str, float, float, list[dict]]:
        assert self.process.stdin is not None and self.process.stdout is not None
        for number in range(RETRIES + 1):
            self.process.stdin.write(orjson.dumps([name, which, str(folder / str(number))]).decode() + "\n")
            self.process.stdin.flush()
            outcome, points, seconds, journal = orjson.loads(self.process.stdout.readline())
            if outcome != "void":
                break
        return outcome, points, seconds, journal

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
        jobs += [(one, each.name, "passed") for each in one.solutions]
        jobs += [(one, each.name, "failed") for each in one.not_solutions]
        jobs += [(one, responders.NOTHING.name, "failed")] if one.breach else []
        jobs += [(one, f"with the fix: {name}", "prevented") for name in list(one.fixes)[:1]]
    began, workers = time.monotonic(), [_Worker() for _ in range(AT_ONCE)]

    def share(number: int) -> list[tuple[str, str, str, float, float, list[dict]]]:
        found = []
        for one, which, wanted in jobs[number::AT_ONCE]:
            with TemporaryDirectory() as folder:
                outcome, points, seconds, journal = workers[number].run(one.id, which, Path(folder))
            found.append((f"{one.id}: {which}", wanted, outcome, points, seconds, journal))
        return found

    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            results = [one for part in pool.map(share, range(AT_ONCE)) for one in part]
    finally:
        for worker in workers:
            worker.end()
    minutes = (time.monotonic() - began) / 60
    for wanted, called in (("passed", "reference solutions that do not pass"), ("failed", "wrong answers that pass")):
        of = [one for one in results if one[1] == wanted]
        wrong = [one[0] for one in of if one[2] not in (wanted, "void")]
        yield Figure(called, len(wrong), "count", "<= 0", "; ".join(wrong) or f"of {len(of)} drills")
    replays = [one for one in results if one[1] == "prevented"]
    breached = [one[0] for one in replays if any(record["kind"] == "breached" for record in one[5])]
    said = "; ".join(breached) or f"of {len(replays)} with the same seed and fault"
    yield Figure("replays with the fix on that breach", len(breached), "count", "<= 0", said)
    void = [one[0] for one in results if one[2] == "void"]
    yield Figure("drills that stay void", len(void), "count", "", "; ".join(void) or f"of {len(results)} drills")
    earned = max((one[3] for one in results if one[2] == "failed"), default=0.0)
    yield Figure(
        "most points of a drill that failed", earned, "points", "<= 0", "muting, deleting, scaling to zero included"
    )
    of_all = f"{len(results)} drills of {len(chosen)} scenarios, {AT_ONCE} at once"
    yield Figure("the catalogue", minutes, "min", "<= 25", of_all)
    yield from _consistency([one[5] for one in results if one[2] == "passed"])


def _consistency(journals: list[list[dict]]) -> Iterator[Figure]:
    """Compare pages and mitigations with what the readers' record says of the same drills."""
    wrong, seen = 0, 0
    delays: list[float] = []
    for journal in journals:
        injected = max((one["at"] for one in journal if one["kind"] == "injected"), default=0.0)
        for breach in (one for one in journal if one["kind"] == "breached"):
            name = breach["sli"].replace("_", "-")
            pages = [one for one in journal if one["kind"] == "alert" and one["status"] == "firing"]
            after = [one["at"] for one in pages if one["objective"] == name and one["at"] >= injected]
            if after:
                seen += 1
                wrong += after[0] < breach["at"] - EVERY_SECONDS
                delays.append(after[0] - breach["at"])
        wrong += any(one["at"] < injected - EVERY_SECONDS for one in journal if one["kind"] == "mitigated")
    said = f"{seen} pages, to within an evaluation interval of {EVERY_SECONDS} s"
    yield Figure("pages and mitigations before their cause in the readers' record", wrong, "count", "<= 0", said)
    if delays:
        spread = f"{len(delays)} pages, {min(delays):.1f} to {max(delays):.1f}; time lapse 360"
        yield Figure("from the breach to its page, median", statistics.median(delays), "s", "", spread)


def _interruptions(drills: int, seed: int) -> Iterator[Figure]:
    import psutil

    rng, names, left, folders = random.Random(seed), scenario.names(), 0, 0
    with TemporaryDirectory() as scratch:
        workspace = Path(scratch) / "workspace"
        environment = {**os.environ, "OPSLAB_WORKSPACE": str(workspace)}
        for number in range(drills):
            order = [sys.executable, "-c", _MAKER, rng.choice(names), str(Path(scratch) / str(number))]
            maker = subprocess.Popen(order, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            children: set[psutil.Process] = set()
            limit = time.monotonic() + rng.uniform(0.5, 18.0)
            while time.monotonic() < limit and maker.poll() is None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    children |= set(psutil.Process(maker.pid).children(recursive=True))
                time.sleep(0.05)
            maker.send_signal(rng.choice([signal.SIGINT, signal.SIGKILL]))
            maker.wait(60)
            alive = psutil.wait_procs(children, timeout=30)[1]
            left += len(alive)
            for one in alive:
                one.kill()
            deadline = time.monotonic() + 30
            while (kept := list((workspace / "platforms").glob("*"))) and time.monotonic() < deadline:
                time.sleep(0.1)
            folders += len(kept)
    said = f"{drills} drills interrupted by SIGINT or SIGKILL of the runner after 0.5 to 18 s"
    yield Figure("processes that an interrupted drill leaves", left, "count", "<= 0", said)
    yield Figure("folders of platforms that an interrupted drill leaves", folders, "count", "<= 0", said)


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
