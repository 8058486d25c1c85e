"""The platform with its real services; few of them are started, as each start takes a second."""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import urllib.request
from pathlib import Path

import psutil
import pytest
from arriving import comments_arrive
from holding import held

from mlops_helpers import cli
from mlops_helpers.deploy import commands, occupancy
from mlops_helpers.deploy.calls import call
from mlops_helpers.deploy.platform import Platform
from mlops_helpers.errors import ArtifactError, OpsLabError, ParameterError, RegistryError, ServiceError
from mlops_helpers.model import artifact as artifacts
from mlops_helpers.serve.records import records

SPAM = "Check out my NEW channel!!! http://www.example.com/x?y=1"


@pytest.fixture(scope="module")
def artifact(model, tmp_path_factory):
    return artifacts.export(model, tmp_path_factory.mktemp("model") / "artifact")


@pytest.fixture(scope="module")
def platform(artifact, tmp_path_factory):
    with Platform({"v1": artifact}, folder=tmp_path_factory.mktemp("platform"), replicas=2) as running:
        yield running


@pytest.fixture
def traffic(platform):
    """Comments that arrive all the time; in the end none of them has failed."""
    with comments_arrive(platform.gateway) as answered:
        yield answered


def connects(address):
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except ConnectionRefusedError:
        return False
    return True


def pids(platform):
    return [service.pid for service in platform.status()]


def test_everything_answers_and_is_told(platform, artifact):
    assert [one.name for one in platform.status()] == ["blog", "gateway", "filter-v1-0", "filter-v1-1"]
    assert {one.state for one in platform.status()} == {"ready"}
    assert all(one.memory > 1e6 and one.pid and one.restarts == 0 for one in platform.status())
    assert len(platform.filters["v1"]) == 2
    for address in platform.filters["v1"]:
        assert call("GET", address, "/version")["artifact_sha256"] == artifact.sha256
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for url in (platform.blog_url, platform.moderation_url):
        with opener.open(url, timeout=10) as page:
            assert page.status == 200
    with pytest.raises(ServiceError, match="401"):
        call("GET", platform.gateway, "/admin/state")
    state = platform.folder / "platform.json"
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert platform.moderator_token in state.read_text()
    for one in platform.status():  # nobody else may see a secret: not in a command line, not in a log
        shown = " ".join(psutil.Process(one.pid).cmdline()) + (platform.folder / f"{one.name}.log").read_text()
        assert platform.admin_token not in shown
        assert platform.moderator_token not in shown


def test_no_service_exposes_a_series_for_the_birth_of_every_counter(platform):
    for address in (platform.blog, platform.gateway, *platform.filters["v1"]):
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=20) as page:
            assert b"_created" not in page.read()


def test_what_has_not_happened_yet_is_counted_as_0(platform):
    def page(address):
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=20) as answer:
            return answer.read().decode()

    for state in ("pending", "published", "held"):
        assert f'blog_comments_total{{state="{state}"}} ' in page(platform.blog)
    call("POST", platform.gateway, "/v1/classify", {"id": "c-0", "text": "hello"})
    assert 'gateway_requests_total{code="503",version="v1"} 0.0' in page(platform.gateway)


def test_a_killed_filter_is_replaced_while_comments_arrive(platform, traffic, until):
    before = {one.name: one for one in platform.status()}["filter-v1-0"]
    until(lambda: len(traffic) > 5)
    platform.kill("filter-v1-0")
    platform.wait_ready("filter-v1-0")
    after = {one.name: one for one in platform.status()}["filter-v1-0"]
    assert (after.address, after.restarts) == (before.address, before.restarts + 1)
    assert after.pid != before.pid
    count = len(traffic)
    until(lambda: len(traffic) > count + 5)


def test_a_version_comes_and_goes_while_comments_arrive(platform, artifact, traffic, until):
    platform.add_version("v2", artifact)
    assert platform.weights() == {"v1": 1.0, "v2": 0.0}
    with pytest.raises(ParameterError, match="there is a version v2"):
        platform.add_version("v2", artifact)
    platform.set_weights({"v1": 0.5, "v2": 0.5})
    until(lambda: {"v1", "v2"} <= {answer["version"] for answer in traffic})
    with pytest.raises(ServiceError, match="422"):
        platform.remove_version("v2")  # readers depend on it
    assert len(platform.filters["v2"]) == 1
    platform.set_weights({"v1": 1.0})
    platform.set_shadow({"v2": 1.0})
    until(lambda: any(record["shadow"] for log in platform.predictions("v2") for record in records(log)))
    platform.set_shadow({})
    (address,) = platform.filters["v2"]
    platform.remove_version("v2")
    assert list(platform.filters) == ["v1"]
    assert not connects(address)
    assert "filter-v2-0" not in {one.name for one in platform.status()}
    with pytest.raises(ParameterError, match="no version 'v2'; there are: v1"):
        platform.remove_version("v2")
    assert len(platform.predictions("v1")) == 2
    assert len(platform.predictions("v2")) == 1  # kept


