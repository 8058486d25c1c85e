"""How what a fault has changed is put back, as plain data: so that another process can do it as well.

An entry is an object with ``do``, the name of a way in ``WAYS``, and its arguments. Each way is harmless when it is
done twice, and when what it is about has gone. A process is named by its number and by when it was created, since
numbers are given to others.
"""

import os
import resource
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlops_helpers.deploy import occupancy
from mlops_helpers.deploy.calls import call
from mlops_helpers.deploy.ownership import alive
from mlops_helpers.errors import ServiceError

__all__ = ["WAYS", "Entry", "pin", "process_entry", "undo"]

Entry = dict[str, Any]

_DRAIN_SECONDS = 20.0


def process_entry(do: str, pid: int, **arguments: Any) -> Entry:
    """Return an entry about a process that runs now. Raises ``ServiceError`` when it does not."""
    import psutil

    try:
        return {"do": do, "pid": pid, "created": psutil.Process(pid).create_time(), **arguments}
    except psutil.NoSuchProcess as error:
        raise ServiceError(f"process {pid} has ended; a fault needs one that runs") from error


def pin(pid: int, processors: list[int]) -> None:
    """Let all threads of a process run on these processors only."""
    with suppress(FileNotFoundError):  # it has ended meanwhile
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), processors)


def undo(entry: Entry) -> None:
    """Do what an entry says."""
    arguments = {name: value for name, value in entry.items() if name != "do"}
    WAYS[entry["do"]](**arguments)


def _go_on(pid: int, created: float) -> None:
    _send(pid, created, signal.SIGCONT)


def _end(pid: int, created: float) -> None:
    _send(pid, created, signal.SIGKILL)


def _send(pid: int, created: float, number: int) -> None:
    if alive(pid, created):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _unlimit(pid: int, created: float, limit: int, soft: int, hard: int) -> None:
    if alive(pid, created):
        with suppress(ProcessLookupError):
            resource.prlimit(pid, limit, (soft, hard))


def _unpin(pid: int, created: float, processors: list[int]) -> None:
    if alive(pid, created):
        pin(pid, processors)


def _remove_platform(folder: str) -> None:
    """Remove a platform's folder once the processes that work there have drained and ended."""
    if Path(folder).is_dir():
        occupancy.wait_gone(Path(folder), None, _DRAIN_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


def _tell(address: str, path: str, body: Any, token: str) -> None:
    with suppress(ServiceError):  # who is not there has nothing to be told
        call("PUT", address, path, body, token=token, seconds=2.0)


WAYS: dict[str, Callable[..., None]] = {
    "go_on": _go_on,
    "end": _end,
    "unlimit": _unlimit,
    "unpin": _unpin,
    "remove_platform": _remove_platform,
    "tell": _tell,
}
