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

__all__ = ["remove", "remove_abandoned", "wait_gone"]

_GONE_SECONDS = 60.0  # a swarm ends containers in its own time
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
            wait_gone(client, *labels)
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


def wait_gone(client: "docker.DockerClient", *labels: str) -> None:
    """Wait until the containers of a swarm's services that were removed are gone, as their network outlives them else.

    Raises ``ServiceError`` when that takes too long.
    """
    limit = time.monotonic() + _GONE_SECONDS
    while client.api.containers(all=True, filters={"label": [*labels, swarm.SERVICE]}):
        if time.monotonic() > limit:
            raise ServiceError(f"containers of {labels[-1]} do not end. Next: docker ps --filter label={labels[-1]}")
        time.sleep(_POLL_SECONDS)
