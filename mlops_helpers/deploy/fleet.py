"""The services of one platform as processes of this machine: the embedded runtime.

A folder has one fleet at a time. Whatever happens to its owner, no process stays behind: it is ended by :meth:`end`,
with the object, with the interpreter, or, when that is killed, by its lifeline.
"""

import os
import shutil
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlops_helpers.deploy import occupancy
from mlops_helpers.deploy.calls import wait_ready
from mlops_helpers.deploy.exits import exit_reason
from mlops_helpers.deploy.ownership import MARK, owner
from mlops_helpers.deploy.process import Service
from mlops_helpers.deploy.release import ReplicaStatus
from mlops_helpers.errors import ParameterError, ServiceError, WorkspaceError
from mlops_helpers.workspace import workspace, writable_folder

__all__ = ["Fleet", "memory"]


def memory(pid: int | None) -> int | None:
    """Return the resident memory of a process in bytes, None when it is gone."""
    import psutil

    try:
        return None if pid is None else int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None


class Fleet:
    """Services by name, in a folder that is locked for them; None: a new one, removed with this object.

    ``fronts`` names those that are ended first, one after the other, as they need the others to finish their work;
    ``afterwards`` is called when all have ended.

    Raises ``WorkspaceError`` when the folder cannot be written.
    """

    def __init__(self, folder: Path | str | None, fronts: Sequence[str], *, supervise: bool = True) -> None:
        passing = folder is None
        self.folder = (
            Path(tempfile.mkdtemp(dir=workspace("platforms")))
            if folder is None
            else writable_folder(Path(folder), "folder=FOLDER")
        )
        self._fronts, self.supervise = fronts, supervise
        self._services: dict[str, Service] = {}
        self._locks: list[int] = []
        self.afterwards: list[Callable[[], object]] = []
        self._about: Mapping[str, Any] = {}
        self._publishing = threading.Lock()
        everything = (self._services, fronts, self.afterwards, self._locks)
        self._end = weakref.finalize(self, _end, os.getpid(), *everything, self.folder)
        if passing:
            (self.folder / MARK).write_text(owner(), "utf-8")
            weakref.finalize(self, _vanish, os.getpid(), self._end, self.folder)

    def open(self, **about: Any) -> None:
        """Take the folder, once, and publish ``about``.

        Raises ``ServiceError`` when another fleet has it, or this one had it before, ``ParameterError`` when it has
        somebody's files.
        """
        if self._locks or not self._end.alive:
            raise ServiceError("this platform was started before. Next: make another one")
        self._locks.append(occupancy.take(self.folder))
        self.publish(**about)

    def add(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        *,
        version: str = "",
        port: int = 0,
        prefix: Sequence[str] = (),
        explain: Callable[[int], str] = exit_reason,
        environment: Mapping[str, str],
    ) -> Service:
        """Add a service, not started: ``PREFIX opslab COMMAND`` with state and logs in ``folder``.

        Raises ``ServiceError`` when the port is taken.
        """
        # -P: a notebook's folder may hold a json.py; it is no part of the service.
        start = [*prefix, sys.executable, "-P", "-m", "mlops_helpers.cli", *command]
        self._services[name] = service = Service(
            name,
            [*start, "--folder", str(writable_folder(folder, "folder=FOLDER"))],
            log=self.folder / f"{name}.log",
            port=port,
            environment=environment,
            version=version,
            supervise=self.supervise,
            inherit=self._locks,
            on_change=_unless_gone(self),
            explain=explain,
        )
        return service

    def start(self, services: Sequence[Service], seconds: float) -> None:
        """Start services at the same time, return when all of them are ready. Raises ``ServiceError``."""
        for service in services:
            service.start()
        self.wait_ready(services, seconds)

    def wait_ready(self, services: Sequence[Service], seconds: float) -> None:
        """Return when services say by line and by /readyz that they are ready. Raises ``ServiceError``."""
        limit = time.monotonic() + seconds
        for service in services:
            service.wait_ready(max(0.0, limit - time.monotonic()))
        for service in services:
            try:
                wait_ready(service.address, max(0.0, limit - time.monotonic()))
            except ServiceError as error:
                raise ServiceError(f"{service.name} is not ready: {error}. Next: read {service.log}") from error

    def remove(self, services: Iterable[Service]) -> None:
        """End services at the same time and forget them."""
        gone = list(services)
        _stop(gone)
        for service in gone:
            del self._services[service.name]
        self._publish()

    def end(self) -> None:
        """End everything in order, each service drained, and give the folder free; safe twice."""
        self._end()

    def __iter__(self) -> Iterator[Service]:
        return iter(list(self._services.values()))

    def __getitem__(self, name: str) -> Service:
        """Return a service. Raises ``ParameterError`` naming those that there are."""
        try:
            return self._services[name]
        except KeyError:
            raise ParameterError(f"there is no service {name!r}; there are: {', '.join(self._services)}") from None

    def status(self) -> list[ReplicaStatus]:
        """Return what there is to know of each service, the fronts first."""
        return [
            ReplicaStatus(s.name, s.state, s.address, s.pid, s.restarts, s.version, memory(s.pid), s.exit_reason)
            for s in sorted(self, key=lambda s: [*self._fronts, s.name].index(s.name))
        ]

    def publish(self, **about: Any) -> None:
        """Write what runs here and ``about`` to the folder, now and after each change. Raises ``WorkspaceError``."""
        self._about = about
        self._publish()

    def _publish(self) -> None:
        with self._publishing:
            if self._end.alive:
                occupancy.publish(self.folder, {**self._about, "services": [asdict(one) for one in self.status()]})


def _unless_gone(fleet: Fleet) -> Callable[[], None]:
    """Return a function that publishes a change without keeping the fleet from ending with its owner."""
    found = weakref.ref(fleet)

    def changed() -> None:
        one = found()
        if one is not None:
            with suppress(WorkspaceError):  # better supervised and not published than neither
                one._publish()

    return changed


def _stop(services: Sequence[Service]) -> None:
    for service in services:
        service.ask_to_stop()
    for service in services:
        service.stop(free_port=True)


def _end(
    owner: int,
    services: dict[str, Service],
    fronts: Sequence[str],
    afterwards: list[Callable[[], object]],
    locks: list[int],
    folder: Path,
) -> None:
    if os.getpid() != owner:  # a forked child ends with a copy of what is not its own
        return
    everything = list(services.values())
    try:
        for front in fronts:
            _stop([service for service in everything if service.name == front])
        _stop(everything)
        for call in afterwards:
            call()
    except BaseException:  # interrupted again: somebody is in a hurry
        for service in everything:
            service.stop(0, free_port=True)
        raise
    finally:
        for lock in locks:
            (folder / "platform.json").unlink(missing_ok=True)
            os.close(lock)


def _vanish(owner: int, end: Callable[[], None], folder: Path) -> None:
    if os.getpid() == owner:
        end()
        shutil.rmtree(folder, ignore_errors=True)
