"""Runs one foreign program and ends it when the lifeline (standard input) closes, whatever closed it.

Started as a file by :mod:`mlops_helpers.observe.guarded`, without site-packages, which takes some 60 ms::

    python -I -S guard.py OUTPUT BYTES SECONDS PROGRAM ARGUMENT...

What the program prints is appended to OUTPUT; before that exceeds BYTES it becomes OUTPUT.1, and what was there is
dropped. The program is asked to end with SIGTERM and killed after SECONDS. The exit code is the program's, 128 + n when
signal n ended it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

__all__ = ["main"]

_LINE_BYTES = 10_000


def main(output: str, most: str, patience: str, *command: str) -> int:
    """Run the command until it ends; return its exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the guard ends when its program has, not before
        signal.signal(number, lambda *_: None)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=_die_with_guard,  # safe: there is no other thread yet
        process_group=0,
    ) as program:
        assert program.stdout is not None
        threading.Thread(target=_end_with_lifeline, args=(program, float(patience)), daemon=True).start()
        _keep(program.stdout, Path(output), int(most))
    return program.returncode if program.returncode >= 0 else 128 - program.returncode


def _die_with_guard() -> None:
    """Have the kernel end the program when the guard itself is killed (Linux)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _end_with_lifeline(program: "subprocess.Popen[bytes]", patience: float) -> None:
    while os.read(0, 1):
        pass
    with contextlib.suppress(ProcessLookupError):  # the group: what the program has started ends with it
        os.killpg(program.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.wait(patience)
        os.killpg(program.pid, signal.SIGKILL)


def _keep(lines: IO[bytes], output: Path, most: int) -> None:
    for line in iter(lambda: lines.readline(_LINE_BYTES), b""):
        with contextlib.suppress(OSError):  # a full disk must not stop the reader of the pipe
            if output.exists() and output.stat().st_size + len(line) > most:
                output.replace(f"{output}.1")
            with output.open("ab") as file:
                file.write(line)


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except OSError as error:
        Path(sys.argv[1]).write_text(f"{error}\n", encoding="utf-8")
        sys.exit(127)
