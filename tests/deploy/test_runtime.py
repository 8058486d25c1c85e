"""Releases, limits and runtimes: what is refused, what is not here, and what holds a process back."""

import contextlib
import dataclasses
import os
import socket
import types

import psutil
import pytest
from docker_things import client_of_daemon, things

from mlops_helpers import cli
from mlops_helpers.deploy import cgroups, limits, ownership, swarm
from mlops_helpers.deploy.calls import call
from mlops_helpers.deploy.exits import exit_reason
from mlops_helpers.deploy.platform import Platform
from mlops_helpers.deploy.process import Service
from mlops_helpers.deploy.process_runtime import ProcessRuntime
from mlops_helpers.deploy.runtime import RUNTIMES, Limits, Release, runtime
from mlops_helpers.deploy.swarm_runtime import SwarmRuntime
from mlops_helpers.deploy.undoing import undone_by, uninterrupted
from mlops_helpers.errors import ParameterError, RuntimeUnavailable, ServiceError
from mlops_helpers.model import artifact as artifacts

COMMENT = {"comments": [{"id": "c1", "text": "Check out my NEW channel!!! " * 50}] * 32}


@pytest.fixture(scope="module")
def release(model, tmp_path_factory):
    return Release("filter", "v1", artifacts.export(model, tmp_path_factory.mktemp("model") / "artifact"))


@pytest.fixture
def no_groups(monkeypatch):
    """A user who may make no control group, as most may not."""
    monkeypatch.setattr(cgroups, "parents", dict)


def test_what_cannot_be_is_refused(release):
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
def test_the_reason_of_an_end_is_the_same_wherever_it_was(code, reason):
    assert exit_reason(code) == reason
    assert exit_reason(code, out_of_memory=True) == "out of memory"


@pytest.mark.parametrize("kind", ["docker", "swarm"])
def test_a_runtime_that_is_not_here_says_how_to_get_it_and_never_is_another(
    kind, release, tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    before = things(str(tmp_path))
    refused = socket.socket(socket.AF_UNIX)
    refused.bind(str(tmp_path / "refused.sock"))
    for address, why in {
        f"unix://{tmp_path}/nowhere.sock": "nothing answers there .*Next: sudo systemctl start docker, or correct",
        f"unix://{tmp_path}/refused.sock": "nothing answers there .*refused",
        "nonsense://": "nothing answers there",
    }.items():
        monkeypatch.setenv("DOCKER_HOST", address)
        with pytest.raises(RuntimeUnavailable, match=f"no Docker at {address}: {why}"):
            runtime(kind)
        with pytest.raises(RuntimeUnavailable, match="or runtime='process'"):
            Platform({"v1": release.artifact}, runtime=kind)
    command = ["platform", "up", f"--runtime={kind}", f"--artifact={release.artifact.folder}"]
    assert cli.main([*command, f"--folder={tmp_path / 'p'}"]) == 1
    assert capsys.readouterr().err.startswith("opslab: no Docker at nonsense://")
    monkeypatch.delenv("DOCKER_HOST")
    assert things(str(tmp_path)) == before
    refused.close()


def test_a_daemon_that_this_user_may_not_use_is_called_so(tmp_path, monkeypatch):
    import docker  # noqa: F401  # whoever is somebody else below may not be able to read it

    address = tmp_path / "docker.sock"
    reading, writing = os.pipe()
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(address))
        daemon.listen()
        address.chmod(0)
        monkeypatch.setenv("DOCKER_HOST", f"unix://{address}")
        if (child := os.fork()) == 0:
            with contextlib.suppress(BaseException):
                if os.getuid() == 0:  # root may use any
                    os.setuid(65534)
                try:
                    runtime("docker")
                except RuntimeUnavailable as error:
                    os.write(writing, str(error).encode())
            os._exit(0)
        os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as said:
        assert (
            "this user may not use it. Accepted: a running daemon; or runtime='process'. Next: sudo usermod"
            in said.read()
        )


def test_a_limit_of_memory_holds_without_a_control_group_and_says_so(no_groups, release, tmp_path):
    with ProcessRuntime(tmp_path / "p") as running:
        asked = Limits(memory_mb=14, cpus=0.5, pids=8, files=64)
        held = {one.name: one for one in running.protections(asked)}
        assert (held["memory"].holds, held["memory"].how.partition(":")[0]) == (True, "ulimit -d")
        assert held["files"].holds
        for name in ("cpus", "pids", "network", "user"):
            assert not held[name].holds
            assert held[name].how.startswith("not in force: ")
        with pytest.raises(ServiceError, match="filter-0 ended with out of memory before it was ready"):
            running.deploy(dataclasses.replace(release, limits=asked))
        assert running.status() == []


