"""What is released and what is known of it where it runs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_helpers.errors import ParameterError

if TYPE_CHECKING:
    from mlops_helpers.model.artifact import Artifact

__all__ = ["Limits", "Protection", "Release", "ReplicaStatus", "Usage"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")  # it names a folder, a container, a service


@dataclass(frozen=True)
class Limits:
    """What each replica may use; None: no limit.

    ``memory_mb`` in millions of bytes, ``cpus`` as a share of processors (0.5: half of one), ``pids`` processes and
    threads, ``files`` open at a time, ``cpu_seconds`` of processor time in its life.
    :meth:`Runtime.protections` says which of them hold.

    Raises ``ParameterError`` for a limit that is not above 0.
    """

    memory_mb: int | None = None
    cpus: float | None = None
    pids: int | None = None
    files: int | None = None
    cpu_seconds: int | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not value > 0:
                raise ParameterError(f"{name} is {value!r}; accepted: a number above 0, or None for no limit")

    @property
    def memory(self) -> int | None:
        """The limit of memory in bytes."""
        return self.memory_mb and self.memory_mb * 1_000_000


@dataclass(frozen=True)
class Release:
    """A model of a version, served by ``replicas`` of the same image (none for processes).

    ``name`` is what a runtime knows it by; a release of the same name and another version is its update. Answers and
    records name ``version``. ``durability`` is that of the prediction logs, which lie in ``folder`` (None: below the
    runtime's), one for each replica. ``environment`` is for secrets, too: who may use Docker may read it there.

    Raises ``ParameterError`` for another name than letters, digits, . _ -, and for fewer replicas than one.
    """

    name: str
    version: str
    artifact: "Artifact"
    image: str = ""
    replicas: int = 1
    limits: Limits = field(default_factory=Limits)
    durability: str = "ack"
    folder: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ParameterError(f"name {self.name!r}; accepted: up to 48 letters, digits, . _ -, the first no sign")
        if self.replicas < 1:
            raise ParameterError(f"replicas is {self.replicas}; accepted: 1 or more. To end it: stop({self.name!r})")

    def arguments(self, artifact: str) -> list[str]:
        """Return the command of a replica, after ``opslab``, where the artifact lies in a folder of that name."""
        given = [f"--sha256={self.artifact.sha256}", f"--name={self.version}", f"--durability={self.durability}"]
        return ["serve", artifact, *given]


@dataclass(frozen=True)
class ReplicaStatus:
    """A service at one moment.

    ``state`` is ``stopped``, ``starting``, ``ready``, ``unhealthy`` (it runs and says no, or nothing), ``paused``,
    ``restarting`` or ``failed``. ``memory`` in bytes. ``exit_reason`` is why it ended last, such as ``out of memory``
    or ``signal 9 (Killed)``, empty when it never did, or nobody knows any more. ``id`` is a container's.
    """

    name: str
    state: str
    address: str
    pid: int | None
    restarts: int
    version: str
    memory: int | None
    exit_reason: str = ""
    id: str = ""


@dataclass(frozen=True)
class Usage:
    """What a replica uses: ``memory`` in bytes, processor seconds so far, and processes with their threads."""

    name: str
    memory: int
    cpu_seconds: float
    pids: int


@dataclass(frozen=True)
class Protection:
    """Something that a replica may not do or use: ``limit`` as it was asked for, whether that holds, and how or why."""

    name: str
    limit: str
    holds: bool
    how: str