def test_a_gateway_keeps_what_was_changed_when_it_is_killed(platform):
    platform.set_shadow({"v1": 0.25})
    platform.kill("gateway")
    platform.wait_ready("gateway")
    assert call("GET", platform.gateway, "/admin/state", token=platform.admin_token)["shadow"] == {"v1": 0.25}
    platform.set_shadow({})


def test_a_stopped_service_refuses_until_it_is_started_and_a_paused_one_hangs(platform):
    address = platform.filters["v1"][1]
    platform.stop("filter-v1-1")
    assert not connects(address)
    platform.start("filter-v1-1")
    assert call("GET", address, "/readyz")["status"] == "ready"
    platform.pause("filter-v1-1")
    assert connects(address)
    with pytest.raises(ServiceError, match="TimeoutError"):
        call("GET", address, "/readyz", seconds=0.05)
    platform.resume("filter-v1-1")
    assert call("GET", address, "/readyz")["status"] == "ready"
    with pytest.raises(ParameterError, match=r"no service 'filter'; there are: .*blog"):
        platform.kill("filter")


def test_a_version_that_cannot_start_changes_nothing(platform, artifact):
    before = platform.status()
    with pytest.raises(ServiceError, match="filter-v3-0 ended with exit code 1"):
        platform.add_version("v3", dataclasses.replace(artifact, sha256="0" * 64))
    assert [one.name for one in platform.status()] == [one.name for one in before]
    assert platform.weights() == {"v1": 1.0}


def test_a_folder_has_one_platform(platform, artifact):
    with pytest.raises(ServiceError, match=rf"a platform runs in .* \(process {os.getpid()}, a program of your own\)"):
        Platform({"v1": artifact}, folder=platform.folder).up()
    with pytest.raises(ServiceError, match="was started before"):
        platform.up()
    assert cli.main(["platform", "down", "--folder", str(platform.folder)]) == 1  # it is not the command's
    assert call("GET", platform.gateway, "/readyz")["status"] == "ready"


def test_a_failed_start_ends_what_was_started_and_says_what_failed(artifact, tmp_path):
    before, folder = held(), tmp_path / "failing"
    with pytest.raises(ServiceError) as failure:
        Platform({"v1": artifact, "v2": dataclasses.replace(artifact, sha256="0" * 64)}, folder=folder).up()
    for part in ("filter-v2-0 ended with exit code 1 before it was ready", "filter-v2-0.log", "expected is 000"):
        assert part in str(failure.value)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError, match=f"cannot take 127.0.0.1:{port}"):
            Platform({"v1": artifact}, folder=folder, port=port).up()
    assert held() == before
    assert not (folder / "platform.json").exists()


def test_nothing_is_left_of_a_platform(artifact):
    before = held()
    platform = Platform({"v1": artifact}).up()
    processes, addresses = pids(platform), [one.address for one in platform.status()]
    platform.add_version("v2", artifact)
    platform.stop("blog")
    platform.pause("filter-v1-0")
    platform.down()
    platform.down()  # nothing more happens
    assert held() == before
    assert not any(map(psutil.pid_exists, filter(None, processes)))
    for address in addresses:
        with socket.create_server(("127.0.0.1", int(address.split(":")[1]))):
            pass
    folder = platform.folder
    assert len(platform.predictions("v1")) == 1
    del platform
    assert not folder.exists()


