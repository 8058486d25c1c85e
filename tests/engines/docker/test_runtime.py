"""What goes wrong with Docker: each time a clear error, and nothing left behind."""

import _thread
import contextlib
import dataclasses
import os
import signal
import socket
import subprocess

import pytest

from mlops_helpers import cli
from mlops_helpers.deploy import docker_runtime
from mlops_helpers.deploy.containers import Container
from mlops_helpers.deploy.docker_runtime import DockerRuntime
from mlops_helpers.deploy.images import build_service_image
from mlops_helpers.deploy.runtime import Limits, Release, runtime
from mlops_helpers.errors import ParameterError, ServiceError
from tests.support.docker_proxy import Proxy, refusal
from tests.support.docker_state import client_of_daemon, containers, image, things
from tests.support.platforms import platform_commands
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(400)  # the first one builds the image


@pytest.fixture(scope="module")
def release(artifact):
    return Release("filter", "v1", artifact, image=build_service_image().name)


@pytest.fixture(autouse=True)
def nothing_left(tmp_path):
    before = things(tmp_path)
    yield
    assert things(tmp_path) == before


@pytest.fixture
def proxy(tmp_path, monkeypatch):
    """Return a function that puts a daemon that will fail in the place of the real one."""
    with contextlib.ExitStack() as stack:

        def between(trigger, answer=b""):
            one = stack.enter_context(contextlib.closing(Proxy(tmp_path / "docker.sock", trigger, answer)))
            monkeypatch.setenv("DOCKER_HOST", one.address)
            return one

        yield between


def test_replica_is_confined(release, tmp_path):
    limits = Limits(memory_mb=128, cpus=0.5, pids=32, files=128, cpu_seconds=60)
    with DockerRuntime(tmp_path / "d") as running, contextlib.closing(client_of_daemon()) as client:
        (replica,) = running.deploy(dataclasses.replace(release, limits=limits))
        container = client.api.inspect_container(replica.id)
        host = container["HostConfig"]
        assert (host["Memory"], host["MemorySwap"], host["NanoCpus"], host["PidsLimit"]) == (128e6, 128e6, 5e8, 32)
        assert {(limit["Name"], limit["Hard"]) for limit in host["Ulimits"]} == {("nofile", 128), ("cpu", 61)}
        assert (host["ReadonlyRootfs"], host["CapDrop"], host["SecurityOpt"]) == (True, ["ALL"], ["no-new-privileges"])
        assert host["RestartPolicy"]["Name"] == "unless-stopped"
        assert host["PortBindings"] == {
            "8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": replica.address.split(":")[1]}]
        }
        assert {mount["Destination"]: mount["RW"] for mount in container["Mounts"]} == {
            "/artifact": False,
            "/data": True,
        }
        uid, gid = container["Config"]["User"].split(":")
        assert int(uid) > 0 < int(gid)
        denied = {
            "touch /etc/x": "Read-only file system",
            "touch /artifact/x": "Read-only file system",
            "python3 -c 'import socket; socket.create_connection((\"192.0.2.1\", 80), 0.2)'": "timed out",
            "chown 0 /tmp": "not permitted",
        }
        for command, words in denied.items():
            done = client.api.exec_create(replica.id, ["/bin/sh", "-c", command])["Id"]
            assert words in client.api.exec_start(done).decode(), command
            assert client.api.exec_inspect(done)["ExitCode"] != 0


def test_process_that_takes_too_much_memory_is_killed_and_a_killed_replica_says_why(release, tmp_path):
    with DockerRuntime(tmp_path / "d") as running, contextlib.closing(client_of_daemon()) as client:
        (replica,) = running.deploy(dataclasses.replace(release, limits=Limits(memory_mb=64)))
        greedy = client.api.exec_create(replica.id, ["python3", "-c", "x = bytearray(300_000_000)"])["Id"]
        client.api.exec_start(greedy)
        assert client.api.exec_inspect(greedy)["ExitCode"] == 128 + signal.SIGKILL
        running.replica("filter-0").kill()
        running.replica("filter-0").wait_ready(60)
        (after,) = running.status()
        assert (after.restarts, after.state) == (1, "ready")
        assert after.exit_reason in {"out of memory", "signal 9 (Killed)"}  # Docker remembers what was killed before


