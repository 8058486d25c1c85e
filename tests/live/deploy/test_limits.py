"""What holds a process back, what is left of it, and runtimes that are not here."""

import contextlib
import dataclasses
import os
import socket
from pathlib import Path

import psutil
import pytest

from mlops_helpers import cli
from mlops_helpers.deploy import cgroups, ownership
from mlops_helpers.deploy.calls import call
from mlops_helpers.deploy.platform import Platform
from mlops_helpers.deploy.process import Service
from mlops_helpers.deploy.process_runtime import ProcessRuntime
from mlops_helpers.deploy.runtime import Limits, Release, runtime
from mlops_helpers.errors import RuntimeUnavailable, ServiceError
from tests.support.leaks import held
from tests.support.waiting import until

COMMENTS = {"comments": [{"id": "c1", "text": "Check out my NEW channel!!! " * 50}] * 32}


@pytest.fixture
def release(artifact):
    return Release("filter", "v1", artifact)


@pytest.fixture
def no_groups(monkeypatch):
    """A user who may make no control group, as most may not."""
    monkeypatch.setattr(cgroups, "parents", dict)


@pytest.fixture
def running(tmp_path):
    with ProcessRuntime(tmp_path / "p", supervise=False) as runtime_of_processes:
        yield runtime_of_processes


def control_groups() -> set[Path]:
    name = ownership.owner().replace("/", "_")
    return {path for parent in set(cgroups.parents().values()) for path in parent.glob(f"*{name}*")}


def test_memory_limit_holds_without_a_control_group_and_what_does_not_hold_is_reported(no_groups, release, running):
    limits = Limits(memory_mb=14, cpus=0.5, pids=8, files=64)
    protections = {protection.name: protection for protection in running.protections(limits)}
    assert (protections["memory"].holds, protections["memory"].how.partition(":")[0]) == (True, "ulimit -d")
    assert protections["files"].holds
    for name in ("cpus", "pids", "network", "user"):
        assert not protections[name].holds
        assert protections[name].how.startswith("not in force: ")
    with pytest.raises(ServiceError, match="filter-0 ended with out of memory before it was ready"):
        running.deploy(dataclasses.replace(release, limits=limits))
    assert running.status() == []


def test_process_that_used_its_processor_time_ends_with_the_reason(no_groups, release, running):
    (replica,) = running.deploy(dataclasses.replace(release, limits=Limits(cpu_seconds=1, files=64)))
    assert psutil.Process(replica.pid).rlimit(psutil.RLIMIT_NOFILE) == (64, 64)

    def ended():
        with contextlib.suppress(ServiceError):
            call("POST", replica.address, "/v1/classify", COMMENTS)
        return running.status()[0].state == "failed"

    until(ended)
    assert running.status()[0].exit_reason == "signal 24 (CPU time limit exceeded)"


def test_limited_process_and_an_interrupted_start_leave_nothing(release, tmp_path, monkeypatch):
    start = Service.start

    def interrupted_start(self):
        start(self)
        raise KeyboardInterrupt

    limited = dataclasses.replace(release, replicas=2, limits=Limits(memory_mb=500, pids=50))
    before, groups = held().children, control_groups()
    with ProcessRuntime(tmp_path / "p") as running:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Service, "start", interrupted_start)
            running.deploy(limited)
        assert (held().children, control_groups()) == (before, groups)
        running.deploy(limited)
        assert len(held().children - before) == 2
        assert (control_groups() > groups) == bool(cgroups.parents())
        running.replica("filter-0").stop()
        assert [usage.name for usage in running.stats("filter")] == ["filter-1"]  # who is stopped uses nothing
    assert (held().children, control_groups()) == (before, groups)


@pytest.mark.parametrize("kind", ["docker", "swarm"])
def test_missing_runtime_names_the_remedy_and_never_becomes_another(kind, release, tmp_path, monkeypatch, capsys):
    """DOCKER_HOST is what finds the engine: it is missing here, whether or not this machine has it."""
    with socket.socket(socket.AF_UNIX) as refusing:
        refusing.bind(str(tmp_path / "refused.sock"))
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
    assert not [path for path in (tmp_path / "p").iterdir() if path.name != "lock"]


def test_daemon_that_this_user_may_not_use_is_named_with_the_remedy(tmp_path, monkeypatch):
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
    with os.fdopen(reading, encoding="utf-8") as answer:
        message = answer.read()
    assert "this user may not use it" in message
    assert "Next: sudo usermod" in message
