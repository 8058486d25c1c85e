"""Containers as hosts."""

import contextlib
import json
import signal

import pytest

from mlops_helpers.deploy import hosts as h
from mlops_helpers.deploy import hosts_puppet, leftovers
from mlops_helpers.deploy.release import Release
from mlops_helpers.errors import ParameterError
from tests.support.machines import EVERYTHING, maker, may_administer, versions
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(400)  # the first one builds the image


def made_in_docker(client, folder):
    wanted = {"filters": {"label": f"opslab.folder={folder}"}}
    return [one["Id"] for one in (*client.api.containers(all=True, **wanted), *client.api.networks(**wanted))]


@pytest.fixture
def docker():
    import docker

    with contextlib.closing(docker.from_env()) as client:
        yield client


def test_containers_are_hosts(docker, artifact):
    v1 = Release("filter", "v1", artifact)
    with h.Hosts(("alpha", "beta"), runtime="docker") as hosts:
        assert len(made_in_docker(docker, hosts.folder)) == 3
        assert h.converge(hosts, v1).changed == {"alpha": EVERYTHING, "beta": EVERYTHING}
        alpha = hosts["alpha"]
        assert versions(hosts) == {"alpha": "v1", "beta": "v1"}
        assert alpha.run("stat -c '%a %u' etc/filter.toml etc/token").split() == ["640", "0", "600", "0"]
        pid = json.loads(alpha.run(f"{alpha.servicectl} show ."))["pid"]
        assert alpha.run(f"stat -c %u /proc/{pid}").strip() == "10001"  # the filter is not root
        alpha.run(f"echo >> etc/filter.toml; chmod 666 etc/token; {alpha.servicectl} stop .")
        hosts.power_off("beta")
        with pytest.raises(
            h.HostsFailed, match=r"1 of 2 hosts failed:\n  beta: unreachable .*No such container"
        ) as failure:
            h.check(hosts)
        assert failure.value.result.changed["alpha"] == ["configuration", "secret", "process"]
        hosts.replace("beta")
        old = hosts.admin_token
        result = h.rotate_secret(hosts)
        assert result.changed == {"alpha": EVERYTHING[2:], "beta": EVERYTHING}
        assert all(may_administer(machine, hosts.admin_token) and not may_administer(machine, old) for machine in hosts)
        with pytest.raises(ParameterError, match="Puppet runs on the machine itself"):
            hosts_puppet.apply(hosts, "alpha")
        folder = hosts.folder
    assert not made_in_docker(docker, folder)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda how: how.name)
def test_containers_vanish_with_an_interrupted_or_killed_maker(how, docker, artifact):
    with maker("docker", artifact) as (process, folder):
        assert len(made_in_docker(docker, folder)) == 3
        process.send_signal(how)
        process.wait(60)
    if how == signal.SIGKILL:
        until(lambda: len(made_in_docker(docker, folder)) == 1)
        leftovers.remove(docker, f"opslab.folder={folder}")  # the network, as platform down --all does
    assert not made_in_docker(docker, folder)
