"""Ending what a kernel left running.

On Linux what loses its parent is adopted by the nearest "subreaper" above it. The kernel server and each of its kernels
are one, so that even a daemon with a session and an environment of its own stays below the kernel that started it, and
falls to the server when that kernel ends. Elsewhere (and when the server itself is killed) only the session and the
mark in the environment tell what belongs to a kernel.
"""

import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Collection
from typing import Any

__all__ = ["MARK", "adopt_orphans", "children", "end_children", "end_leftovers"]

#: The environment variable by which what a notebook starts is known, also outside the kernel's session.
MARK = "OPSLAB_KERNEL"

ENDING_LIMIT = 5.0  # seconds; longer only takes what cannot be killed
PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Make this process the parent of whatever below it loses its own (on Linux; also across an exec)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def children() -> set[int]:
    """Return the process ids of this process's children, adopted ones included."""
    import psutil

    return {child.pid for child in psutil.Process().children()}


def end_children(keep: Collection[int] = ()) -> None:
    """Kill and reap the children of this process, and then the children that it inherits from them, except ``keep``."""
    import psutil

    limit = time.monotonic() + ENDING_LIMIT
    while time.monotonic() < limit:
        found = [child for child in psutil.Process().children() if child.pid not in keep]
        if not found:
            return
        for child in found:
            with contextlib.suppress(psutil.Error):
                child.kill()
        psutil.wait_procs(found, timeout=0.1)  # reaps these, and nobody else's


def end_leftovers(session: int, mark: str) -> None:
    """Kill what is left of a kernel: its session, and whatever carries its mark in the environment."""
    import psutil

    for _ in range(5):  # a process may fork while we look
        found = [process for process in psutil.process_iter() if _belongs(process, session, mark)]
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                process.kill()
        if not found:
            return


def _belongs(process: Any, session: int, mark: str) -> bool:
    import psutil

    if process.pid == os.getpid():
        return False
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return os.getsid(process.pid) == session or process.environ().get(MARK) == mark
    except (psutil.Error, OSError):  # gone meanwhile, or somebody else's
        return False
