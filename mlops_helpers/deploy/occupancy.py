"""Who runs in a platform's folder: a lock that lives as long as any of its processes, and a file that says what runs.

::

    lock            makes the folder a platform's (see claim); held (flock) by the supervisor and, inherited, by every
                    service: free means that all are gone
    platform.json   supervisor, services, addresses, tokens; readable by its owner only
"""

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

from mlops_helpers.deploy.ownership import MARK, alive
from mlops_helpers.errors import ParameterError, ServiceError, WorkspaceError
from mlops_helpers.workspace import atomic_file

__all__ = ["claim", "publish", "refuse_if_running", "running", "take", "wait_gone"]

LEFTOVER_SECONDS = 20.0
_POLL_SECONDS = 0.02


def publish(folder: Path, record: dict[str, Any]) -> None:
    """Write what runs in a folder. Raises ``WorkspaceError`` when it cannot be written."""
    import psutil

    record = {"supervisor": {"pid": os.getpid(), "created": psutil.Process().create_time()}, **record}
    with atomic_file(folder / "platform.json") as path:
        path.touch(0o600)
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def running(folder: Path) -> dict[str, Any] | None:
    """Return what the supervisor that runs in a folder has published; None when none runs, or it was killed."""
    try:
        record: dict[str, Any] = json.loads((folder / "platform.json").read_text("utf-8"))
        return record if _alive(record) else None
    except (OSError, ValueError, KeyError, TypeError):  # nothing, or somebody's file of that name
        return None


def _alive(record: dict[str, Any]) -> bool:
    return alive(record["supervisor"]["pid"], record["supervisor"]["created"])


def claim(folder: Path) -> None:
    """Make a folder a platform's, which may replace and remove there what platforms make.

    Raises ``ParameterError`` when somebody has files of other kinds there; they stay as they are.
    """
    lock = folder / "lock"
    others = [path.name for path in folder.iterdir() if path.name != MARK]
    if others and not (lock.is_file() and lock.stat().st_size == 0):
        raise ParameterError(
            f"folder is {folder}, which has {min(others)} and was never a platform's; accepted: a new or empty folder, "
            f"or a platform's. Next: name another one, such as {folder / 'platform'}"
        )
    lock.touch(0o600)


def refuse_if_running(folder: Path) -> None:
    """Raise ``ServiceError`` when a platform runs in a folder, naming its process."""
    if found := running(folder):
        raise ServiceError(
            f"a platform runs in {folder} (process {found['supervisor']['pid']}, {found['by']}); accepted: one a "
            f"folder. Next: opslab platform down --folder {folder}, or name another folder"
        )


def take(folder: Path) -> int:
    """Lock a folder and return the descriptor that holds it, for the services to inherit.

    What a killed supervisor left is waited for: it drains and ends by itself.

    Raises ``ServiceError`` when a platform runs there, ``ParameterError`` when the folder is no platform's,
    ``WorkspaceError`` when it cannot be written.
    """
    claim(folder)
    limit = time.monotonic() + LEFTOVER_SECONDS
    while (lock := _locked(folder)) is None:
        refuse_if_running(folder)
        if time.monotonic() > limit:
            raise ServiceError(f"{folder / 'lock'} is held and nobody says why. Next: name another folder")
        time.sleep(_POLL_SECONDS)
    (folder / "platform.json").unlink(missing_ok=True)
    return lock


def wait_gone(folder: Path, record: dict[str, Any] | None, seconds: float) -> bool:
    """Wait until no process of a platform is left, the supervisor of a record included; False: it takes too long."""
    limit = time.monotonic() + seconds
    while (record is not None and _alive(record)) or (lock := _locked(folder)) is None:
        if time.monotonic() > limit:
            return False
        time.sleep(_POLL_SECONDS)
    os.close(lock)
    return True


def _locked(folder: Path) -> int | None:
    try:
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise WorkspaceError(f"cannot write to {folder}: {error}. Next: name another folder") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
