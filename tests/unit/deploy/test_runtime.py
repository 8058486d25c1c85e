"""Releases, limits and runtimes: what is refused, control groups, owners, undoing, a swarm that is slow, and hosts."""

import dataclasses
import importlib.util
import os
import types

import pytest

from mlops_helpers.deploy import cgroups, limits, ownership, swarm_runtime
from mlops_helpers.deploy import hosts as h
from mlops_helpers.deploy.exits import exit_reason
from mlops_helpers.deploy.runtime import RUNTIMES, Limits, Release, runtime
from mlops_helpers.deploy.swarm_runtime import SwarmRuntime
from mlops_helpers.deploy.undoing import undone_by, uninterrupted
from mlops_helpers.errors import ParameterError, RuntimeUnavailable, ServiceError


@pytest.fixture
def release(artifact):
    return Release("filter", "v1", artifact)


def test_impossible_releases_and_limits_are_refused(release):
    with pytest.raises(ParameterError, match="runtime is 'cloud'; accepted: process, docker, swarm"):
        runtime("cloud")
    assert RUNTIMES == ("process", "docker", "swarm")
    with pytest.raises(ParameterError, match=r"replicas is 0; accepted: 1 or more\. To end it: stop\('filter'\)"):
        dataclasses.replace(release, replicas=0)
    for name in ("", "../x", "a b"):
        with pytest.raises(ParameterError, match="up to 48 letters"):
            dataclasses.replace(release, name=name)
    for wrong in ({"memory_mb": 0}, {"cpus": -1}, {"files": float("nan")}):
        with pytest.raises(ParameterError, match="accepted: a number above 0, or None"):
            Limits(**wrong)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (-9, "signal 9 (Killed)"),
        (137, "signal 9 (Killed)"),
        (152, "signal 24 (CPU time limit exceeded)"),
        (3, "exit code 3"),
        (255, "exit code 255"),
        (0, "exit code 0"),
    ],
)
def test_exit_reason_is_the_same_wherever_the_process_was(code, reason):
    assert exit_reason(code) == reason
    assert exit_reason(code, out_of_memory=True) == "out of memory"


def test_control_group_is_used_where_one_can_be_made(tmp_path):
    """Version 2, in a folder that looks like it; the tests of runtimes use what this machine has."""
    own = tmp_path / "own"
    own.write_text("0::/user/session\n")
    root = tmp_path / "cgroup"
    (root / "user" / "session").mkdir(parents=True)
    assert cgroups.parents(root, own) == {}
    (root / "cgroup.controllers").write_text("cpu io memory pids\n")
    (root / "user" / "cgroup.subtree_control").write_text("memory pids\n")
    within = cgroups.parents(root, own)
    assert within == dict.fromkeys(["memory", "pids"], root / "user")
    asked = Limits(memory_mb=50, cpus=0.5, pids=7)
    held = {one.name: one.holds for one in limits.process_protections(asked, within)}
    assert (held["memory"], held["pids"], held["cpus"]) == (True, True, False)

    group = cgroups.make_group("filter-0", asked, within)
    (folder,) = set(group.folders.values())
    assert folder.parent == root / "user"
    assert ownership.owner().replace("/", "_") in folder.name
    assert group.procs == [folder / "cgroup.procs"]
    namesake = cgroups.make_group("filter-0", asked, within)  # of another platform of this process
    assert namesake.folders["memory"] != folder
    namesake.remove()
    assert group.memory_kills() == 0
    (folder / "memory.events").write_text("low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert group.memory_kills() == 2
    (folder / "memory.events").unlink()
    group.remove()
    group.remove()
    assert not folder.exists()
    for name in ("memory.max", "pids.max"):
        (root / "user" / name).touch()
    assert cgroups.make_group("filter-0", Limits(files=3), within) is None


def test_owner_label_says_whether_its_process_lives():
    mine = ownership.owner()
    assert ownership.owner_lives(mine)
    pid, created, host = mine.split("/")
    assert not ownership.owner_lives(f"{pid}/{float(created) - 1}/{host}")  # another one had the number
    assert not ownership.owner_lives(f"{2**22 + 1}/1.0/{host}")
    assert not ownership.owner_lives(str(2**22 + 1))
    assert ownership.owner_lives(f"{2**22 + 1}/1.0/elsewhere")  # nobody here can know
    assert ownership.owner_lives("somebody")


def test_failure_is_undone_and_an_interrupt_waits_for_what_must_be_whole():
    undone = []
    with pytest.raises(KeyboardInterrupt), undone_by(lambda: undone.append(1)):
        raise KeyboardInterrupt
    assert undone == [1]

    def fail():
        raise ServiceError("the daemon is away")

    with (
        pytest.raises(ServiceError, match=r"no\. What was made could not be removed: the daemon is away"),
        undone_by(fail),
    ):
        raise ServiceError("no")
    with pytest.raises(KeyboardInterrupt):
        with uninterrupted():
            os.kill(os.getpid(), 2)
            undone.append(2)
        undone.append(3)
    assert undone == [1, 2]


class SlowSwarm:
    """A swarm that answers as Docker's does just after an update: changed meanwhile, and not begun yet."""

    def __init__(self):
        state = {"Name": "s-filter-v1", "Labels": {ownership.VERSION: "v1"}, "Mode": {}, "UpdateConfig": {}}
        state |= {"RollbackConfig": {}, "EndpointSpec": {}, "TaskTemplate": {"ForceUpdate": 0}}
        done = {"State": "completed", "StartedAt": "2026-01-01"}
        self.statuses = [done, {}, {"State": "updating", "StartedAt": "2026-01-02"}, done | {"StartedAt": "2026-01-02"}]
        self.specification, self.tries = state, 0

    def inspect_service(self, name):
        status = self.statuses.pop(0) if len(self.statuses) > 1 and self.tries != 1 else self.statuses[0]
        return {"ID": "1", "Version": {"Index": self.tries}, "Spec": self.specification, "UpdateStatus": status}

    def update_service(self, *args, **given):
        from docker.errors import APIError

        self.tries += 1
        if self.tries == 1:
            raise APIError("500", explanation="rpc error: code = Unknown desc = update out of sequence")


def test_update_of_a_swarm_waits_until_it_is_done_and_is_repeated_when_the_swarm_was_faster(monkeypatch, release):
    running = object.__new__(SwarmRuntime)
    api = SlowSwarm()
    running._client, running._prefix = types.SimpleNamespace(api=api), "s"
    monkeypatch.setattr(SwarmRuntime, "_specification", lambda *_: {"task_template": {}, "labels": {}})
    monkeypatch.setattr(SwarmRuntime, "wait_ready", lambda *_: None)
    monkeypatch.setattr(swarm_runtime.time, "sleep", lambda seconds: None)
    running.update(release)
    assert api.tries == 2
    assert api.statuses == [{"State": "completed", "StartedAt": "2026-01-02"}]


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


def test_hosts_that_are_not_up_and_engines_that_are_missing(monkeypatch, release, workspace_folder):
    hosts = h.Hosts(("alpha",))
    for attempt in (lambda: h.converge(hosts, release), lambda: h.check(hosts), lambda: h.rotate_secret(hosts)):
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
