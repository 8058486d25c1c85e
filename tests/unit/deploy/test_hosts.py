"""Hosts that cannot be, and what they need that is missing."""

import importlib.util

import pytest

from mlops_helpers.deploy import hosts as h
from mlops_helpers.deploy.release import Release
from mlops_helpers.errors import ParameterError, RuntimeUnavailable, ServiceError


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"names": ()}, "no host is named"),
        ({"names": ("alpha", "alpha")}, "host 'alpha'; accepted"),
        ({"names": ("all",)}, "none of all, filters"),
        ({"names": ("a b",)}, "host 'a b'; accepted"),
        ({"runtime": "swarm"}, "runtime is 'swarm'; accepted: process, docker"),
    ],
)
def test_hosts_refuse_what_they_cannot_be(given, message, workspace_folder):
    with pytest.raises(ParameterError, match=message):
        h.Hosts(**given)
    assert not list(workspace_folder.rglob("*"))


def test_hosts_that_are_not_up_and_engines_that_are_missing(monkeypatch, artifact, workspace_folder):
    hosts, v1 = h.Hosts(("alpha",)), Release("filter", "v1", artifact)
    for attempt in (lambda: h.converge(hosts, v1), lambda: h.check(hosts), lambda: h.rotate_secret(hosts)):
        with pytest.raises(ServiceError, match=r"these hosts are not up\. Next: up"):
            attempt()
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ansible" else found(name))
    with pytest.raises(ServiceError, match=r"ansible-core is not installed\. Next: make setup"):
        hosts.up()
    assert not list((workspace_folder / "hosts").iterdir())
    with pytest.raises(ServiceError, match="started before"):
        hosts.up()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeUnavailable, match=r"the command docker is not here.* Next: apt-get install docker.io"):
        h.Hosts(("alpha",), runtime="docker").up()
    assert not list((workspace_folder / "hosts").iterdir())