def test_taken_port_is_left_to_its_owner_and_another_is_tried(release, tmp_path, monkeypatch):
    free = docker_runtime._free_port
    with socket.create_server(("127.0.0.1", 0)) as taken, DockerRuntime(tmp_path / "d") as running:
        ports = [port := taken.getsockname()[1], port, free()]
        monkeypatch.setattr(docker_runtime, "_free_port", lambda: ports.pop(0))
        (replica,) = running.deploy(release)
        assert replica.state == "ready"
        assert ports == []
        running.stop("filter")
        monkeypatch.setattr(docker_runtime, "_free_port", lambda: port)
        with pytest.raises(ServiceError, match=f"starting filter-0: .*{port}.*(already|in use)"):
            running.deploy(release)
        assert containers(running.folder) == []


def test_containers_keep_their_order_and_removed_ones_are_left_out(release, tmp_path, monkeypatch):
    create = Container.__init__

    def created_in_the_same_second(self, client, listed):
        create(self, client, {**listed, "Created": 0})

    with DockerRuntime(tmp_path / "d") as running, contextlib.closing(client_of_daemon()) as client:
        first, _, third = running.deploy(dataclasses.replace(release, replicas=3))
        with monkeypatch.context() as patch:
            patch.setattr(Container, "__init__", created_in_the_same_second)
            assert [replica.name for replica in running.status()] == ["filter-0", "filter-1", "filter-2"]
        listed = running._containers()
        client.api.remove_container(first.id, force=True)
        with monkeypatch.context() as patch:  # removed just after they were listed
            patch.setattr(DockerRuntime, "_containers", lambda self, name="": listed)
            assert [replica.name for replica in running.status()] == ["filter-1", "filter-2"]
            assert [usage.name for usage in running.stats("filter")] == ["filter-1", "filter-2"]
            assert {line.split(" | ")[0] for line in running.logs("filter")} <= {"filter-1", "filter-2"}
        running.scale("filter", 2)
        assert third.name not in {replica.name for replica in running.status()}
        running.update(release)
        assert [replica.state for replica in running.status()] == ["ready", "ready"]


@pytest.mark.skipif(os.getuid() != 0, reason="another user runs containers as the one who it is")
def test_files_that_processes_of_root_left_are_the_containers_too(release, tmp_path):
    for kind in ("process", "docker", "process"):
        with runtime(kind, folder=tmp_path / "d") as running:
            (replica,) = running.deploy(release)
            assert replica.state == "ready"


def test_too_little_memory_is_named_as_the_reason(release, tmp_path):
    with DockerRuntime(tmp_path / "d") as running:
        with pytest.raises(ServiceError, match="filter-0 ended with out of memory before it was ready"):
            running.deploy(dataclasses.replace(release, limits=Limits(memory_mb=12)))
        assert containers(running.folder) == []


def test_missing_image_is_refused_with_the_remedy(release, tmp_path):
    with DockerRuntime(tmp_path / "d") as running:
        with pytest.raises(ServiceError, match=r"No such image: opslab-test-none.* Next: opslab image"):
            running.deploy(dataclasses.replace(release, image="opslab-test-none"))
        with pytest.raises(ParameterError, match=r"names no image\. Next: image=build_service_image"):
            running.deploy(dataclasses.replace(release, image=""))


def test_image_that_never_gets_ready_is_given_up_with_its_last_words(release, tmp_path):
    sleeping = 'ENTRYPOINT ["/bin/sh", "-c", "echo thinking; sleep 60"]'
    with image(release.image, sleeping) as name, DockerRuntime(tmp_path / "d") as running:
        with pytest.raises(ServiceError, match=r"filter-0 was not ready within 0\.5 s\. The last lines(.|\n)*thinking"):
            running.deploy(dataclasses.replace(release, image=name), deadline=0.5)
        assert containers(running.folder) == []


