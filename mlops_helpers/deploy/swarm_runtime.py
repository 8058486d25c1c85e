"""Releases as services of a swarm of this node: the swarm keeps their number, replaces them, and rolls back."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mlops_helpers.deploy import leftovers, swarm
from mlops_helpers.deploy.container_runtime import ContainerRuntime
from mlops_helpers.deploy.containers import Container, each, find
from mlops_helpers.deploy.docker_errors import Gone, OutOfSequence, connect, told
from mlops_helpers.deploy.ownership import RELEASE, VERSION
from mlops_helpers.deploy.release import Limits, Protection, Release, ReplicaStatus
from mlops_helpers.deploy.runtime import DEADLINE, Replica
from mlops_helpers.deploy.swarm_service import service_of
from mlops_helpers.deploy.swarm_slot import Slot
from mlops_helpers.deploy.swarm_watch import Watch
from mlops_helpers.deploy.undoing import undone_by, uninterrupted
from mlops_helpers.errors import ParameterError, ServiceError

__all__ = ["SwarmRuntime"]

_POLL_SECONDS = 0.1
_UNDER_WAY = ("updating", "rollback_started")


class SwarmRuntime(ContainerRuntime):
    """Each release is a service, each replica the container of one of its tasks.

    They are confined as by :class:`~mlops_helpers.deploy.docker_runtime.DockerRuntime`, except that a swarm knows no
    ``no-new-privileges``. They are on a network that only this host reaches, without published ports: a swarm would
    publish them on all addresses of the host. What replaces a replica has another address; ``on_change`` says it.

    Raises ``RuntimeUnavailable`` also when this node is in a swarm that it does not manage.
    """

    name = "swarm"

    def __init__(self, folder: Path | str | None = None, **options: Any) -> None:
        self.available()
        super().__init__(folder, **options)
        self._were_ready: dict[str, set[str]] = {}

    @classmethod
    def available(cls) -> None:
        """Raise ``RuntimeUnavailable`` when there is no Docker, or this node is in a swarm that it does not manage."""
        client = connect()
        try:
            swarm.require(client)
        finally:
            client.close()

    def _place(self) -> None:
        swarm.join(self._client)
        with told("making a network"):
            made = self._client.api.create_network(
                self._prefix, driver="bridge", scope="swarm", internal=True, labels=self._owned()
            )
        self._network = made["Id"]
        self._watch = Watch(self._client, self.folder, self.on_change)
        self._fleet.afterwards.insert(0, self._watch.end)
        self._watch.start()

    def launch(self, release: Release) -> None:
        """Start a release and return when each replica has its address; see :meth:`Runtime.launch`."""
        if release.name in self._were_ready:
            raise ParameterError(f"there is a release {release.name}. Next: update it, or stop({release.name!r})")
        specification = self._specification(release)
        self._were_ready[release.name] = set()
        with undone_by(lambda: self.stop(release.name)), told(f"starting {release.name}"):
            with uninterrupted():
                self._client.api.create_service(name=self._service(release.name), **specification)
            self._await(release.name, DEADLINE, lambda one: one.running)

    def _specification(self, release: Release) -> dict[str, Any]:
        image = self._image(release)
        if not image["Config"].get("Healthcheck"):
            raise ParameterError(
                f"image {release.image} has no HEALTHCHECK; accepted: one that has: a swarm takes what runs for healthy"
            )
        self._prepare()
        return service_of(
            release,
            image=image["Id"],
            user=self._user(),
            state=self._state_folder(release),
            network=self._network,
            node=self._client.info()["Swarm"]["NodeID"],
            labels=self._labels(release),
        )

    def wait_ready(self, name: str, seconds: float = DEADLINE) -> None:
        """Return when all replicas answer; see :meth:`Runtime.wait_ready`."""
        self._await(name, seconds, Container.is_ready)
        self._were_ready[name] = {one.name for one in self._containers(name)}

    def _await(self, name: str, seconds: float, there: Callable[[Container], bool]) -> None:
        """Return when all replicas are there; one that ends and never was is an error."""
        limit = time.monotonic() + seconds
        wanted = self._inspect(name)["Spec"]["Mode"]["Replicated"]["Replicas"]
        while True:
            found = self._containers(name)
            ready = set(each(found, lambda one: one.name if one.running and there(one) else "")) - {""}
            if len(ready) == wanted and len(found) == wanted:
                self._watch.look()
                return
            self._raise_failure(name)
            if time.monotonic() > limit:
                words = "\n".join(each([one for one in found if one.name not in ready], Container.words))
                raise ServiceError(
                    f"{name} was not ready within {seconds:.3g} s, {len(ready)} of {wanted} are. {words}"
                )
            time.sleep(_POLL_SECONDS)

    def _raise_failure(self, name: str) -> None:
        """Raise ``ServiceError`` with the last words of a replica that ended and never was ready."""
        for task in self._tasks(name):
            slot = f"{name}-{task['Slot'] - 1}"
            if task["Status"]["State"] in ("failed", "rejected") and slot not in self._were_ready[name]:
                raise ServiceError(f"{slot} {self._why(task)}")

    def _why(self, task: dict[str, Any]) -> str:
        made = task["Status"].get("ContainerStatus", {}).get("ContainerID")
        there = [one for one in find(self._client, self.folder) if one.id == made]
        for why in each(there, lambda one: f"{one.exit_reason(one.inspect())} before it was ready. {one.words()}"):
            return f"ended with {why}"
        return f"was refused: {task['Status'].get('Err', task['Status']['Message'])}"

    def scale(self, name: str, replicas: int, *, deadline: float = DEADLINE) -> None:
        """Have so many replicas; see :meth:`Runtime.scale`."""
        if replicas < 1:
            raise ParameterError(f"replicas is {replicas}; accepted: 1 or more. To end it: stop({name!r})")
        before = self._inspect(name)["Spec"]
        wanted = {"Replicated": {"Replicas": replicas}}
        with undone_by(partial(self._put, name, before)):
            self._put(name, before | {"Mode": wanted})
            self.wait_ready(name, deadline)

    def update(self, release: Release, *, deadline: float = DEADLINE) -> None:
        """Replace replicas one by one; the swarm rolls back; see :meth:`Runtime.update`."""
        service = self._inspect(release.name)
        before, earlier = service["Spec"], service.get("UpdateStatus", {}).get("StartedAt")
        given = self._specification(release)
        template = given["task_template"] | {"ForceUpdate": before["TaskTemplate"]["ForceUpdate"] + 1}
        limit = time.monotonic() + deadline
        with undone_by(partial(self._put, release.name, before)):
            self._put(release.name, before | {"TaskTemplate": template, "Labels": given["labels"]})
            while True:
                status = self._inspect(release.name).get("UpdateStatus", {})  # empty until the swarm gets to it
                if status.get("StartedAt", earlier) != earlier and status["State"] not in _UNDER_WAY:
                    break
                if time.monotonic() > limit:
                    raise ServiceError(f"{release.name} was not updated within {deadline:g} s: {status.get('Message')}")
                time.sleep(_POLL_SECONDS)
        if status["State"] != "completed":
            self._watch.look()
            failed = [task for task in self._tasks(release.name) if task["Status"]["State"] in ("failed", "rejected")]
            last = max(failed, key=lambda task: task["CreatedAt"], default=None)
            why = self._why(last) if last else status["Message"]
            raise ServiceError(f"{release.name} was rolled back to {before['Labels'][VERSION]}: a replica {why}")
        self.wait_ready(release.name, max(0.0, limit - time.monotonic()))

    def stop(self, name: str) -> None:
        """End a release; see :meth:`Runtime.stop`."""
        with suppress(Gone), told(f"ending {name}"):
            self._client.api.remove_service(self._service(name))
        self._were_ready.pop(name, None)
        leftovers.end_tasks(self._client, self._label, f"{RELEASE}={name}", drain=True)

    def _service(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def _inspect(self, name: str) -> dict[str, Any]:
        with told(f"looking for the release {name}"):
            return dict(self._client.api.inspect_service(self._service(name)))

    def _tasks(self, name: str) -> list[dict[str, Any]]:
        with told(f"looking for the replicas of {name}"):
            return list(self._client.api.tasks({"service": self._service(name)}))

    def _put(self, name: str, specification: dict[str, Any]) -> None:
        """Give a service another specification."""
        limit = time.monotonic() + DEADLINE
        while True:
            service = self._inspect(name)
            try:
                with told(f"changing {name}"):
                    self._client.api.update_service(
                        service["ID"],
                        service["Version"]["Index"],
                        name=specification["Name"],
                        labels=specification["Labels"],
                        task_template=specification["TaskTemplate"],
                        mode=specification["Mode"],
                        update_config=specification["UpdateConfig"],
                        rollback_config=specification["RollbackConfig"],
                        endpoint_spec=specification["EndpointSpec"],
                    )
                return
            except OutOfSequence:  # the swarm noted something in it since it was read
                if time.monotonic() > limit:
                    raise

    def _containers(self, name: str = "") -> list[Container]:
        """Return who is in each slot: those that run, else who was in it last."""
        now = super()._containers(name)
        filled = {one.name for one in now}
        slots = {
            f"{release}-{task['Slot'] - 1}"
            for release in ([name] if name else self._were_ready)
            for task in self._tasks(release)
            if task["DesiredState"] in ("running", "ready")
        }
        last = {one.name: one for one in sorted(find(self._client, self.folder, name), key=lambda one: one.created)}
        return now + [one for slot, one in last.items() if slot in slots - filled]

    def replica(self, name: str) -> Replica:
        """Return a slot by its name. Raises ``ParameterError`` naming those that there are."""
        self._container(name)
        return Slot(name, lambda: self._container(name))

    def status(self, name: str = "") -> list[ReplicaStatus]:
        """Return what there is to know of each slot; ``restarts`` are the last few who were in it and failed."""
        failed: dict[str, list[str]] = {}
        ended = [one for one in find(self._client, self.folder, name) if not one.running]
        for slot, reason in each(ended, lambda one: (one.name, one.exit_reason(one.inspect()))):
            if reason != "exit code 0":
                failed.setdefault(slot, []).append(reason)
        return [
            replace(one, restarts=len(found := failed.get(one.name, [])), exit_reason=found[-1] if found else "")
            for one in super().status(name)
        ]

    def protections(self, limits: Limits) -> list[Protection]:
        """Return what a container with these limits is kept from by this swarm, and what it is not."""
        missing = "not in force: a swarm knows no such option; what is gained that way has no capability either"
        return [*super().protections(limits), Protection("new privileges", "none", False, missing)]
