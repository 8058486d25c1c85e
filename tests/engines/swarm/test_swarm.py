"""A swarm that is made for a platform goes with it; one of others stays."""

import contextlib
import os

import pytest

from mlops_helpers.deploy import ownership, swarm
from mlops_helpers.deploy.runtime import runtime
from mlops_helpers.errors import RuntimeUnavailable
from tests.support.docker_state import client_of_daemon


@pytest.fixture
def client():
    with contextlib.closing(client_of_daemon()) as connected:
        yield connected


def test_swarm_of_others_stays_and_one_that_was_made_here_goes_unless_it_is_used(client):
    before = client.api.networks(names=["docker_gwbridge"])
    client.api.init_swarm("127.0.0.1", "127.0.0.1:2377")
    try:
        swarm.join(client)
        assert not swarm.leave(client)
        assert swarm.here(client)
    finally:
        client.api.leave_swarm(force=True)
    if not before:
        client.api.remove_network("docker_gwbridge")
    swarm.join(client)
    assert client.api.inspect_swarm()["Spec"]["Labels"][ownership.OWNER] == ownership.owner()
    others = client.networks.create(  # somebody is about to start a service
        f"opslab-test-{os.getpid()}", driver="bridge", scope="swarm", labels={ownership.OWNER: ownership.owner()}
    )
    try:
        assert not swarm.leave(client)
        assert swarm.here(client)
    finally:
        others.remove()
    assert swarm.leave(client)
    assert not swarm.here(client)
    assert before or not client.api.networks(names=["docker_gwbridge"])


def test_swarm_that_this_machine_does_not_manage_is_refused_with_the_remedy(client, monkeypatch):
    state = {"Swarm": {"LocalNodeState": "active", "ControlAvailable": False}}
    monkeypatch.setattr(type(client), "info", lambda self: state)
    with pytest.raises(RuntimeUnavailable, match=r"swarm that it does not manage .* Next: docker node promote"):
        runtime("swarm")
