"""Drills: whether some have the outcome that they should have (``make drills``: all); what interrupted ones leave."""

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import Figure, median, none_of
from mlops_helpers.respond import scenario, trials
from tests.support import leaks

SHARE, SEED = 0.1, 1  # of the catalogue, and at least one scenario of each area; two drills each
INTERRUPTED, AT_ONCE = 12, 4  # they mostly wait


def figures() -> Iterator[Figure]:
    """Run a few drills of each area, then interrupt some at random moments."""
    yield from confusion([job for name in trials.some(SHARE, SEED) for job in trials.few(name, SEED)])
    yield from _interruptions()


def confusion(jobs: Sequence[trials.Job]) -> Iterator[Figure]:
    """Run drills; yield a figure for each expected outcome, with the outcomes that there were."""
    shuffled = random.Random(SEED).sample(jobs, len(jobs))  # else the long ones would come at the same time
    with TemporaryDirectory() as scratch:
        results = trials.trials(shuffled, Path(scratch), at_once=AT_ONCE)
    for expected in dict.fromkeys(job.expected for job in jobs):
        these = [trial for trial in results if trial.job.expected == expected]
        wrong = [f"{trial.job}: {trial.outcome}, {trial.reason}" for trial in these if not trial.held]
        table = ", ".join(f"{outcome} {count}" for outcome, count in Counter(one.outcome for one in these).items())
        yield none_of(f"drills that should be {expected} and are not", wrong, f"of {len(these)}: {table}")
    points = max((trial.points for trial in results if trial.outcome == "failed"), default=0.0)
    yield Figure("most points of a drill that failed", points, "points", "<= 0", "muting, deleting, scaling to zero")
    again = f"{sum(trial.tries - 1 for trial in results)} were void and ran again"
    yield median("a drill", [trial.seconds for trial in results], "s", "", f"{AT_ONCE} at once; {again}")


def _interruptions() -> Iterator[Figure]:
    """End runners by SIGINT or SIGKILL; then a drill in the same workspace must pass."""
    rng, late, left = random.Random(SEED), [], []
    leaks.mark_this_process()
    with TemporaryDirectory() as scratch:
        environment, before = os.environ | {"OPSLAB_WORKSPACE": scratch}, leaks.marked_processes()
        command = [sys.executable, "-m", "mlops_helpers.cli", "drill", "run"]
        for name in rng.choices(scenario.names(), k=INTERRUPTED):
            with subprocess.Popen([*command, name], env=environment, stdout=subprocess.DEVNULL) as runner:
                try:
                    with suppress(subprocess.TimeoutExpired):
                        runner.wait(rng.uniform(0.5, 15.0))
                    runner.send_signal(rng.choice((signal.SIGINT, signal.SIGKILL)))
                    with suppress(subprocess.TimeoutExpired):
                        runner.wait(60)
                    late += [name] * (runner.poll() is None)
                finally:
                    runner.kill()
            left += [f"{name}: {what}" for what in (*leaks.left_over(before), *Path(scratch).glob("platforms/*"))]
        after = subprocess.run([*command, "filter-stopped"], env=environment, capture_output=True, check=False)
    about = f"of {INTERRUPTED}, by SIGINT or SIGKILL of the runner after 0.5 to 15 s"
    yield none_of("interrupted drills that go on a minute later", late, about)
    yield none_of("processes and folders that interrupted drills leave", left, about)
    yield Figure("a drill after these passes", b"passed" in after.stdout, "", ">= 1", "in the same workspace")
