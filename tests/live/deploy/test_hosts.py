"""Hosts in one state: brought about, found out of it, repaired; with folders as hosts, with containers, by Puppet.

A run of Ansible costs seconds, so each test makes the most of one, and they share two hosts.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest
from arriving import comments_arrive

from mlops_helpers import cli
from mlops_helpers.deploy import hosts as h
from mlops_helpers.deploy import hosts_ansible, hosts_files, hosts_machines, hosts_puppet, hosts_questions
from mlops_helpers.deploy.calls import call
from mlops_helpers.deploy.process import Service
from mlops_helpers.deploy.release import Limits, Release
from mlops_helpers.errors import ParameterError, RuntimeUnavailable, ServiceError
from mlops_helpers.model import artifact as artifacts

pytestmark = pytest.mark.timeout(300)  # a run of Ansible takes seconds of processor time, and more when there are few
ANSIBLE = pytest.mark.engine("ansible")
COMMENT = {"id": "c-1", "text": "Check out my NEW channel!!! http://www.example.com/x?y=1"}
EVERYTHING = ["artifact", "artifact, brought", "configuration", "secret", "process", "process, replaced"]


@pytest.fixture(scope="module")
def artifact(model, tmp_path_factory):
    return artifacts.export(model, tmp_path_factory.mktemp("model") / "artifact")


@pytest.fixture(scope="module")
def v1(artifact):
    return Release("filter", "v1", artifact)


@pytest.fixture(scope="module")
def module_workspace(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPSLAB_WORKSPACE", str(tmp_path_factory.mktemp("workspace")))
        yield


@pytest.fixture(scope="module")
def hosts(v1, module_workspace):
    """Two hosts that run v1."""
    with h.Hosts(("alpha", "beta")) as up:
        result = h.converge(up, v1)
        assert result.changed == {"alpha": EVERYTHING, "beta": EVERYTHING}
        assert result.ok == ["alpha", "beta"]
        yield up


def versions(hosts):
    return hosts_questions.what_runs(hosts)["version"].to_dict()


def processes(folder):
    """Numbers of the processes of machines in a folder and of what configures them, zombies apart."""
    found = psutil.process_iter(["cmdline", "status"])
    here = [one for one in found if any(str(folder) in word for word in one.info["cmdline"] or ())]
    return {one.pid for one in here if one.info["status"] != psutil.STATUS_ZOMBIE}


# ---------------------------------------------------------------------------------------- the machines themselves


@pytest.fixture
def machine(tmp_path, v1):
    """A machine with all that it takes to run v1, put there by hand."""
    one = hosts_machines.Folders(tmp_path).machine("alpha")
    one.boot()
    root = Path(one.root)
    shutil.copytree(v1.artifact.folder, root / "releases" / "r")
    write_configuration(root, v1.artifact.sha256)
    (root / "etc" / "token").write_text("one token\n")
    yield one
    one.off()


def write_configuration(root, sha256):
    text = f'version = "v1"\nrelease = "r"\nsha256 = "{sha256}"\ndurability = "ack"\nconcurrency = 8\n'
    (root / "etc" / "filter.toml").write_text(text)


def test_a_machine_starts_replaces_and_ends_its_filter(machine, until, gone):
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
    until(lambda: gone(first["pid"]))
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
    assert gone(third["pid"])
    assert not Path(machine.root).exists()
    with pytest.raises(ServiceError, match="the machine is off"):
        machine.run("true")
    machine.off()  # nothing more happens


def test_a_machine_that_cannot_start_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(hosts_machines, "CONTENT", tmp_path / "nowhere")
    one = hosts_machines.Folders(tmp_path).machine("alpha")
    with pytest.raises(ServiceError, match=r"alpha does not start: .*can't open file"):
        one.boot()
    assert not Path(one.root).exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"names": ()}, "no host is named"),
        ({"names": ("alpha", "alpha")}, "host 'alpha'; accepted"),
        ({"names": ("all",)}, "none of all, filters"),
        ({"names": ("a b",)}, "host 'a b'; accepted"),
        ({"runtime": "swarm"}, "runtime is 'swarm'; accepted: process, docker"),
    ],
)
def test_hosts_refuse_what_they_cannot_be(given, said, workspace_folder):
    with pytest.raises(ParameterError, match=said):
        h.Hosts(**given)
    assert not list(workspace_folder.rglob("*"))


def test_hosts_that_are_not_up_and_engines_that_are_missing(monkeypatch, v1, workspace_folder):
    hosts = h.Hosts(("alpha",))
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


def test_no_daemon_is_said(monkeypatch, workspace_folder):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(RuntimeUnavailable, match="no Docker at unix:///nowhere"):
        h.Hosts(("alpha",), runtime="docker").up()
    assert not list((workspace_folder / "hosts").iterdir())


# ---------------------------------------------------------------------------------------- configured by Ansible


@ANSIBLE
def test_every_drift_is_found_and_repaired_and_then_nothing_is_to_do(hosts, v1, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ANSIBLE_STDOUT_CALLBACK", "no_such_callback")  # whoever has settings of their own
    alpha, beta = hosts["alpha"], hosts["beta"]
    release = f"releases/v1-{v1.artifact.sha256[:12]}"
    alpha.run(f'sed -i \'s/"v1"/"v0"/\' etc/filter.toml && {alpha.servicectl} apply .')  # an old version
    alpha.run("chmod 644 etc/token; echo another >> etc/token")
    beta.run("echo '# by hand' >> etc/filter.toml")
    beta.run(f"printf x >> {release}/terms.json && cd {release} && sha256sum *.* > SHA256SUMS")
    beta.run(f"{beta.servicectl} stop .")
    assert versions(hosts) == {"alpha": "v0", "beta": ""}

    drift = h.check(hosts)
    assert drift.changed == {
        "alpha": ["configuration", "secret", "process"],
        "beta": ["artifact", "configuration", "process"],
    }
    assert "-# by hand" in drift.output
    assert hosts.admin_token not in drift.output
    assert versions(hosts) == {"alpha": "v0", "beta": ""}  # nothing was touched
    repaired = h.converge(hosts)
    assert repaired.changed["alpha"] == ["configuration", "secret", "process", "process, replaced"]
    assert repaired.changed["beta"] == ["artifact", "artifact, brought", *EVERYTHING[2:3], *EVERYTHING[4:]]
    assert versions(hosts) == {"alpha": "v1", "beta": "v1"}
    alpha.run(f"rm {release}/SHA256SUMS")  # what runs needs it no more, but the next filter could not start
    beta.run(f"chmod 600 {release}/terms.json")
    assert h.converge(hosts).changed == {"alpha": EVERYTHING[:2], "beta": EVERYTHING[:2]}
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


def may_administer(machine, token):
    body = {"folder": f"{machine.root}/releases", "sha256": "0" * 64, "version": "v1"}
    with pytest.raises(ServiceError) as refused:
        call("PUT", machine.address, "/admin/model", body, token=token)
    return "answered 422" in str(refused.value)  # 401: nobody listens to that token


@ANSIBLE
def test_the_secret_is_rotated_while_comments_are_answered_and_seen_nowhere(hosts, gateway, tmp_path):
    for bad in ("short", "x" * 30 + "{{ 1 }}", "x" * 20 + "\n"):
        with pytest.raises(ParameterError, match="no good secret"):
            h.rotate_secret(hosts, bad)
    old, new = hosts.admin_token, "a-secret-of-this-test-0123456789"
    assert all(may_administer(machine, old) for machine in hosts)
    with comments_arrive(gateway[0], senders=4) as answered, watched_command_lines() as lines:
        result = h.rotate_secret(hosts, new)
        count = len(answered)
        while len(answered) < count + 100:
            time.sleep(0.01)
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


@ANSIBLE
@pytest.mark.engine("puppet")
def test_puppet_finds_the_same_state_and_the_same_drift(hosts, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    extract = tarfile.TarFile.extractall
    monkeypatch.setattr(tarfile.TarFile, "extractall", lambda tar, path: extract(tar, path))  # as Python 3.11.2 has it
    assert hosts_puppet.apply(hosts, "alpha", noop=True).changed == {"alpha": []}  # Ansible did it all
    alpha = hosts["alpha"]
    alpha.run(f'sed -i \'s/"v1"/"v0"/\' etc/filter.toml && {alpha.servicectl} apply .')
    alpha.run("chmod 644 etc/token; for file in releases/*/terms.json; do printf x >> $file; done")
    drift = hosts_puppet.apply(hosts, "alpha", noop=True)
    assert sorted(drift.changed["alpha"]) == ["artifact", "configuration", "process", "secret"]
    assert hosts.admin_token not in drift.output
    assert versions(hosts)["alpha"] == "v0"
    assert sorted(hosts_puppet.apply(hosts, "alpha").changed["alpha"]) == sorted(drift.changed["alpha"])
    assert versions(hosts)["alpha"] == "v1"
    assert not list(tmp_path.iterdir())


@ANSIBLE
def test_bad_hosts_are_named_and_stop_nobody(hosts, v1, artifact):
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
    again = h.converge(hosts)
    assert again.changed["beta"] == []
    assert again.changed["alpha"] == EVERYTHING
    assert set(versions(hosts).values()) == {"v2"}
    assert set(hosts_questions.parameters(hosts)["durability"]) == {"async"}


@ANSIBLE
def test_a_release_that_does_not_start_leaves_the_one_before_in_service(hosts, model, tmp_path):
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


@ANSIBLE
def test_what_does_not_get_as_far_as_the_hosts(hosts, tmp_path, v1):
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


MAKER = """
    import sys, threading
    from mlops_helpers.deploy import hosts as h
    from mlops_helpers.deploy.release import Release
    from mlops_helpers.model import artifact
    runtime, folder = sys.argv[1:]
    hosts = h.Hosts(("alpha", "beta"), runtime=runtime).up()
    print(hosts.folder, flush=True)
    h.converge(hosts, Release("filter", "v1", artifact.load(folder)))
    print("converged", flush=True)
    threading.Event().wait()