def test_daemon_that_dies_is_reported_and_what_it_had_made_is_removed_later(release, proxy, tmp_path):
    dying = proxy(b"/start HTTP")
    running = DockerRuntime(tmp_path / "d")
    with pytest.raises(ServiceError, match=r"Docker went away while starting filter-0(.|\n)*could not be removed"):
        running.deploy(release)
    assert dying.cut.is_set()
    assert len(containers(running.folder)) == 1
    with pytest.raises(ServiceError, match="went away"):
        running.close()
    real = Proxy(dying.path, b"\0never\0")  # it is back
    with contextlib.closing(real):
        running.close()


def test_full_disk_is_named_as_the_reason(release, proxy, tmp_path):
    proxy(b"/containers/create", refusal(500, "mkdir /var/lib/docker/overlay2: no space left on device"))
    with (
        DockerRuntime(tmp_path / "d") as running,
        pytest.raises(ServiceError, match=r"the disk is full .* Next: docker system df"),
    ):
        running.deploy(release)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a file system that is full")
@pytest.mark.parametrize("kind", ["docker", "process"])
def test_full_disk_under_the_logs_is_in_the_last_words(kind, release, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=4,mode=777", "opslab-test", full], check=True)
    try:
        with runtime(kind, folder=tmp_path / "d") as running, pytest.raises(ServiceError, match="No space left on"):
            running.deploy(dataclasses.replace(release, folder=full / "logs"))
    finally:
        subprocess.run(["umount", full], check=True)


def test_interrupt_leaves_nothing_whenever_it_comes(release, tmp_path, monkeypatch):
    make, wait = DockerRuntime._make, Container.wait_ready

    def interrupted_make(self, *args):
        _thread.interrupt_main()  # the daemon is told to make it all the same
        make(self, *args)

    def interrupted_wait(self, seconds):
        raise KeyboardInterrupt

    with DockerRuntime(tmp_path / "d") as running:
        monkeypatch.setattr(DockerRuntime, "_make", interrupted_make)
        with pytest.raises(KeyboardInterrupt):
            running.deploy(release)
        assert containers(running.folder) == []
        monkeypatch.setattr(DockerRuntime, "_make", make)
        monkeypatch.setattr(Container, "wait_ready", interrupted_wait)
        with pytest.raises(KeyboardInterrupt):
            running.deploy(release)
        assert containers(running.folder) == []
        monkeypatch.setattr(Container, "wait_ready", wait)
        running.deploy(release)


@pytest.fixture
def opslab(tmp_path, release):
    with platform_commands(tmp_path / "p", "--runtime=docker", f"--artifact={release.artifact.folder}") as up:
        yield up


def test_ctrl_c_ends_the_containers_too_even_while_they_start(opslab, tmp_path):
    process = opslab()
    until(lambda: containers(tmp_path / "p"))
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert "nothing is left running" in process.stdout.read()
    assert containers(tmp_path / "p") == []


def test_leftovers_of_a_killed_platform_are_seen_and_removed(opslab, tmp_path, capsys):
    folder = tmp_path / "p"
    process = opslab()
    until(lambda: "To end it" in process.stdout.readline())
    assert cli.main(["platform", "status", f"--folder={folder}"]) == 0
    (row,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("filter-v1-0"))
    assert " ready " in row
    assert " 127.0.0.1:" in row
    assert cli.main(["platform", "down", "--all"]) == 0  # its maker lives, and it is not in this workspace
    assert len(containers(folder)) == 1
    process.kill()
    process.wait()
    assert len(containers(folder)) == 1
    assert cli.main(["platform", "down", "--all"]) == 0
    assert "Removed what a killed one has left: container filter-v1-0" in capsys.readouterr().out
    assert containers(folder) == []
