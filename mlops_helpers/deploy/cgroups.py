"""Control groups: how Linux limits memory, processors and processes of a whole group, where this user may make one.

Both versions are known: in version 2 a group is one folder, in version 1 one folder for each controller.
"""

import itertools
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlops_helpers.deploy.ownership import owner, owner_lives
from mlops_helpers.deploy.release import Limits
from mlops_helpers.errors import ServiceError

__all__ = ["ROOT", "Group", "abandoned", "make_group", "parents"]

ROOT = Path("/sys/fs/cgroup")
_PERIOD = 100_000  # microseconds over which processor time is shared out
_PREFIX = "opslab_"
_SECONDS = 2.0  # a group is busy until the kernel has buried its last process
_POLL_SECONDS = 0.005
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Group:
    """A group of its own for one replica: a folder for each controller (``memory``, ``cpu``, ``pids``)."""

    folders: Mapping[str, Path]

    @property
    def procs(self) -> list[Path]:
        """The files that a process writes its number to so as to be in the group."""
        return sorted({folder / "cgroup.procs" for folder in self.folders.values()})

    def memory_kills(self) -> int:
        """Return how many processes of the group the kernel has ended because there was no memory left."""
        for name in ("memory.events", "memory.oom_control"):
            with suppress(OSError, KeyError):
                lines = (self.folders["memory"] / name).read_text().splitlines()
                return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
        return 0

    def remove(self) -> None:
        """Remove the group; its processes must have ended. Safe twice."""
        for folder in set(self.folders.values()):
            _remove(folder)


def parents(root: Path = ROOT, own: Path = Path("/proc/self/cgroup")) -> dict[str, Path]:
    """Return, by controller, the folder in which this process may make groups; those that are missing it may not use.

    In version 2 a group whose processes it holds itself cannot hand controllers on: the nearest above that does.
    """
    found: dict[str, Path] = {}
    with suppress(OSError):
        for line in own.read_text().splitlines():
            _, names, path = line.split(":", 2)
            if not names and (root / "cgroup.controllers").exists():
                here = root / path.lstrip("/")
                for folder in (here, *here.parents):
                    handed_on = _words(folder / "cgroup.subtree_control") & {"memory", "cpu", "pids"}
                    if handed_on and os.access(folder, os.W_OK):
                        return dict.fromkeys(handed_on, folder)
                    if folder == root:
                        break
            for name in {"memory", "cpu", "pids"} & {*names.split(",")}:
                folder = root / name / path.lstrip("/")
                if os.access(folder / "cgroup.procs", os.W_OK):
                    found[name] = folder
    return found


def _words(path: Path) -> set[str]:
    try:
        return {*path.read_text().split()}
    except OSError:
        return set()


def make_group(name: str, limits: Limits, within: Mapping[str, Path]) -> Group | None:
    """Make a group with the limits that the controllers of ``within`` can hold; None when there is nothing to hold.

    Each call makes a group of its own, also for a name that this process has used: two platforms may serve one version.

    Raises ``ServiceError`` when the system refuses a value.
    """
    folders: dict[str, Path] = {}
    group, number = Group(folders), next(_numbers)
    try:
        for controller, values in _values(limits).items():
            if controller in within:
                folder = within[controller] / f"{_PREFIX}{owner().replace('/', '_')}_{name}_{number}"
                folder.mkdir(exist_ok=True)  # in version 2 it is one for all controllers
                folders[controller] = folder
                for file, value in values:
                    if (folder / file).exists():
                        (folder / file).write_text(value)
    except OSError as error:
        group.remove()
        raise ServiceError(f"the system refuses the limits of {name}: {error}. Next: other limits, or none") from error
    return group if folders else None


def _values(limits: Limits) -> dict[str, list[tuple[str, str]]]:
    """Return files and what to write there, of both versions, by controller; those of swap come after their memory."""
    values: dict[str, list[tuple[str, str]]] = {}
    if limits.memory:
        names = ("memory.max", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
        values["memory"] = [*((name, str(limits.memory)) for name in names), ("memory.swap.max", "0")]
    if limits.cpus:
        quota = str(int(limits.cpus * _PERIOD))
        values["cpu"] = [("cpu.max", f"{quota} {_PERIOD}"), ("cpu.cfs_period_us", str(_PERIOD))]
        values["cpu"].append(("cpu.cfs_quota_us", quota))
    if limits.pids:
        values["pids"] = [("pids.max", str(limits.pids))]
    return values


def abandoned() -> Iterator[Group]:
    """Yield groups that were made here and whose maker is gone."""
    for controller, parent in parents().items():
        for folder in parent.glob(f"{_PREFIX}*"):
            if not owner_lives("/".join(folder.name.removeprefix(_PREFIX).split("_")[:3])):
                yield Group({controller: folder})


def _remove(folder: Path) -> None:
    limit = time.monotonic() + _SECONDS
    while folder.exists():
        try:
            folder.rmdir()  # its files are the kernel's and go with it
        except OSError as error:
            if time.monotonic() > limit:
                raise ServiceError(f"{folder} cannot be removed: {error}. Next: end the processes in it") from error
            time.sleep(_POLL_SECONDS)
