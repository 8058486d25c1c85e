"""Releases as containers, by the Docker SDK: confined, published on the loopback address, restarted by Docker."""

import socket
from collections.abc import Sequence
from typing import Any

from mlops_helpers.deploy.container_runtime import ContainerRuntime
from mlops_helpers.deploy.containers import LOG_OPTIONS, PORT, TMPFS_BYTES, end
from mlops_helpers.deploy.docker_errors import PortTaken, told
from mlops_helpers.deploy.limits import ulimits
from mlops_helpers.deploy.ownership import REPLICA
from mlops_helpers.deploy.process import HOST
from mlops_helpers.deploy.release import Limits, Protection, Release
from mlops_helpers.deploy.rolling import RollingRuntime
from mlops_helpers.deploy.undoing import undone_by, uninterrupted

__all__ = ["DockerRuntime"]

_PORTS = 5  # tries: between the choice of a port and its use somebody else may take it
_TMPFS = {"/tmp": f"rw,noexec,nosuid,nodev,size={TMPFS_BYTES}"}  # noqa: S108  # within the container
_NO_WAY_OUT = {
    "com.docker.network.bridge.enable_ip_masquerade": "false",
    "com.docker.network.bridge.enable_icc": "false",
}


class DockerRuntime(RollingRuntime, ContainerRuntime):
    """Each replica is a container on one port of 127.0.0.1 for its whole life.

    It cannot write but to its logs and a small /tmp, has no capability, is not root and may not become it, and reaches
    neither the internet nor another replica, only what this machine itself opens to all addresses. Once it was ready,
    Docker restarts it if ``supervise``, also when this process is gone; that, and all else, is found by label then:
    ``opslab platform down --all``.
    """

    name = "docker"

    def _place(self) -> None:
        with told("making a network"):
            labels = self._owned()
            self._client.api.create_network(self._prefix, driver="bridge", options=_NO_WAY_OUT, labels=labels)

    def _begin(self, release: Release, name: str, number: int) -> None:
        image = self._image(release)
        self._prepare()

        def undo() -> None:
            end(self._client, [one for one in self._containers(release.name) if one.name == name], drain=False)

        with undone_by(undo), uninterrupted():  # else nobody knew whether Docker still makes it
            self._make(release, image["Id"], name, number)

    def _make(self, release: Release, image: str, name: str, number: int) -> None:
        settings = self._settings(release, image, name, number)
        for port in (_free_port() for _ in range(_PORTS)):
            with told(f"starting {name}"):
                made = self._client.containers.create(**settings, ports={f"{PORT}/tcp": (HOST, port)})
            try:
                with told(f"starting {name}"):
                    made.start()
                return
            except PortTaken as error:
                taken = error
                made.remove(force=True)
        raise taken

    def _settings(self, release: Release, image: str, name: str, number: int) -> dict[str, Any]:
        import docker

        limits, state = release.limits, self._state_folder(release, str(number))
        return {
            "image": image,
            "command": [*release.arguments("/artifact"), "--host=0.0.0.0", f"--port={PORT}", "--folder=/data"],
            "name": f"{self._prefix}-{name}",
            "labels": {**self._labels(release), REPLICA: name},
            "environment": dict(release.environment),
            "user": self._user(),
            "init": True,  # so that the service is not process 1, to which the kernel is deaf
            "read_only": True,
            "tmpfs": _TMPFS,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "mounts": [
                docker.types.Mount("/artifact", str(release.artifact.folder.resolve()), "bind", read_only=True),
                docker.types.Mount("/data", state, "bind"),
            ],
            "network": self._prefix,
            "mem_limit": limits.memory,
            "memswap_limit": limits.memory,  # memory and swap together: none of it in swap
            "nano_cpus": limits.cpus and int(limits.cpus * 1e9),
            "pids_limit": limits.pids,
            "ulimits": [docker.types.Ulimit(**one) for one in ulimits(limits)],
            "log_config": docker.types.LogConfig(type="json-file", config=LOG_OPTIONS),
        }

    def _await(self, name: str, seconds: float) -> None:
        container = self._container(name)
        container.wait_ready(seconds)
        if self._fleet.supervise:
            with told(f"supervising {name}"):  # only now: what never was ready is an error, not something to repeat
                self._client.api.update_container(container.id, restart_policy={"Name": "unless-stopped"})

    def _end(self, names: Sequence[str]) -> None:
        end(self._client, [one for one in self._containers() if one.name in names])

    def protections(self, limits: Limits) -> list[Protection]:
        """Return what a container with these limits is kept from by this Docker, and what it is not."""
        return [*super().protections(limits), Protection("new privileges", "none", True, "no-new-privileges")]


def _free_port() -> int:
    """Return a port that nobody listens on now: Docker's own choice would be another at each restart."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return int(sock.getsockname()[1])