def test_who_used_its_processor_time_ends_and_it_says_why(no_groups, release, tmp_path, until):
    with ProcessRuntime(tmp_path / "p", supervise=False) as running:
        (one,) = running.deploy(dataclasses.replace(release, limits=Limits(cpu_seconds=1, files=64)))
        assert psutil.Process(one.pid).rlimit(psutil.RLIMIT_NOFILE) == (64, 64)

        def ended():
            with contextlib.suppress(ServiceError):
                call("POST", one.address, "/v1/classify", COMMENT)
            return running.status()[0].state == "failed"

        until(ended)
        assert running.status()[0].exit_reason == "signal 24 (CPU time limit exceeded)"


def test_a_control_group_is_used_where_one_can_be_made(tmp_path):
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


def test_what_a_maker_is_called_says_whether_it_lives():
    mine = ownership.owner()
    assert ownership.owner_lives(mine)
    pid, created, host = mine.split("/")
    assert not ownership.owner_lives(f"{pid}/{float(created) - 1}/{host}")  # another one had the number
    assert not ownership.owner_lives(f"{2**22 + 1}/1.0/{host}")
    assert not ownership.owner_lives(str(2**22 + 1))
    assert ownership.owner_lives(f"{2**22 + 1}/1.0/elsewhere")  # nobody here can know
    assert ownership.owner_lives("somebody")


def test_what_fails_is_undone_and_an_interrupt_waits_for_what_must_be_whole():
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


@pytest.mark.engine("swarm")
def test_a_swarm_is_left_only_if_it_was_made_here(monkeypatch):
    with contextlib.closing(client_of_daemon()) as client:
        before = {one["Name"] for one in client.api.networks()}
        client.api.init_swarm("127.0.0.1", "127.0.0.1:2377")
        try:
            swarm.join(client)
            assert swarm.here(client)
            assert not swarm.leave(client)
            assert swarm.here(client)
        finally:
            client.api.leave_swarm(force=True)
        if "docker_gwbridge" not in before:
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
        assert "docker_gwbridge" in before or not client.api.networks(names=["docker_gwbridge"])
        state = {"Swarm": {"LocalNodeState": "active", "ControlAvailable": False}}
        monkeypatch.setattr(type(client), "info", lambda self: state)
        with pytest.raises(RuntimeUnavailable, match=r"swarm that it does not manage .* Next: docker node promote"):
            runtime("swarm")


def test_nothing_is_left_of_a_limited_process(release, tmp_path):
    before = things(str(tmp_path))
    with ProcessRuntime(tmp_path / "p") as running:
        running.deploy(dataclasses.replace(release, limits=Limits(memory_mb=500, pids=50)))
        more = [one for one in things(str(tmp_path)) if one not in before]
        assert any("process" in one for one in more)
        assert any("cgroup" in one for one in more) == bool(cgroups.parents())
    assert things(str(tmp_path)) == before


def test_an_interrupted_start_leaves_no_process(release, tmp_path, monkeypatch):
    start = Service.start

    def interrupted_start(self):
        start(self)
        raise KeyboardInterrupt

    before = things(str(tmp_path))
    with ProcessRuntime(tmp_path / "p") as running:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Service, "start", interrupted_start)
            running.deploy(dataclasses.replace(release, limits=Limits(pids=50)))
        assert things(str(tmp_path)) == before
        running.deploy(release)


def test_a_stopped_replica_uses_nothing(release, tmp_path):
    with ProcessRuntime(tmp_path / "p") as running:
        running.deploy(dataclasses.replace(release, replicas=2))
        running.replica("filter-0").stop()
        assert [one.name for one in running.stats("filter")] == ["filter-1"]


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


def test_an_update_of_a_swarm_waits_until_it_is_done_and_asks_again_when_the_swarm_was_faster(monkeypatch, release):
    running = object.__new__(SwarmRuntime)
    api = SlowSwarm()
    running._client, running._prefix = types.SimpleNamespace(api=api), "s"
    monkeypatch.setattr(SwarmRuntime, "_specification", lambda *_: {"task_template": {}, "labels": {}})
    monkeypatch.setattr(SwarmRuntime, "wait_ready", lambda *_: None)
    running.update(release)
    assert api.tries == 2
    assert api.statuses == [{"State": "completed", "StartedAt": "2026-01-02"}]
