"""Run every test that this machine can run: ``python .ci/test.py [STEP ...]``; exit 1 when a step fails.

Steps go from fast to slow and all of them run. Engines that are missing are named with the way to get them; those in
``OPSLAB_REQUIRE`` (comma-separated) must be there. ``OPSLAB_SEEDS=all`` tries every variety, as ``make nightly`` does.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
BIN = Path(PYTHON).parent
PYTEST = [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=5"]
CELL_SECONDS = "180"  # nbval's own default is 2,000

STEPS = {
    "style": [[PYTHON, "-m", "ruff", "check", "."], [PYTHON, "-m", "ruff", "format", "--check", "."]],
    "types": [[PYTHON, "-m", "mypy"]],
    "structure": [
        [str(BIN / "opslab"), "check", "notebooks", "notebooks/runbooks", "notebooks/drills"],
        [str(BIN / "lint-imports")],
    ],
    "unit": [[*PYTEST, "--numprocesses=2", "--dist=worksteal", "tests/unit"]],
    # live tests wait more than they work; tests of one file share fixtures, and so a worker
    "live": [[*PYTEST, "--numprocesses=4", "--dist=loadgroup", "tests/live"]],
    "engines": [[*PYTEST, "--numprocesses=3", "--dist=loadgroup", "tests/engines"]],
}
# what takes long and has another witness in every run of the steps above: by name only
MORE_STEPS = {
    "nbval": [
        [
            *PYTEST,
            "--numprocesses=2",
            "--dist=loadfile",  # a notebook is one kernel
            "-p",
            "tests.support.ipc_kernels",
            "--nbval-lax",
            f"--nbval-cell-timeout={CELL_SECONDS}",
            "--timeout=0",
            "--ignore=notebooks/labs",  # raises NotImplementedError until a student has answered
            "notebooks",
        ]
    ],
}


def main(chosen: list[str]) -> int:
    """Run the chosen steps, or all usual ones; print a line on each at the end."""
    steps = STEPS | MORE_STEPS
    unknown = [step for step in chosen if step not in steps]
    if unknown:
        print(f"no step {', '.join(unknown)}; there are: {', '.join(steps)}", file=sys.stderr)
        return 2
    verdicts: dict[str, tuple[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="opslab-test-") as scratch:
        environment = os.environ | {"OPSLAB_WORKSPACE": scratch, "PYTHONPATH": str(PROJECT)}
        environment["PATH"] = f"{BIN}{os.pathsep}{environment['PATH']}"
        for step in chosen or STEPS:
            print(f"\n== {step}", flush=True)
            start = time.monotonic()
            codes = [
                subprocess.run(command, cwd=PROJECT, env=environment, check=False).returncode for command in steps[step]
            ]
            verdicts[step] = ("failed" if any(codes) else "passed", time.monotonic() - start)
    print("\n== " + ", ".join(f"{step} {verdict} ({seconds:.0f} s)" for step, (verdict, seconds) in verdicts.items()))
    failed = sum(verdict == "failed" for verdict, _ in verdicts.values())
    print(f"{len(verdicts) - failed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
