"""Ending what a kernel left running."""

import contextlib
import os
from typing import Any

__all__ = ["MARK", "end_leftovers"]

#: The environment variable by which what a notebook starts is known, also outside the kernel's session.
MARK = "OPSLAB_KERNEL"


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
