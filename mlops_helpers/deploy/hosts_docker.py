"""Machines to configure: containers on a network of their own, reached from this machine's loopback address.

The image is that of the services: a machine brings Python and what the filter needs, but no model, no configuration and
no secret. A container vanishes with its maker, however that ended: its standard input is its lifeline.
"""

import io
import shutil
import tarfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_helpers.deploy.docker_errors import Gone, connect, told
from mlops_helpers.deploy.hosts_machines import CONTENT, Machine
from mlops_helpers.deploy.images import build_service_image
from mlops_helpers.deploy.ownership import FOLDER, OWNER, owner
from mlops_helpers.errors import RuntimeUnavailable, ServiceError

if TYPE_CHECKING:  # a fifth of a second to import
    import docker

__all__ = ["Containers"]

_ROOT, _SERVICECTL, _PORT = "/srv/filter", "/srv/servicectl.py", 8080
_FILTER_USER = "10001"  # whoever configures is root on the machine, the filter is not
_CAPABILITIES = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"]  # what configuring takes
_NO_WAY_OUT = {
    "com.docker.network.bridge.enable_ip_masquerade": "false",
    "com.docker.network.bridge.enable_icc": "false",
}
_SECONDS = 30.0
_POLL_SECONDS = 0.02


class Containers:
    """What container machines have in common: image, network, labels."""

    client: "docker.DockerClient"
    image: str

    def __init__(self, folder: Path) -> None:
        self.name = f"opslab-hosts-{uuid.uuid4().hex[:8]}"
        self.labels = {OWNER: owner(), FOLDER: str(folder)}

    def open(self) -> None:
        """Make the network, and the image if it is missing.

        Raises ``RuntimeUnavailable`` without a daemon or without the command ``docker``, ``ImageError`` when the image
        cannot be built.
        """
        if shutil.which("docker") is None:
            raise RuntimeUnavailable(
                "the command docker is not here, and Ansible enters containers with it. Accepted: the command, or "
                "runtime='process'. Next: apt-get install docker.io"
            )
        self.client = connect()
        self.image = build_service_image().name
        # In a thread that an interrupt has to wait for: only then is it known what was made.
        with told("making a network"), ThreadPoolExecutor(1) as thread:
            settings = {"driver": "bridge", "options": _NO_WAY_OUT, "labels": self.labels}
            thread.submit(self.client.api.create_network, self.name, **settings).result()

    def machine(self, name: str) -> Machine:
        """Return a machine that is off."""
        return _Container(name, self)

    def close(self) -> None:
        """Remove the network, which no machine must be on any more; safe twice."""
        if hasattr(self, "client"):
            with suppress(Gone), told("removing a network"):
                self.client.api.remove_network(self.name)
            self.client.close()


class _Container(Machine):
    def __init__(self, name: str, common: Containers) -> None:
        self.name, self.root, self.address, self.network = name, _ROOT, "", common.name
        self._common, self._container = common, f"{common.name}-{name}"
        self.enter = ["docker", "exec", "--interactive", "--workdir", _ROOT, self._container]
        self.servicectl = f"python3 -P {_SERVICECTL}"
        self.python, self.owner = "/usr/bin/python3", (0, 0)
        self._lifeline: Any = None

    def boot(self) -> None:
        self.off()
        with told(f"starting {self.name}"):
            self._start(self._common.client)

    def _start(self, client: "docker.DockerClient") -> None:
        from docker.utils.socket import frames_iter

        container = client.containers.create(
            self._common.image,
            ["run", _ROOT, "--host", "0.0.0.0", "--port", str(_PORT), "--user", _FILTER_USER],  # noqa: S104
            entrypoint=["python3", "-P", _SERVICECTL],
            name=self._container,
            hostname=self.name,
            labels=self._common.labels,
            user="0:0",
            init=True,
            stdin_open=True,
            auto_remove=True,
            network=self._common.name,
            ports={f"{_PORT}/tcp": ("127.0.0.1", None)},
            cap_drop=["ALL"],
            cap_add=_CAPABILITIES,
            security_opt=["no-new-privileges"],
            pids_limit=256,
            healthcheck={"test": ["NONE"]},  # a machine without the filter is not ill
        )
        container.put_archive("/srv", _archive(CONTENT / "servicectl.py"))
        self._lifeline = container.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        container.start()
        _, said = next(frames_iter(self._lifeline, tty=False), (0, b"no reason given"))
        if not said.startswith(b'{"ready": true'):
            raise ServiceError(f"{self.name} does not start: {said.decode(errors='replace').strip()}")
        container.reload()
        published = container.ports[f"{_PORT}/tcp"][0]
        self.address = f"{published['HostIp']}:{published['HostPort']}"

    def off(self) -> None:
        api, limit = self._common.client.api, time.monotonic() + _SECONDS
        with suppress(Gone), told(f"switching {self.name} off"):
            while time.monotonic() < limit:
                with suppress(ServiceError), told("removing it"):  # it is being removed already
                    api.remove_container(self._container, v=True, force=True)
                api.inspect_container(self._container)
                time.sleep(_POLL_SECONDS)
        if self._lifeline is not None:
            self._lifeline.close()
            self._lifeline = None


def _archive(path: Path) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.add(path, path.name)
    return stream.getvalue()
