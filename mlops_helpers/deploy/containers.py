"""Replicas as containers: found by label, so that any process sees the same, and what an operator does to one."""

import signal
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mlops_helpers.deploy.calls import call
from mlops_helpers.deploy.docker_errors import Gone, told
from mlops_helpers.deploy.exits import exit_reason
from mlops_helpers.deploy.ownership import FOLDER, RELEASE, REPLICA, VERSION
from mlops_helpers.deploy.release import ReplicaStatus, Usage
from mlops_helpers.errors import ServiceError

if TYPE_CHECKING:
    import docker

__all__ = ["LOG_OPTIONS", "PORT", "STOP_SECONDS", "TMPFS_BYTES", "Container", "current", "each", "end", "find"]

T = TypeVar("T")

PORT = 8080  # within the container; the image's health check asks there
LOG_OPTIONS = {"max-size": "1m", "max-file": "2"}
TMPFS_BYTES = 16_000_000
STOP_SECONDS = 15.0  # from SIGTERM to SIGKILL; a service drains for less
_PROBE_SECONDS = 0.5
_POLL_SECONDS = 0.02
_WORDS = 15


def find(client: "docker.DockerClient", folder: Path, release: str = "") -> list["Container"]:
    """Return the containers of a runtime's folder, of one release or of all, oldest first. Raises ``ServiceError``."""
    label = [f"{FOLDER}={folder}", *([f"{RELEASE}={release}"] if release else [])]
    with told("looking for containers"):
        newest_first = client.api.containers(all=True, filters={"label": label})  # Docker knows more than seconds
    return [Container(client, one) for one in reversed(newest_first)]


def current(client: "docker.DockerClient", folder: Path, release: str = "") -> list["Container"]:
    """Return the containers that are replicas now, the first ones first: a swarm keeps some that it has replaced.

    There may be two of a name, while one replaces the other. Raises ``ServiceError``.
    """
    found = sorted(find(client, folder, release), key=lambda one: one.created)
    return [one for one in found if one.running or REPLICA in one.labels]


def each(containers: Iterable["Container"], ask: "Callable[[Container], T]") -> list[T]:
    """Return what each container answers, without those that were removed since they were found."""
    answers = []
    for one in containers:
        with suppress(Gone):
            answers.append(ask(one))
    return answers


