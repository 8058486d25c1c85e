"""What Docker and a swarm have in common: replicas are containers, known by their labels."""

import os
from abc import abstractmethod
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from mlops_helpers.deploy import leftovers
from mlops_helpers.deploy.containers import Container, current, each
from mlops_helpers.deploy.docker_errors import connect, told
from mlops_helpers.deploy.fleet import Fleet
from mlops_helpers.deploy.ownership import FOLDER, OWNER, RELEASE, VERSION, owner
from mlops_helpers.deploy.release import Limits, Protection, Release, ReplicaStatus, Usage
from mlops_helpers.deploy.runtime import EndpointsChanged, Replica, Runtime
from mlops_helpers.deploy.undoing import uninterrupted
from mlops_helpers.errors import ParameterError
from mlops_helpers.workspace import writable_folder

__all__ = ["ContainerRuntime"]

_NOT_ROOT = 10001  # who runs in a container when root starts it; else it is the user who does


class ContainerRuntime(Runtime):
    """A runtime whose replicas are containers of this machine's Docker.

    Raises ``RuntimeUnavailable`` when that is not here, ``WorkspaceError`` when the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path | str | None = None,
        *,
        fleet: Fleet | None = None,
        supervise: bool = True,
        on_change: EndpointsChanged | None = None,
    ) -> None:
        self._client = connect()
        super().__init__(folder, fleet=fleet, supervise=supervise, on_change=on_change)
        self._fleet.afterwards.append(self._client.close)
        self._label = f"{FOLDER}={self.folder}"
        self._prefix = f"opslab-{sha256(str(self.folder).encode()).hexdigest()[:8]}"
        self._placed = False

    @classmethod
    def available(cls) -> None:
        """Raise ``RuntimeUnavailable`` when there is no Docker that this user may use."""
        connect().close()

    def _prepare(self) -> None:
        """See to it, once, that what is made has an end, and that nothing is there that a killed maker has left."""
        if not self._placed:
            leftovers.remove(self._client, self._label)  # the folder is locked: nobody's who lives
            self._fleet.afterwards.insert(0, partial(leftovers.remove, self._client, self._label, drain=True))
            with uninterrupted():
                self._place()
            self._placed = True

    @abstractmethod
    def _place(self) -> None:
        """Make what containers need to be somewhere; called once."""

    def close(self) -> None:
        """End and remove everything, also what could not be removed before; safe twice."""
        super().close()
        if self._placed:
            leftovers.remove(self._client, self._label)

    def _owned(self) -> dict[str, str]:
        return {OWNER: owner(), FOLDER: str(self.folder)}

    def _labels(self, release: Release) -> dict[str, str]:
        return {**self._owned(), RELEASE: release.name, VERSION: release.version}

    def _image(self, release: Release) -> dict[str, Any]:
        """Return what Docker knows of a release's image. Raises ``ParameterError`` for none, ``ServiceError``."""
        if not release.image:
            raise ParameterError(f"{release.name} names no image. Next: image=build_service_image().name")
        with told(f"looking for the image of {release.name}"):
            return dict(self._client.api.inspect_image(release.image))

    def _user(self) -> str:
        return f"{os.getuid() or _NOT_ROOT}:{os.getgid() or _NOT_ROOT}"

    def _state_folder(self, release: Release, *parts: str) -> str:
        """Return the folder that a release's replicas write to, made and given to the user that they run as."""
        folder = writable_folder((release.folder or self.folder / release.name).joinpath(*parts), "folder=FOLDER")
        if os.getuid() == 0:  # also what processes of root have left there
            for path in (folder, *folder.rglob("*")):
                os.chown(path, *map(int, self._user().split(":")), follow_symlinks=False)
        return str(folder)

    def status(self, name: str = "") -> list[ReplicaStatus]:
        """Return what there is to know of each replica."""
        return each(self._containers(name), Container.status)

    def endpoints(self, name: str) -> list[str]:
        """Return host and port of each replica."""
        return [address for address in each(self._containers(name), lambda one: one.address) if address]

    def logs(self, name: str, lines: int = 50) -> list[str]:
        """Return the last lines that each replica printed."""
        printed = each(self._containers(name), lambda one: [f"{one.name} | {line}" for line in one.logs(lines)])
        return [line for of_one in printed for line in of_one]

    def stats(self, name: str) -> list[Usage]:
        """Return what each running replica uses."""
        return each([one for one in self._containers(name) if one.running], Container.usage)

    def replica(self, name: str) -> Replica:
        """Return a replica by its name. Raises ``ParameterError`` naming those that there are."""
        return self._container(name)

    def _container(self, name: str) -> Container:
        found = {one.name: one for one in self._containers()}
        if name not in found:
            raise ParameterError(f"there is no replica {name!r}; there are: {', '.join(found) or 'none'}")
        return found[name]

    def _containers(self, name: str = "") -> list[Container]:
        return current(self._client, self.folder, name)

    def protections(self, limits: Limits) -> list[Protection]:
        """Return what a container with these limits is kept from by this Docker, and what it is not."""
        with told("asking for limits"):
            info = self._client.info()
        rows = [
            Protection("network", "loopback only", True, "a network of its own, where only this machine answers"),
            Protection("files of others", "read-only", True, "its root, artifact included; it writes to logs and /tmp"),
            Protection("capabilities", "none", True, "all are dropped"),
            Protection("user", "not root", True, f"it runs as {self._user()}"),
        ]
        for name, asked, key in (
            ("memory", limits.memory, "MemoryLimit"),
            ("cpus", limits.cpus, "CpuCfsQuota"),
            ("pids", limits.pids, "PidsLimit"),
            ("files", limits.files, None),
            ("cpu_seconds", limits.cpu_seconds, None),
        ):
            if asked is not None:
                holds = key is None or bool(info.get(key))
                group = f"control group, version {info.get('CgroupVersion', '1')}"
                how = "ulimit" if key is None else group if holds else "not in force: this kernel lacks the controller"
                rows.append(Protection(name, str(asked), holds, how))
        return rows
