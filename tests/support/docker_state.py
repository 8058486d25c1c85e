"""What is in Docker of these tests, to compare before and after; and images that are broken on purpose."""

import contextlib
import io
import os
import uuid

import docker

from mlops_helpers.deploy import ownership

DAEMON = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")  # whatever a test puts in its place
_BRIDGE = "docker_gwbridge"  # comes with a swarm and outlives it: others may have left it


def client_of_daemon() -> docker.DockerClient:
    return docker.DockerClient(DAEMON, version="auto", timeout=60)


def containers(folder) -> list[dict]:
    """Return the containers of a runtime's folder."""
    with contextlib.closing(client_of_daemon()) as client:
        return client.api.containers(all=True, filters={"label": f"{ownership.FOLDER}={folder}"})


def things(folder) -> list[str]:
    """Return what is in Docker that this process made, or that has a state folder below ``folder``."""

    def ours(labels):
        labels = labels or {}
        return labels.get(ownership.OWNER) == ownership.owner() or labels.get(ownership.FOLDER, "").startswith(
            str(folder)
        )

    with contextlib.closing(client_of_daemon()) as client:
        state, api = client.info()["Swarm"], client.api
        made = [("container", entry["Id"]) for entry in api.containers(all=True) if ours(entry["Labels"])]
        made += [
            ("network", entry["Name"]) for entry in api.networks() if ours(entry["Labels"]) or entry["Name"] == _BRIDGE
        ]
        made += [("volume", entry["Name"]) for entry in api.volumes()["Volumes"] or () if ours(entry["Labels"])]
        made += [
            ("image", entry["Id"]) for entry in api.images() if f"opslab-test-{os.getpid()}" in str(entry["RepoTags"])
        ]
        made += [("swarm", state["LocalNodeState"])]
        if state.get("ControlAvailable"):
            made += [("service", entry["ID"]) for entry in api.services() if ours(entry["Spec"]["Labels"])]
    return sorted(map(str, made))


@contextlib.contextmanager
def image(base: str, *lines: str):
    """Make an image of another by some lines of a Dockerfile; it is gone afterwards."""
    name = f"opslab-test-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    recipe = "\n".join([f"FROM {base}", *lines])
    with contextlib.closing(client_of_daemon()) as client:
        client.images.build(fileobj=io.BytesIO(recipe.encode()), tag=name, rm=True)
        try:
            yield name
        finally:
            client.images.remove(name, force=True)
