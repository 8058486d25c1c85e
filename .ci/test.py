"""Run every test that this machine can run: ``python .ci/test.py [STEP ...]``; exit 1 when a step fails.

Steps go from fast to slow and all of them run. Engines that are missing are named with the way to get them; those in
``OPSLAB_REQUIRE`` (comma-separated) must be there.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
OPSLAB = str(Path(PYTHON).with_name("opslab"))
CELL_TIMEOUT = "180"  # seconds; nbval's own default is 2,000
PYTEST = [PYTHON, "-m", "pytest"]
TWO = ["--numprocesses=2", "--dist=loadfile"]

STEPS = {
    "style": [[PYTHON, "-m", "ruff", "check", "."], [PYTHON, "-m", "ruff", "format", "--check", "."]],
    "types": [[PYTHON, "-m", "mypy"]],
    "structure": [[OPSLAB, "check", "notebooks", "notebooks/runbooks", "notebooks/drills"]],
    # by file, since fixtures of a module are dear; what measures time has the machine to itself
    "tests": [[*PYTEST, *TWO, "-m", "not alone", "tests"], [*PYTEST, "-m", "alone", "tests"]],
    # other scenarios each day; what is void because the machine is busy is tried again
    "drills": [[OPSLAB, "drill", "check", "--share=0.1", "--few", "--at-once=4"]],
    "nbval": [
        [
            *PYTEST,
            *TWO,  # by file: a notebook is one kernel
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
    outcome = {}
    with tempfile.TemporaryDirectory(prefix="opslab-test-") as scratch:
        environment = os.environ | {"OPSLAB_WORKSPACE": scratch}
        for step in chosen or STEPS:
            print(f"\n== {step}", flush=True)
            start = time.monotonic()
            codes = [
                subprocess.run(command, cwd=PROJECT, env=environment, check=False).returncode for command in STEPS[step]
            ]
            outcome[step] = ("failed" if any(codes) else "passed", time.monotonic() - start)
    print("\n== " + ", ".join(f"{step} {verdict} ({seconds:.0f} s)" for step, (verdict, seconds) in outcome.items()))
    failed = sum(verdict == "failed" for verdict, _ in outcome.values())
    print(f"{len(outcome) - failed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
