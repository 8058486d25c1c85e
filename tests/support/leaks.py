"""What tests leave behind. Their processes inherit a mark, so that nobody else's are taken for theirs."""

import contextlib
import gc
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

MARK = "OPSLAB_TEST_MARK"
GRACE_SECONDS = 10
# started once by Python's multiprocessing and used until the interpreter ends
_LASTING = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
_shared: set[str] = set()


def mark_this_process() -> None:
    """Give this process and all that it will start a mark of their own."""
    os.environ[MARK] = uuid.uuid4().hex


def marked_processes() -> set[psutil.Process]:
    """Return the running processes that this one started, also those that were orphaned or have another environment."""
    mark, marked = os.environ[MARK], set()
    children = set(psutil.Process().children(recursive=True))
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            ours = process in children or process.environ().get(MARK) == mark
            if ours and not any(name in " ".join(process.cmdline()) for name in _LASTING):
                marked.add(process)
    return marked


def ended(pid: int) -> bool:
    """Say whether a process has ended; a zombie has."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def frozen(pid: int) -> bool:
    """Say whether a process is stopped (SIGSTOP)."""
    return psutil.Process(pid).status() == psutil.STATUS_STOPPED


@contextlib.contextmanager
def shared(folder: Path) -> Iterator[None]:
    """Leave out the processes that name a folder while the block runs: its owner outlives a test, and ends them.

    A fixture that several tests use may replace its processes: those are not there before a test.
    """
    _shared.add(str(folder))
    try:
        yield
    finally:
        _shared.discard(str(folder))


def _is_shared(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(_shared) and any(folder in word for word in process.cmdline() for folder in _shared)
    return False


def left_over(before: set[psutil.Process]) -> list[str]:
    """Return the command lines of marked processes that are not in ``before`` and do not end by themselves soon."""
    limit = time.monotonic() + GRACE_SECONDS
    while fresh := {process for process in marked_processes() - before if not _is_shared(process)}:
        if time.monotonic() > limit:
            return sorted(describe(process) for process in fresh)
        time.sleep(0.05)
    return []


def describe(process: psutil.Process) -> str:
    """Return a process's id and command line, shortened."""
    with contextlib.suppress(psutil.Error):
        return f"{process.pid}: {' '.join(process.cmdline())[:200]}"
    return f"{process.pid}: ended meanwhile"


class Held(NamedTuple):
    """What this process holds: open descriptors, the number of threads, its children and theirs."""

    descriptors: list[Path]
    threads: int
    children: set[psutil.Process]


def held() -> Held:
    """Count what this process holds now, without what was only dropped: to compare before and after."""
    gc.collect()
    descriptors = sorted(Path("/proc/self/fd").iterdir())
    return Held(descriptors, threading.active_count(), set(psutil.Process().children(recursive=True)))
