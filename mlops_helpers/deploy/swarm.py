"""The swarm of this one node: made when there is none, left when it was made here and nothing runs in it any more."""

from typing import TYPE_CHECKING

from mlops_helpers.deploy.docker_errors import told
from mlops_helpers.deploy.ownership import NAMESPACE, OWNER, owner
from mlops_helpers.errors import RuntimeUnavailable

if TYPE_CHECKING:
    import docker

__all__ = ["SERVICE", "here", "join", "leave", "require"]

SERVICE = "com.docker.swarm.service.name"  # a label that a swarm gives its containers
_BRIDGE = "docker_gwbridge"  # made with a swarm, and not removed with it
_OWN_BRIDGE = f"{NAMESPACE}bridge"


def here(client: "docker.DockerClient") -> bool:
    """Say whether this node is in a swarm that it manages."""
    return bool(client.info()["Swarm"].get("ControlAvailable"))


def require(client: "docker.DockerClient") -> None:
    """Raise ``RuntimeUnavailable`` when this node is in a swarm that it does not manage."""
    with told("asking for the swarm"):
        state = client.info()["Swarm"]
    if state["LocalNodeState"] != "inactive" and not state.get("ControlAvailable"):
        raise RuntimeUnavailable(
            f"this node is in a swarm that it does not manage (it is {state['LocalNodeState']}). Accepted: a manager, "
            "or a node in no swarm. Next: docker node promote NODE on a manager, or docker swarm leave"
        )


def join(client: "docker.DockerClient") -> None:
    """Make a swarm of this node if it is in none. It listens on the loopback address only. Raises ``ServiceError``."""
    with told("making a swarm of this node"):
        if not here(client):
            others = "there" if client.api.networks(names=[_BRIDGE]) else "made"
            labels = {OWNER: owner(), _OWN_BRIDGE: others}
            client.api.init_swarm(
                advertise_addr="127.0.0.1",
                listen_addr="127.0.0.1:2377",
                swarm_spec=client.api.create_swarm_spec(labels=labels),
            )


def leave(client: "docker.DockerClient") -> bool:
    """Leave the swarm, with the network that came with it, if it was made here and is empty; say whether it was.

    Who is about to start the first service has a network in it already.
    """
    labels = client.api.inspect_swarm()["Spec"]["Labels"] or {}
    used = client.api.services() or client.api.networks(filters={"label": OWNER, "scope": "swarm"})
    if OWNER not in labels or used:
        return False
    client.api.leave_swarm(force=True)
    if labels[_OWN_BRIDGE] == "made":
        client.api.remove_network(_BRIDGE)
    return True
