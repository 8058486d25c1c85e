"""Hosts in one state, by Ansible: brought about, found out of it, repaired.

A run of Ansible takes seconds, so each test makes the most of one, and they share two hosts.
"""

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mlops_helpers.deploy import hosts as h
from mlops_helpers.deploy import hosts_ansible, hosts_files, hosts_questions
from mlops_helpers.deploy.process import Service
from mlops_helpers.deploy.release import Limits, Release
from mlops_helpers.errors import ParameterError, ServiceError
from mlops_helpers.model import artifact as artifacts
from tests.support.machines import EVERYTHING, converged, may_administer, processes, versions
from tests.support.platforms import comments_arrive
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(400)  # a run of Ansible takes seconds of processor time


@pytest.fixture(scope="module")
def v1(artifact):
    return Release("filter", "v1", artifact)


@pytest.fixture(scope="module")
def hosts(v1, tmp_path_factory):
    with converged(("alpha", "beta"), v1, tmp_path_factory.mktemp("workspace")) as up:
        yield up


def test_drift_is_found_and_repaired_and_then_nothing_is_to_do(hosts, v1, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ANSIBLE_STDOUT_CALLBACK", "no_such_callback")  # whoever has settings of their own
    alpha, beta = hosts["alpha"], hosts["beta"]
    release = f"releases/v1-{v1.artifact.sha256[:12]}"
    alpha.run(f'sed -i \'s/"v1"/"v0"/\' etc/filter.toml && {alpha.servicectl} apply .')  # an old version
    alpha.run(f"chmod 644 etc/token; echo another >> etc/token; chmod 600 {release}/terms.json")
    beta.run("echo '# by hand' >> etc/filter.toml")
    beta.run(f"printf x >> {release}/terms.json && cd {release} && sha256sum *.* > SHA256SUMS")
    beta.run(f"{beta.servicectl} stop .")
    assert versions(hosts) == {"alpha": "v0", "beta": ""}

    drift = h.check(hosts)
    assert drift.changed == {
        "alpha": ["artifact", "configuration", "secret", "process"],
        "beta": ["artifact", "configuration", "process"],
    }
    assert "-# by hand" in drift.output
    assert hosts.admin_token not in drift.output
    assert versions(hosts) == {"alpha": "v0", "beta": ""}  # nothing was touched
    repaired = h.converge(hosts)
    assert repaired.changed["alpha"] == EVERYTHING
    assert repaired.changed["beta"] == ["artifact", "artifact, brought", *EVERYTHING[2:3], *EVERYTHING[4:]]
    assert versions(hosts) == {"alpha": "v1", "beta": "v1"}
    assert set(hosts_questions.parameters(hosts)["concurrency"]) == {256}
    for machine in hosts:
        assert machine.run("stat -c '%a %u' etc/filter.toml etc/token").split() == [
            *("640", str(os.getuid())),
            *("600", str(os.getuid())),
        ]

    second = h.converge(hosts)
    assert second.changed == {"alpha": [], "beta": []}
    assert second.frame()["changed"].tolist() == ["nothing", "nothing"]
    assert not list(tmp_path.iterdir())  # the home directory
    assert not list(hosts.folder.glob("run-*"))


@pytest.fixture
def gateway(hosts, tmp_path):
    """A gateway before the hosts, as (address, admin token)."""
    command = [sys.executable, "-P", "-m", "mlops_helpers.cli", "gateway", "--folder", str(tmp_path / "gateway")]
    command += [f"--upstream=v1={address}" for address in hosts.addresses.values()]
    service = Service("gateway", command, log=tmp_path / "log", environment={"OPSLAB_ADMIN_TOKEN": "let me in"})
    try:
        service.start()
        service.wait_ready(60)
        yield service.address, "let me in"
    finally:
        service.stop(free_port=True)


@contextlib.contextmanager
def watched_command_lines():
    """All command lines that are seen while the block runs."""
    seen, done = set(), threading.Event()

    def look():
        while not done.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    seen.add(path.read_bytes())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def test_secret_is_rotated_while_comments_are_answered_and_seen_nowhere(hosts, gateway, tmp_path):
    for bad in ("short", "x" * 30 + "{{ 1 }}", "x" * 20 + "\n"):
        with pytest.raises(ParameterError, match="no good secret"):
            h.rotate_secret(hosts, bad)
    old, new = hosts.admin_token, "a-secret-of-this-test-0123456789"
    assert all(may_administer(machine, old) for machine in hosts)
    with comments_arrive(gateway[0], senders=4) as answered, watched_command_lines() as lines:
        result = h.rotate_secret(hosts, new)
        count = len(answered)
        until(lambda: len(answered) > count + 100)
    assert result.changed == {name: ["secret", "process", "process, replaced"] for name in ("alpha", "beta")}
    assert all(may_administer(machine, new) and not may_administer(machine, old) for machine in hosts)
    reached = hosts_questions.connections(hosts, *gateway)
    assert reached["state"].tolist() == ["ready", "ready"]
    assert reached["to"].tolist() == list(hosts.addresses.values())

    assert not any(secret.encode() in line for line in lines for secret in (old, new))
    assert new not in result.output
    holding = {path for path in hosts.folder.rglob("*") if path.is_file() and new.encode() in path.read_bytes()}
    assert holding == {Path(machine.root) / "etc" / "token" for machine in hosts}
    assert hosts_files.vault(hosts.folder).read_text().startswith("$ANSIBLE_VAULT;")
    assert hosts_files.vault_password(hosts.folder).stat().st_mode & 0o777 == 0o600


def test_broken_hosts_are_named_and_stop_no_other(hosts, v1, artifact):
    with pytest.raises(ParameterError, match="host 'beta'; accepted"):
        hosts.add("beta")
    hosts.add("gamma")
    hosts["gamma"].run("rmdir etc && touch etc")
    hosts.power_off("alpha")
    with pytest.raises(h.HostsFailed, match="2 of 3 hosts failed") as failure:
        h.converge(hosts, Release("filter", "v2", artifact, durability="async"))
    result = failure.value.result
    assert result.failed["alpha"].startswith("unreachable (artifact): ")
    assert "the machine is off" in result.failed["alpha"]
    assert result.failed["gamma"].startswith("failed (configuration): ")
    assert result.ok == ["beta"]
    assert versions(hosts) == {"alpha": "", "beta": "v2", "gamma": ""}

    hosts.replace("alpha")
    hosts["gamma"].run("rm etc && mkdir etc")
    hosts["beta"].run("rm releases/v2-*/SHA256SUMS")  # what runs needs it no more, but the next filter could not start
    again = h.converge(hosts)
    assert again.changed["beta"] == EVERYTHING[:2]
    assert again.changed["alpha"] == EVERYTHING
    assert set(versions(hosts).values()) == {"v2"}
    assert set(hosts_questions.parameters(hosts)["durability"]) == {"async"}


def test_release_that_does_not_start_leaves_the_one_before_in_service(hosts, model, tmp_path):
    bad = artifacts.export(model, tmp_path / "bad")
    manifest = bad.folder / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    sums = subprocess.run(["sha256sum", "manifest.json"], cwd=bad.folder, capture_output=True, text=True, check=True)
    lines = (bad.folder / "SHA256SUMS").read_text().splitlines(keepends=True)
    kept = [line for line in lines if "manifest.json" not in line]
    (bad.folder / "SHA256SUMS").write_text("".join([*kept, sums.stdout]))
    hosts_files.write_release(hosts.folder, Release("filter", "v3", bad))
    with pytest.raises(h.HostsFailed, match=r"failed \(process, replaced\): .*the filter did not start"):
        hosts_ansible.play(hosts.folder, "--limit", "alpha")  # as careful people do
    assert set(versions(hosts).values()) == {"v2"}


def test_failure_before_the_hosts_are_reached_is_reported(hosts, tmp_path, v1):
    for release, said in (
        (Release("filter", "../v1", v1.artifact), "version '../v1'; accepted"),
        (Release("filter", "v1", v1.artifact, durability="maybe"), "durability is 'maybe'"),
        (Release("filter", "v1", v1.artifact, limits=Limits(pids=9)), "nothing beside them"),
    ):
        with pytest.raises(ParameterError, match=said):
            h.converge(hosts, release)
    broken = tmp_path / "broken.yml"
    broken.write_text("- hosts: filters\n  tasks:\n    - nmae: typo\n      ansible.builtin.comand: 'true'\n")
    before = processes(hosts.folder)
    with pytest.raises(ServiceError, match=r"did not get to its end: exit code 4(.|\n)*comand"):
        hosts_ansible.play(hosts.folder, playbook=broken)
    hosts_files.vault_password(hosts.folder).write_text("not the password\n")
    with pytest.raises(ServiceError, match=r"did not get to its end(.|\n)*[Dd]ecrypt"):
        h.check(hosts)
    assert not list(hosts.folder.glob("run-*"))
    assert processes(hosts.folder) == before
