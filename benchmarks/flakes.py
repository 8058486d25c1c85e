"""``python -m benchmarks.flakes [--runs 10]``: the unit and live tiers, again and again; exit 1 when a test failed.

``build/bench/flakes.md`` has a line a run, and the tests that failed with how often they did.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter

from mlops_helpers.workspace import atomic_file, project_root

TESTS = [sys.executable, str(project_root() / ".ci" / "test.py"), "unit", "live"]
FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)


def main() -> int:
    """Run the tests so often; return whether something failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="how many (default: %(default)s)")
    lines, failures = [], Counter[str]()
    for number in range(1, parser.parse_args().runs + 1):
        began, (code, output) = time.monotonic(), _tests()
        failed = sorted(set(FAILED.findall(output))) or [f"exit code {code}: {output[-300:]}"] * bool(code)
        failures.update(failed)
        lines.append(f"* run {number}: {len(failed)} failed, {time.monotonic() - began:.0f} s")
        table = [f"* {count} of {number} times: {name}" for name, count in failures.most_common()]
        with atomic_file(project_root() / "build" / "bench" / "flakes.md") as path:
            path.write_text("\n".join([*lines, *table, ""]), encoding="utf-8")
        print(lines[-1], *failed, sep="\n  ", flush=True)
    return 1 if failures else 0


def _tests() -> tuple[int, str]:
    """Return exit code and output of the tests, whose processes are ended together with this one."""
    pipe, errors = subprocess.PIPE, subprocess.STDOUT
    with subprocess.Popen(TESTS, stdout=pipe, stderr=errors, text=True, start_new_session=True) as tests:
        try:
            output = tests.communicate()[0]
        finally:
            if tests.poll() is None:
                os.killpg(tests.pid, signal.SIGINT)
    return tests.returncode, output


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
    sys.exit(main())
