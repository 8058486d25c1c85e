"""What was made in Docker under a label, and its removal: at the end of a runtime, or after its maker was killed."""

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mlops_helpers.deploy import swarm
from mlops_helpers.deploy.containers import Container, end
from mlops_helpers.deploy.docker_errors import Gone, told
from mlops_helpers.deploy.ownership import OWNER, owner_lives
from mlops_helpers.errors import ServiceError

if TYPE_CHECKING:
    import docker

__all__ = ["end_tasks", "remove", "remove_abandoned"]

_GONE_SECONDS = 60.0
_POLL_SECONDS = 0.05


def _owners(client: "docker.DockerClient") -> dict[str, bool]:
    """Return who made anything that is there, and whether they still run. Raises ``ServiceError``."""
    with told("looking for what was made"):
        given = {"filters": {"label": OWNER}}
        found: Iterable[dict[str, Any]] = [*client.api.containers(all=True, **given), *client.api.networks(**given)]
        if swarm.here(client):
            found = [*found, *(one["Spec"] for one in client.api.services(**given)), client.api.inspect_swarm()["Spec"]]
    labels = {(one.get("Labels") or {}).get(OWNER) for one in found}
    return {label: owner_lives(label) for label in labels if label}


def remove_abandoned(client: "docker.DockerClient", *labels: str) -> list[str]:
    """Remove what was made by those who do not run any more, of what has some labels; return the names."""
    gone = [label for label, lives in _owners(client).items() if not lives]
    return [name for label in gone for name in remove(client, f"{OWNER}={label}", *labels)]


def remove(client: "docker.DockerClient", *labels: str, drain: bool = False) -> list[str]:
    """Remove all that has some labels (KEY=VALUE), and the swarm if nothing else needs it; return the names.

    Raises ``ServiceError`` when Docker refuses, is away, or takes too long.
    """
    given = {"filters": {"label": [*labels]}}
    names = []
    with told(f"removing what has the label {labels[0]}"):
        if in_swarm := swarm.here(client):
            for service in client.api.services(**given):
                with suppress(Gone), told("removing a service"):
                    client.api.remove_service(service["ID"])
                    names.append(f"service {service['Spec']['Name']}")
            end_tasks(client, *labels, drain=drain)
        containers = [Container(client, one) for one in client.api.containers(all=True, **given)]
        end(client, containers, drain=drain)
        names += [f"container {one.name or one.id[:12]}" for one in containers]
        for network in client.api.networks(**given):
            with suppress(Gone), told("removing a network"):
                client.api.remove_network(network["Id"])
                names.append(f"network {network['Name']}")
        if in_swarm and swarm.leave(client):
            names.append("swarm of this node")
    return names


def end_tasks(client: "docker.DockerClient", *labels: str, drain: bool) -> None:
    """End the containers of services that were removed: the swarm takes seconds for it, and its network outlives them.

    Raises ``ServiceError`` when that takes too long.
    """
    limit = time.monotonic() + _GONE_SECONDS
    given = {"all": True, "filters": {"label": [*labels, swarm.SERVICE]}}
    while listed := client.api.containers(**given):
        if time.monotonic() > limit:
            raise ServiceError(f"containers of {labels[-1]} do not end. Next: docker ps --filter label={labels[-1]}")
        for one in listed:
            if one["State"] == "running":
                with suppress(ServiceError):
                    Container(client, one).stop()
        time.sleep(_POLL_SECONDS)  # one that was being made when the service was removed may come yet