@pytest.mark.parametrize(
    ("versions", "options", "message"),
    [
        ({}, {}, "no version"),
        ({"../v1": "{artifact}"}, {}, "up to 32 letters"),
        ({"v1": "{artifact}"}, {"replicas": 0}, "replicas is 0"),
        ({"v1": "{artifact}"}, {"durability": "never"}, "accepted: ack, async"),
        ({"v1": "missing"}, {}, "no artifact in missing"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(versions, options, message, artifact):
    given = {version: path.format(artifact=artifact.folder) for version, path in versions.items()}
    with pytest.raises((ParameterError, ArtifactError), match=message):
        Platform(given, **options)


def test_what_was_forgotten_ends_with_the_interpreter_but_not_with_a_forked_child(artifact, gone):
    code = f"""
        import os, sys
        from mlops_helpers.deploy.platform import Platform
        from mlops_helpers.deploy.calls import call
        platform = Platform({{"v1": {str(artifact.folder)!r}}}).up()
        if (child := os.fork()) == 0:
            sys.exit()
        os.waitpid(child, 0)
        assert (platform.folder / "platform.json").exists()
        for address in (platform.blog, platform.gateway):
            call("GET", address, "/readyz")
        print(platform.folder, *(service.pid for service in platform.status()))"""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, timeout=60
    )
    folder, *ended = done.stdout.split()
    assert len(ended) == 3
    assert all(gone(int(pid)) for pid in ended)
    assert not Path(folder).exists()
    assert done.stderr == ""


@pytest.fixture
def opslab(tmp_path, artifact):
    """Return a function that starts `opslab platform up` in the foreground; what is left of it is ended."""
    started = []

    def up(*arguments):
        command = [sys.executable, "-m", "mlops_helpers.cli", "platform", "up", f"--folder={tmp_path / 'p'}"]
        process = subprocess.Popen(
            [*command, f"--artifact={artifact.folder}", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield up
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()
    with contextlib.suppress(OpsLabError):
        cli.main(["platform", "down", f"--folder={tmp_path / 'p'}"])


def state_of(folder, capsys):
    capsys.readouterr()
    code = cli.main(["platform", "status", "--json", f"--folder={folder}"])
    return code, json.loads(capsys.readouterr().out)


def test_up_detached_is_seen_and_what_a_killed_one_leaves_is_in_nobodys_way(opslab, artifact, tmp_path, capsys, gone):
    folder = tmp_path / "p"
    up = ["platform", "up", f"--folder={folder}", f"--artifact={artifact.folder}"]
    assert cli.main([*up, "--detach"]) == 0
    shown = capsys.readouterr().out
    assert stat.S_IMODE((folder / "up.log").stat().st_mode) == 0o600  # the moderators' token is in it
    code, state = state_of(folder, capsys)
    assert (code, state["ready"], len(state["services"])) == (0, True, 3)
    assert os.getsid(state["supervisor"]["pid"]) != os.getsid(0)
    for service in state["services"]:
        row = {service["name"], service["address"], str(service["pid"])}
        assert any(row <= {*line.split()} for line in shown.splitlines())
    assert state["moderation_url"] in shown
    assert cli.main(["platform", "status", f"--folder={folder}"]) == 0
    assert cli.main(up) == 1
    assert f"(process {state['supervisor']['pid']}, opslab platform up)" in capsys.readouterr().err
    os.kill(state["services"][-1]["pid"], signal.SIGSTOP)
    assert cli.main(["platform", "status", f"--folder={folder}"]) == 1
    assert "not ready" in capsys.readouterr().out

    # What is changed outlives the gateway; the next one must not look for its filters where these were.
    call("PUT", state["gateway"], "/admin/weights", {"v1": 1.0}, token=state["admin_token"])
    os.kill(state["supervisor"]["pid"], signal.SIGKILL)  # the services end by themselves, even the one that hangs
    again = opslab(f"--port={state['blog_url'].split(':')[-1][:-1]}")
    assert "artifact" in again.stdout.readline()
    assert all(gone(service["pid"]) for service in state["services"])
    code, fresh = state_of(folder, capsys)
    assert (code, fresh["blog_url"]) == (0, state["blog_url"])
    assert cli.main(["platform", "down", f"--folder={folder}"]) == 0
    assert "has ended" in capsys.readouterr().out
    assert all(gone(one["pid"]) for one in [*fresh["services"], fresh["supervisor"]])
    assert again.wait(60) == 128 + signal.SIGTERM
    assert state_of(folder, capsys) == (1, {"ready": False, "services": []})
    assert cli.main(["platform", "down", f"--folder={folder}"]) == 0
    assert "No platform runs" in capsys.readouterr().out


def test_ctrl_c_ends_everything_even_while_it_starts(opslab, tmp_path, gone, until):
    process = opslab()
    state = until(lambda: occupancy.running(tmp_path / "p"))
    assert not state["ready"]
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert "nothing is left running" in process.stdout.read()
    assert all(gone(service["pid"]) for service in state["services"] if service["pid"])


def test_a_detached_start_that_fails_says_why_and_is_no_success(tmp_path, capfd):
    assert cli.main(["platform", "up", "--detach", f"--folder={tmp_path / 'p'}", "--artifact=missing"]) == 1
    assert "opslab: no artifact in" in capfd.readouterr().err
    assert cli.main(["platform", "up", f"--folder={tmp_path / 'p'}", "--sha256=0"]) == 2


def test_the_champion_serves_or_a_small_model_that_says_so(artifact, model, monkeypatch, tmp_path, capsys):
    from mlops_helpers.model import registry, training
    from mlops_helpers.workspace import workspace

    class Registered:
        def get(self, alias):
            if champion is None:
                raise RegistryError("none")
            return champion

        def artifact(self, number):
            return artifact

    args = type("Arguments", (), {"artifact": None, "sha256": None, "folder": tmp_path})
    monkeypatch.setattr(registry, "Registry", Registered)
    monkeypatch.setattr(training, "train", lambda *_: model)
    (workspace("registry") / "mlflow.db").touch()
    champion = registry.Version(3, ("champion",), "run", {}, {})
    assert commands._model(args) == ("v3", artifact, "the registry's champion")
    champion = None
    version, made, origin = commands._model(args)
    assert (version, made.sha256) == ("v1", artifact.sha256)
    assert "small model" in origin
    assert "no champion" in capsys.readouterr().out
