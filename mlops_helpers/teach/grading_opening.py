"""Inside the grading sandbox: a lab's opening cells, executed once for all submissions.

The opening is what the lab does before the student's first cell. It is the same in every submission, so a process that
has executed it can be forked for each; but only where a fork is all that it takes: nothing is left outside the
process's own memory, and no random number was drawn that every student would then share.
"""

import os
import random
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["executed_alone"]

_FOLDERS = ("/tmp", "/dev/shm")  # noqa: S108 (the sandbox's own)


def executed_alone(run: Callable[[str], dict[str, Any]], cells: Sequence[str], seconds: float) -> bool:
    """Execute the cells with ``run``, and return whether a fork of this process is as good as executing them there.

    It is not when a cell raises, or leaves a thread, a process, an open file, a file in a temporary folder, another
    folder to work in, or a global random generator at another place. This process ends when they take longer than
    ``seconds``.
    """
    before = _outside_memory()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    done = all("raised" not in run(source) for source in cells)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return done and _outside_memory() == before


def _outside_memory() -> tuple[object, ...]:
    """What a fork does not copy, shares with others, or repeats."""
    # as elsewhere in the sandbox, no pathlib is needed
    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208
    processes = {name for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208
    descriptors = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    files = [entry for folder in _FOLDERS for entry in os.walk(folder)]
    drawn = repr(sys.modules["numpy.random"].get_state()), random.getstate()
    return threads, processes, descriptors, files, os.getcwd(), drawn  # noqa: PTH109
