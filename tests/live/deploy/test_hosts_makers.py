"""Machines of folders by themselves, and what is left of a maker of hosts that is interrupted or killed."""

import json
import os
import shutil
import signal
import socket
from pathlib import Path

import pytest

from mlops_helpers import cli
from mlops_helpers.deploy import hosts as h
from mlops_helpers.deploy import hosts_machines
from mlops_helpers.deploy.calls import call
from mlops_helpers.errors import RuntimeUnavailable, ServiceError
from mlops_helpers.model import artifact as artifacts
from tests.support.leaks import ended
from tests.support.machines import maker, processes
from tests.support.platforms import COMMENT
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(400)  # a run of Ansible takes seconds of processor time


@pytest.fixture
def machine(tmp_path, artifact):
    """A machine with all that it takes to run v1, put there by hand."""
    alpha = hosts_machines.Folders(tmp_path).machine("alpha")
    alpha.boot()
    root = Path(alpha.root)
    shutil.copytree(artifact.folder, root / "releases" / "r")
    write_configuration(root, artifact.sha256)
    (root / "etc" / "token").write_text("one token\n")
    yield alpha
    alpha.off()


def write_configuration(root, sha256):
    text = f'version = "v1"\nrelease = "r"\nsha256 = "{sha256}"\ndurability = "ack"\nconcurrency = 8\n'
    (root / "etc" / "filter.toml").write_text(text)


def test_machine_starts_replaces_and_ends_its_filter(machine):
    with pytest.raises(ServiceError):
        call("GET", machine.address, "/readyz")
    first = json.loads(machine.run(f"{machine.servicectl} apply ."))
    assert call("GET", machine.address, "/version")["version"] == "v1"
    machine.run(f"{machine.servicectl} status . {first['fingerprint']}")
    (Path(machine.root) / "etc" / "token").write_text("another token\n")
    second = json.loads(machine.run(f"{machine.servicectl} apply ."))
    assert second["fingerprint"] != first["fingerprint"]
    with pytest.raises(ServiceError, match="exit code 3"):
        machine.run(f"{machine.servicectl} status . {first['fingerprint']}")
    until(lambda: ended(first["pid"]))
    assert call("POST", machine.address, "/v1/classify", COMMENT)["version"] == "v1"

    write_configuration(Path(machine.root), "0" * 64)
    with pytest.raises(ServiceError, match=r"did not start: opslab: .* expected is 0000"):
        machine.run(f"{machine.servicectl} apply .")
    (Path(machine.root) / "etc" / "filter.toml").write_text("version = ")
    with pytest.raises(ServiceError, match="the configuration cannot be used"):
        machine.run(f"{machine.servicectl} apply .")
    assert json.loads(machine.run(f"{machine.servicectl} show .")) == second  # it serves on

    os.kill(second["pid"], signal.SIGKILL)
    until(lambda: "pid" not in json.loads(machine.run(f"{machine.servicectl} show .")))
    host, port = machine.address.split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=10)
    write_configuration(Path(machine.root), artifacts.load(Path(machine.root) / "releases" / "r").sha256)
    third = json.loads(machine.run(f"{machine.servicectl} apply ."))
    machine.off()
    assert ended(third["pid"])
    assert not Path(machine.root).exists()
    with pytest.raises(ServiceError, match="the machine is off"):
        machine.run("true")
    machine.off()  # nothing more happens


def test_machine_that_cannot_start_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(hosts_machines, "CONTENT", tmp_path / "nowhere")
    alpha = hosts_machines.Folders(tmp_path).machine("alpha")
    with pytest.raises(ServiceError, match=r"alpha does not start: .*can't open file"):
        alpha.boot()
    assert not Path(alpha.root).exists()


def test_missing_daemon_is_reported(monkeypatch, workspace_folder):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")  # the command is here
    with pytest.raises(RuntimeUnavailable, match="no Docker at unix:///nowhere"):
        h.Hosts(("alpha",), runtime="docker").up()
    assert not list((workspace_folder / "hosts").iterdir())


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda how: how.name)
def test_interrupted_or_killed_maker_leaves_no_process(how, artifact):
    with maker("process", artifact) as (process, folder):
        until(lambda: list(folder.glob("run-*/events")))  # Ansible is at work
        assert len(processes(folder)) >= 3  # two machines, Ansible, and what it does on them
        assert cli.main(["platform", "down", "--all"]) == 0
        assert folder.exists()  # its maker lives
        process.send_signal(how)
        process.wait(60)
    until(lambda: not processes(folder))
    assert folder.exists() == (how == signal.SIGKILL)
    assert cli.main(["platform", "down", "--all"]) == 0
    assert not folder.exists()
