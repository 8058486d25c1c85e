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

FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)


def main() -> int:
    """Run the steps of ``.ci/test.py`` that need no engine; return whether something failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="how many (default: %(default)s)")
    lines, failures = [], Counter[str]()
    for number in range(1, parser.parse_args().runs + 1):
        began = time.monotonic()
        code, output = _tests()
        failed = sorted(set(FAILED.findall(output)))
        if code and not failed:
            failed = [f"exit code {code}: {' '.join(output.split())[-300:]}"]
        failures.update(failed)
        lines.append(f"* run {number}: {len(failed)} failed, {time.monotonic() - began:.0f} s")
        table = [f"* {count} of {number} times: {name}" for name, count in failures.most_common()]
        with atomic_file(project_root() / "build" / "bench" / "flakes.md") as path:
            path.write_text("\n".join([*lines, *table, ""]), encoding="utf-8")
        print(lines[-1], *failed, sep="\n  ", flush=True)
    print(*(table or ["nothing failed"]), sep="\n")
    return 1 if failures else 0


def _tests() -> tuple[int, str]:
    """Run the tests in a session of their own, which is ended whole with this process; return their output."""
    command = [sys.executable, str(project_root() / ".ci" / "test.py"), "unit", "live"]
    output, errors = subprocess.PIPE, subprocess.STDOUT
    with subprocess.Popen(command, stdout=output, stderr=errors, text=True, start_new_session=True) as tests:
        try:
            said = tests.communicate()[0]
            return tests.returncode, said
        except BaseException:
            os.killpg(tests.pid, signal.SIGINT)
            raise


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
    sys.exit(main())
