"""Run every test that this machine can run: ``python .ci/test.py [STEP ...]``; exit 1 when a step fails.

Steps go from fast to slow and all of them run. Engines that are missing are named with the way to get them; those in
``OPSLAB_REQUIRE`` (comma-separated) must be there.

A handful of tests that failed are tried once more, with the machine to themselves, since live services share it with
other tests. Those that pass then are named at the end: they are defects too, of the test or of what it tests.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
OPSLAB = str(Path(PYTHON).with_name("opslab"))
PLUGINS = Path(__file__).resolve().parent / "plugins"
CELL_TIMEOUT = "180"  # seconds; nbval's own default is 2,000
PYTEST = [PYTHON, "-m", "pytest"]
TWO = ["--numprocesses=2", "--dist=loadfile"]
MOST_AGAIN = 5  # tests; where more fail, something is broken
FAILED_TESTS = 1  # pytest's exit code for them; others mean that it could not run

STEPS = {
    "style": [[PYTHON, "-m", "ruff", "check", "."], [PYTHON, "-m", "ruff", "format", "--check", "."]],
    "types": [[PYTHON, "-m", "mypy"]],
    "structure": [[OPSLAB, "check", "notebooks", "notebooks/runbooks", "notebooks/drills"]],
    # by file, since fixtures of a module are dear; drills bear one another, and nothing that works harder; what
    # measures time has the machine to itself
    "tests": [
        [*PYTEST, *TWO, "-m", "not alone and not drill", "tests"],
        [*PYTEST, *TWO, "-m", "drill", "tests"],
        [*PYTEST, "-m", "alone", "tests"],
    ],
    # other scenarios each day; what is void because the machine is busy is tried again
    "drills": [[OPSLAB, "drill", "check", "--share=0.1", "--few", "--at-once=4"]],
    "nbval": [
        [
            *PYTEST,
            *TWO,  # by file: a notebook is one kernel
            "-p",
            "ipc_kernels",
            "--nbval-lax",
            f"--nbval-cell-timeout={CELL_TIMEOUT}",
            "--timeout=0",
            "notebooks",
        ]
    ],
}


def main(chosen: list[str]) -> int:
    """Run the chosen steps, or all; print a line a step at the end."""
    unknown = [step for step in chosen if step not in STEPS]
    if unknown:
        print(f"no step {', '.join(unknown)}; there are: {', '.join(STEPS)}", file=sys.stderr)
        return 2
    outcome, doubtful = {}, []
    with tempfile.TemporaryDirectory(prefix="opslab-test-") as scratch:
        cache = Path(scratch) / "pytest"  # what failed earlier is of no interest
        options = f"{os.environ.get('PYTEST_ADDOPTS', '')} -o cache_dir={cache}"
        environment = os.environ | {"OPSLAB_WORKSPACE": scratch, "PYTEST_ADDOPTS": options}

        def run(command: list[str]) -> int:
            path = {"PYTHONPATH": str(PLUGINS)} if "ipc_kernels" in command else {}
            return subprocess.run(command, cwd=PROJECT, env=environment | path, check=False).returncode

        def failing() -> list[str]:
            found = cache / "v" / "cache" / "lastfailed"
            return list(json.loads(found.read_text("utf-8"))) if found.exists() else []

        for step in chosen or STEPS:
            print(f"\n== {step}", flush=True)
            start = time.monotonic()
            codes = [run(command) for command in STEPS[step]]
            if step == "tests" and set(codes) <= {0, FAILED_TESTS} and 1 <= len(failed := failing()) <= MOST_AGAIN:
                print("\n== tests again: " + ", ".join(failed), flush=True)
                codes = [run([*PYTEST, "--last-failed", "tests"])]
                doubtful = [name for name in failed if name not in failing()]
            outcome[step] = ("failed" if any(codes) else "passed", time.monotonic() - start)
    print("\n== " + ", ".join(f"{step} {verdict} ({seconds:.0f} s)" for step, (verdict, seconds) in outcome.items()))
    if doubtful:
        print("passed only when they were tried again: " + ", ".join(doubtful))
    failed = sum(verdict == "failed" for verdict, _ in outcome.values())
    print(f"{len(outcome) - failed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
