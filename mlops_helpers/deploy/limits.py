"""Limits of a process: a control group where this user may make one, else what ``ulimit`` can; and which hold."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlops_helpers.deploy import cgroups
from mlops_helpers.deploy.cgroups import Group
from mlops_helpers.deploy.exits import exit_reason
from mlops_helpers.deploy.output import last_lines
from mlops_helpers.deploy.release import Limits, Protection

__all__ = ["Confinement", "process_protections", "ulimits"]


class Confinement:
    """The limits of one replica, a process: ``prefix`` goes before its command.

    Raises ``ServiceError`` when the system refuses a limit that it knows.
    """

    def __init__(self, name: str, limits: Limits, log: Path) -> None:
        self._limits, self._log = limits, log
        self._group = cgroups.make_group(name, limits, cgroups.parents())
        self._kills = 0
        self.prefix = _prefix(limits, self._group)

    def explain(self, code: int) -> str:
        """Return why the process ended, from its exit code and from what its limits know of it."""
        if self._group is not None and "memory" in self._group.folders:
            before, self._kills = self._kills, self._group.memory_kills()
            return exit_reason(code, out_of_memory=self._kills > before)
        said = "".join(last_lines(self._log, 1))
        no_memory = any(sign in said for sign in ("MemoryError", "failed to map segment", "[Errno 12]"))
        return exit_reason(code, out_of_memory=bool(code and self._limits.memory and no_memory))

    def remove(self) -> None:
        """Remove what was made for the limits, once the process has ended; safe twice."""
        if self._group is not None:
            self._group.remove()


def ulimits(limits: Limits) -> list[dict[str, Any]]:
    """Return what Docker is to set in a container, as arguments of its ``Ulimit``."""
    files, seconds = limits.files, limits.cpu_seconds
    found: list[dict[str, Any]] = [{"name": "nofile", "soft": files, "hard": files}] if files else []
    return found + ([{"name": "cpu", "soft": seconds, "hard": seconds + 1}] if seconds else [])


def _prefix(limits: Limits, group: Group | None) -> list[str]:
    steps = [f"echo $$ > {shlex.quote(str(path))}" for path in (group.procs if group else [])]
    if limits.memory and not (group and "memory" in group.folders):
        steps.append(f"ulimit -d {limits.memory // 1024}")  # kB that it may write to, not what it only maps
    steps += [f"ulimit -n {limits.files}"] if limits.files else []
    if limits.cpu_seconds:  # first the signal that says why
        steps.append(f"ulimit -S -t {limits.cpu_seconds}; ulimit -H -t {limits.cpu_seconds + 1}")
    # The shell becomes the process: same number, same descriptors. -e: rather not at all than without a limit.
    return ["/bin/sh", "-ec", "; ".join([*steps, 'exec "$@"']), "sh"] if steps else []


def process_protections(limits: Limits, within: Mapping[str, Path] | None = None) -> list[Protection]:
    """Return what a process with these limits is kept from on this machine, and what it is not."""
    groups = cgroups.parents() if within is None else within
    linux = sys.platform == "linux"
    missing = "not in force: this user cannot make a control group. Next: runtime='docker'"
    found = []
    for name, asked, controller, other in (
        ("memory", limits.memory, "memory", "ulimit -d: what it allocates, not what it maps from files" * linux),
        ("cpus", limits.cpus, "cpu", ""),
        ("pids", limits.pids, "pids", ""),
        ("files", limits.files, "", "ulimit -n"),
        ("cpu_seconds", limits.cpu_seconds, "", "ulimit -t"),
    ):
        if asked is not None:
            how = f"control group, {groups[controller]}" if controller in groups else other
            found.append(Protection(name, str(asked), bool(how), how or missing))
    shared = {
        "network": ("loopback only", "it listens on 127.0.0.1, but may connect to wherever this machine can"),
        "files of others": ("read-only", "it writes wherever its user may"),
        "capabilities": ("none", "it has those of its user"),
        "user": ("not root", "it is the user who started it"),
    }
    return found + [Protection(name, limit, False, f"not in force: {why}") for name, (limit, why) in shared.items()]