class Container:
    """One container, as a :class:`~mlops_helpers.deploy.runtime.Replica`; ``listed`` is what a list says of it."""

    def __init__(self, client: "docker.DockerClient", listed: dict[str, Any]) -> None:
        self._client, self._listed = client, listed
        self.id: str = listed["Id"]
        self.labels: dict[str, str] = listed["Labels"]
        self.name = self.labels.get(REPLICA) or _slot(self.labels)
        self.created: float = listed["Created"]

    @property
    def running(self) -> bool:
        """Whether it ran when it was found, paused or not."""
        return self._listed["State"] in ("running", "paused")

    def inspect(self) -> dict[str, Any]:
        """Return all that Docker knows of it. Raises ``ServiceError`` when it is gone."""
        with told(f"looking at {self.name}"):
            return dict(self._client.api.inspect_container(self.id))

    @property
    def address(self) -> str:
        """Host and port: published on the loopback address, or on a network that only this host reaches; else empty."""
        for port in self._listed["Ports"]:
            if port.get("IP"):
                return f"{port['IP']}:{port['PublicPort']}"
        found = self.inspect()
        for given in (found["HostConfig"]["PortBindings"] or {}).values():
            return f"{given[0]['HostIp']}:{given[0]['HostPort']}"
        networks = self._listed["NetworkSettings"]["Networks"].values()
        return next((f"{one['IPAddress']}:{PORT}" for one in networks if one["IPAddress"]), "")

    def status(self) -> ReplicaStatus:
        """Return what there is to know: ready is what answers so, not what merely runs."""
        found, address = self.inspect(), self.address
        state, memory = found["State"], None
        if running := state["Status"] == "running":
            with suppress(ServiceError):
                memory = self.memory()
        return ReplicaStatus(
            self.name,
            _answers(address, state) if running else _word(state),
            address,
            state["Pid"] or None,
            found["RestartCount"],
            self.labels[VERSION],
            memory,
            self.exit_reason(found),
            self.id,
        )

    def exit_reason(self, found: dict[str, Any]) -> str:
        """Return why it ended last; Docker remembers an end before the last start for a short time only."""
        state = found["State"]
        if state["Status"] in ("exited", "restarting", "dead"):
            return state["Error"] or exit_reason(state["ExitCode"], out_of_memory=state["OOMKilled"])
        if not found["RestartCount"]:
            return ""
        now = time.time()
        filters = {"container": self.id, "event": ["die", "oom"]}
        with told(f"reading the events of {self.name}"):
            events = list(self._client.api.events(since=now - 86400, until=now, filters=filters, decode=True))
        reason, out_of_memory = "", False
        for event in events:
            if event["Action"] == "oom":
                out_of_memory = True
            else:
                reason = exit_reason(int(event["Actor"]["Attributes"]["exitCode"]), out_of_memory=out_of_memory)
                out_of_memory = False
        return reason

    def logs(self, lines: int) -> list[str]:
        """Return the last lines that it printed. Raises ``ServiceError``."""
        with told(f"reading what {self.name} printed"):
            return str(self._client.api.logs(self.id, tail=lines).decode(errors="replace")).splitlines()

    def memory(self) -> int:
        """Return the resident memory of its processes in bytes. Raises ``ServiceError`` when it does not run."""
        with told(f"measuring {self.name}"):
            processes = self._client.api.top(self.id, ps_args="-eo pid,rss")["Processes"]
        return sum(int(rss) * 1024 for _, rss in processes)

    def usage(self) -> Usage:
        """Return what its control group uses; Docker looks once a second. Raises ``ServiceError`` when it is gone."""
        with told(f"measuring {self.name}"):
            stats = self._client.api.stats(self.id, stream=False, one_shot=True)
        memory, cpu = stats["memory_stats"], stats["cpu_stats"]["cpu_usage"]["total_usage"]
        if "usage" not in memory:
            raise ServiceError(f"{self.name} does not run")
        cache = memory["stats"].get("total_inactive_file", memory["stats"].get("inactive_file", 0))
        return Usage(self.name, memory["usage"] - cache, cpu / 1e9, stats["pids_stats"]["current"])

    def start(self) -> None:
        """Start it if it is stopped, on the same address; do not wait for it."""
        with told(f"starting {self.name}"):
            self._client.api.start(self.id)

    def is_ready(self) -> bool:
        """Say whether it answers that it is ready."""
        state = self.inspect()["State"]
        return state["Status"] == "running" and _answers(self.address, state) == "ready"

    def wait_ready(self, seconds: float) -> None:
        """Return when it answers. Raises ``ServiceError`` with its last words when it ended, or does not in time."""
        limit = time.monotonic() + seconds
        address = self.address
        while True:
            found = self.inspect()
            state = found["State"]
            if state["Paused"] or (state["Status"] == "running" and _answers(address, state) == "ready"):
                return
            if state["Status"] in ("exited", "dead"):
                why = self.exit_reason(found)
                raise ServiceError(f"{self.name} ended with {why} before it was ready. {self.words()}")
            if time.monotonic() >= limit:
                raise ServiceError(f"{self.name} was not ready within {seconds:.3g} s. {self.words()}")
            time.sleep(_POLL_SECONDS)

    def words(self) -> str:
        """Return the last lines under a heading."""
        return "\n".join([f"The last lines of {self.name}:", *(self.logs(_WORDS) or ["(none)"])])

    def kill(self) -> None:
        """End its processes at once from within, as a crash would: what is killed by order, Docker does not restart."""
        state = self.inspect()["State"]
        if state["Paused"]:
            self.resume()
        with told(f"killing {self.name}"):
            # All but the first, which is Docker's and ends with them.
            self._client.api.exec_start(self._client.api.exec_create(self.id, ["/bin/sh", "-c", "kill -9 -1"])["Id"])
        limit = time.monotonic() + STOP_SECONDS
        while self.inspect()["State"]["Pid"] == state["Pid"] and time.monotonic() < limit:
            time.sleep(_POLL_SECONDS)

    def pause(self) -> None:
        """Let it hang."""
        with told(f"pausing {self.name}"):
            self._client.api.pause(self.id)

    def resume(self) -> None:
        """Let it go on."""
        with told(f"resuming {self.name}"):
            self._client.api.unpause(self.id)

    def stop(self) -> None:
        """End it, drained; it is not restarted until :meth:`start`."""
        with told(f"stopping {self.name}"):
            self._client.api.stop(self.id, timeout=int(STOP_SECONDS))


def end(client: "docker.DockerClient", containers: Sequence[Container], *, drain: bool = True) -> None:
    """End containers at the same time and remove them. Raises ``ServiceError``."""

    def end_one(one: Container) -> None:
        with suppress(Gone), told(f"removing {one.name}"):
            if drain:
                client.api.stop(one.id, timeout=int(STOP_SECONDS))
            client.api.remove_container(one.id, v=True, force=True)

    with ThreadPoolExecutor(max(1, len(containers))) as threads:
        list(threads.map(end_one, containers))


def _slot(labels: dict[str, str]) -> str:
    """Return the name of a swarm's replica: its tasks are SERVICE.SLOT.ID, where slots count from 1."""
    parts = labels.get("com.docker.swarm.task.name", "").split(".")
    return f"{labels[RELEASE]}-{int(parts[-2]) - 1}" if len(parts) > 2 and RELEASE in labels else ""


def _answers(address: str, state: dict[str, Any]) -> str:
    """Return what a running container is: ready when it answers so."""
    with suppress(ServiceError):
        if address:
            call("GET", address, "/readyz", seconds=_PROBE_SECONDS)
            return "ready"
    return "starting" if state.get("Health", {}).get("Status", "starting") == "starting" else "unhealthy"


def _word(state: dict[str, Any]) -> str:
    """Return what a container is that does not run, or is paused."""
    if state["Status"] == "exited":
        return "stopped" if state["ExitCode"] in (0, 128 + signal.SIGTERM) else "failed"
    return {"created": "starting", "dead": "failed"}.get(state["Status"], state["Status"])
