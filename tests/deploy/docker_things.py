"""What the tests of the runtimes share: counting what is in Docker, and images that are broken on purpose."""

import contextlib
import io
import os
import uuid

import docker
import psutil

from mlops_helpers.deploy import cgroups, ownership
from mlops_helpers.workspace import workspace

DAEMON = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")  # whatever a test puts in its place


def client_of_daemon():
    return docker.DockerClient(DAEMON, version="auto", timeout=60)


def bridges():
    """The bridge that comes with a swarm and outlives it, if there is one: others may have left it."""
    with contextlib.suppress(docker.errors.DockerException), contextlib.closing(client_of_daemon()) as client:
        return client.api.networks(names=["docker_gwbridge"])
    return []


THERE_BEFORE = {one["Id"] for one in bridges()}


def things(folder):
    """What is in Docker and in this system that this process made, or that has a state folder below ``folder``."""

    def ours(labels):
        return labels.get(ownership.OWNER) == ownership.owner() or labels.get(ownership.FOLDER, "").startswith(folder)

    found = []
    with contextlib.suppress(docker.errors.DockerException), contextlib.closing(client_of_daemon()) as client:
        found += [("container", one["Id"]) for one in client.api.containers(all=True) if ours(one["Labels"])]
        found += [("network", one["Name"]) for one in client.api.networks() if ours(one["Labels"] or {})]
        found += [("network", one["Name"]) for one in bridges() if one["Id"] not in THERE_BEFORE]
        found += [("volume", one["Name"]) for one in client.api.volumes()["Volumes"] or () if ours(one["Labels"] or {})]
        found += [("image", one["Id"]) for one in client.api.images() if f"test-{os.getpid()}" in str(one["RepoTags"])]
        state = client.info()["Swarm"]
        found += [("swarm", state["LocalNodeState"])]
        if state.get("ControlAvailable"):
            found += [("service", one["ID"]) for one in client.api.services() if ours(one["Spec"]["Labels"])]
    found += [("process", one.pid) for one in psutil.Process().children(recursive=True)]
    found += [("folder", path.name) for path in workspace("platforms").iterdir()]
    name = ownership.owner().replace("/", "_")
    found += [("cgroup", str(path)) for one in set(cgroups.parents().values()) for path in one.glob(f"*{name}*")]
    return sorted(map(str, found))


@contextlib.contextmanager
def image(base, *lines):
    """An image made of another by some lines of a Dockerfile; it is gone afterwards."""
    name = f"opslab-test-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    recipe = "\n".join([f"FROM {base}", *lines])
    with contextlib.closing(client_of_daemon()) as client:
        client.images.build(fileobj=io.BytesIO(recipe.encode()), tag=name, rm=True)
        try:
            yield name
        finally:
            client.images.remove(name, force=True)
