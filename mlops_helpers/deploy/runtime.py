"""What a release is and what a runtime does with it: the same words for processes, Docker and a swarm.

>>> with runtime("docker") as docker:
...     docker.deploy(Release("filter", "v1", artifact, image=build_service_image().name, replicas=2))
...     docker.endpoints("filter")
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

from mlops_helpers.deploy.fleet import Fleet
from mlops_helpers.deploy.release import Limits, Protection, Release, ReplicaStatus, Usage
from mlops_helpers.deploy.undoing import undone_by
from mlops_helpers.errors import ParameterError

__all__ = [
    "RUNTIMES",
    "Limits",
    "Protection",
    "Release",
    "Replica",
    "ReplicaStatus",
    "Runtime",
    "Usage",
    "runtime",
    "runtime_class",
]

DEADLINE = 60.0
_MODULES = {
    "process": ("mlops_helpers.deploy.process_runtime", "ProcessRuntime"),
    "docker": ("mlops_helpers.deploy.docker_runtime", "DockerRuntime"),
    "swarm": ("mlops_helpers.deploy.swarm_runtime", "SwarmRuntime"),
}
RUNTIMES = tuple(_MODULES)

EndpointsChanged = Callable[[str, Sequence[str]], None]


class Replica(Protocol):
    """One replica, to be ended, paused and started again, as an operator or an accident does."""

    def start(self) -> None:
        """Start it if it is stopped; do not wait for it."""

    def wait_ready(self, seconds: float) -> None:
        """Return when it answers. Raises ``ServiceError`` with its last words when it ended, or does not in time."""

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would; it is replaced."""

    def pause(self) -> None:
        """Let it hang: connections are accepted, nothing is answered."""

    def resume(self) -> None:
        """Let a paused one go on."""

    def stop(self) -> None:
        """End it, drained; it is not replaced until :meth:`start`."""


class Runtime(ABC):
    """Where releases run, with state and logs in ``folder`` (None: a new one, removed with this object).

    A context: all that it made ends with it, or with :meth:`close`; what was forgotten, with the object or the
    interpreter. With a ``fleet`` it is that one's folder, and the end of that one. What dies is replaced if
    ``supervise``.

    ``on_change(name, endpoints)`` is called with a release's endpoints before one of them goes and after one came:
    whoever routes to them is told in time.
    """

    name: ClassVar[str]

    def __init__(
        self,
        folder: Path | str | None = None,
        *,
        fleet: Fleet | None = None,
        supervise: bool = True,
        on_change: EndpointsChanged | None = None,
    ) -> None:
        self.on_change: EndpointsChanged = on_change or (lambda name, endpoints: None)
        self._own, self._fleet = fleet is None, fleet or Fleet(folder, fronts=(), supervise=supervise)
        self.folder = self._fleet.folder
        if self._own:
            self._fleet.open(ready=False, by="a program of your own")

    @classmethod  # noqa: B027  # a runtime that needs nothing has nothing to say
    def available(cls) -> None:
        """Raise ``RuntimeUnavailable`` with the reason and the next command when it is not here."""

    def deploy(self, release: Release, *, deadline: float = DEADLINE) -> list[ReplicaStatus]:
        """Start a release and return when all its replicas answer, within ``deadline`` seconds.

        Raises ``ParameterError`` when the name is taken, ``ServiceError`` with the last words of a replica that ended
        or was not ready in time; nothing of the release is left then, nor after an interrupt.
        """
        self.launch(release)
        with undone_by(lambda: self.stop(release.name)):
            self.wait_ready(release.name, deadline)
        return self.status(release.name)

    @abstractmethod
    def launch(self, release: Release) -> None:
        """Start a release and return when it has endpoints, ready or not. Raises as :meth:`deploy` does."""

    @abstractmethod
    def wait_ready(self, name: str, seconds: float = DEADLINE) -> None:
        """Return when all replicas of a release answer. Raises ``ServiceError`` when they do not in time."""

    @abstractmethod
    def status(self, name: str = "") -> list[ReplicaStatus]:
        """Return what there is to know of each replica of a release, or of all."""

    def endpoints(self, name: str) -> list[str]:
        """Return host and port of each replica."""
        return [one.address for one in self.status(name) if one.address]

    @abstractmethod
    def logs(self, name: str, lines: int = 50) -> list[str]:
        """Return the last lines that each replica printed, with its name in front."""

    @abstractmethod
    def stats(self, name: str) -> list[Usage]:
        """Return what each running replica uses."""

    @abstractmethod
    def protections(self, limits: Limits) -> list[Protection]:
        """Return what replicas with these limits are kept from here, and what they are not: nothing is pretended."""

    @abstractmethod
    def replica(self, name: str) -> Replica:
        """Return a replica by the name that its status has. Raises ``ParameterError`` naming those that there are."""

    @abstractmethod
    def scale(self, name: str, replicas: int, *, deadline: float = DEADLINE) -> None:
        """Have so many replicas; return when all answer. Raises as :meth:`deploy`, with the former number running."""

    @abstractmethod
    def update(self, release: Release, *, deadline: float = DEADLINE) -> None:
        """Replace the release of that name, one replica after the other; their number stays.

        Raises ``ServiceError`` when one of the new is not ready in time: then the old ones run, as before.
        """

    @abstractmethod
    def stop(self, name: str) -> None:
        """End a release, each replica drained, and remove what was made for it; logs of predictions stay."""

    def close(self) -> None:
        """End and remove everything that this runtime made, if its fleet is its own; safe twice."""
        if self._own:
            self._fleet.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def runtime_class(name: str) -> type[Runtime]:
    """Return the class of a runtime: ``process``, ``docker`` or ``swarm``. Raises ``ParameterError``."""
    if name not in _MODULES:
        raise ParameterError(f"runtime is {name!r}; accepted: {', '.join(RUNTIMES)}")
    module, kind = _MODULES[name]
    found: type[Runtime] = getattr(importlib.import_module(module), kind)
    return found


def runtime(name: str, **options: Any) -> Runtime:
    """Return a runtime: ``process``, ``docker`` or ``swarm``; ``options`` are those of its class.

    Raises ``ParameterError`` for another name, ``RuntimeUnavailable`` with the reason and the next command when it is
    not here: it never is another one instead.
    """
    return runtime_class(name)(**options)