"""


@contextlib.contextmanager
def maker(runtime, artifact):
    """A process that makes hosts and configures them, and the folder of the hosts."""
    line = [sys.executable, "-c", textwrap.dedent(MAKER), runtime, str(artifact.folder)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


@ANSIBLE
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda how: how.name)
def test_an_interrupted_or_killed_maker_leaves_no_process(how, artifact, until, gone):
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


# ---------------------------------------------------------------------------------------- containers


def made_in_docker(client, folder):
    wanted = {"filters": {"label": f"opslab.folder={folder}"}}
    return [one["Id"] for one in (*client.api.containers(all=True, **wanted), *client.api.networks(**wanted))]


@pytest.fixture
def docker():
    import docker

    with contextlib.closing(docker.from_env()) as client:
        yield client


@ANSIBLE
@pytest.mark.engine("docker")
def test_containers_as_hosts(docker, v1, tmp_path):
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
        ) as one:
            h.check(hosts)
        assert one.value.result.changed["alpha"] == ["configuration", "secret", "process"]
        hosts.replace("beta")
        old = hosts.admin_token
        result = h.rotate_secret(hosts)
        assert result.changed == {"alpha": EVERYTHING[2:], "beta": EVERYTHING}
        assert all(may_administer(machine, hosts.admin_token) and not may_administer(machine, old) for machine in hosts)
        with pytest.raises(ParameterError, match="Puppet runs on the machine itself"):
            hosts_puppet.apply(hosts, "alpha")
        folder = hosts.folder
    assert not made_in_docker(docker, folder)


@ANSIBLE
@pytest.mark.engine("docker")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda how: how.name)
def test_containers_vanish_with_an_interrupted_or_killed_maker(how, docker, artifact, until):
    from mlops_helpers.deploy import leftovers

    with maker("docker", artifact) as (process, folder):
        assert len(made_in_docker(docker, folder)) == 3
        process.send_signal(how)
        process.wait(60)
    if how == signal.SIGKILL:
        until(lambda: len(made_in_docker(docker, folder)) == 1)
        leftovers.remove(docker, f"opslab.folder={folder}")  # the network, as platform down --all does
    assert not made_in_docker(docker, folder)
