"""The platform of processes: its secrets, its folder, its end, and the commands; the rest is in the contract."""

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

from mlops_helpers import cli
from mlops_helpers.deploy import commands, occupancy
from mlops_helpers.deploy.calls import call
from mlops_helpers.deploy.platform import Platform
from mlops_helpers.errors import ArtifactError, ParameterError, RegistryError, ServiceError
from tests.support.leaks import ended, held
from tests.support.platforms import live_platform, platform_commands
from tests.support.waiting import until


@pytest.fixture(scope="module")
def platform(artifact, tmp_path_factory):
    with live_platform({"v1": artifact}, tmp_path_factory.mktemp("platform"), replicas=2) as running:
        yield running


def test_pages_answer_and_no_secret_is_shown_to_others(platform):
    assert [service.name for service in platform.status()] == ["blog", "gateway", "filter-v1-0", "filter-v1-1"]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for url in (platform.blog_url, platform.moderation_url):
        with opener.open(url, timeout=10) as page:
            assert page.status == 200
    with pytest.raises(ServiceError, match="401"):
        call("GET", platform.gateway, "/admin/state")
    state = platform.folder / "platform.json"
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert platform.moderator_token in state.read_text()
    for service in platform.status():  # nobody else may see a secret: not in a command line, not in a log
        shown = " ".join(psutil.Process(service.pid).cmdline()) + (platform.folder / f"{service.name}.log").read_text()
        assert platform.admin_token not in shown
        assert platform.moderator_token not in shown


def metrics(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=20) as answer:
        return answer.read().decode()


def test_metrics_have_no_birth_of_every_counter_and_count_what_has_not_happened_as_0(platform):
    call("POST", platform.gateway, "/v1/classify", {"id": "c-0", "text": "hello"})
    for address in (platform.blog, platform.gateway, *platform.filters["v1"]):
        assert "_created" not in metrics(address)
    for state in ("pending", "published", "held"):
        assert f'blog_comments_total{{state="{state}"}} ' in metrics(platform.blog)
    assert 'gateway_requests_total{code="503",version="v1"} 0.0' in metrics(platform.gateway)


def test_killed_gateway_keeps_what_was_changed(platform):
    platform.set_shadow({"v1": 0.25})
    platform.kill("gateway")
    platform.wait_ready("gateway")
    assert call("GET", platform.gateway, "/admin/state", token=platform.admin_token)["shadow"] == {"v1": 0.25}
    platform.set_shadow({})


def test_folder_has_one_platform(platform, artifact):
    with pytest.raises(ServiceError, match=rf"a platform runs in .* \(process {os.getpid()}, a program of your own\)"):
        Platform({"v1": artifact}, folder=platform.folder).up()
    with pytest.raises(ServiceError, match="was started before"):
        platform.up()
    with pytest.raises(ParameterError, match=r"no service 'filter'; there are: .*blog"):
        platform.kill("filter")
    assert cli.main(["platform", "down", "--folder", str(platform.folder)]) == 1  # it is not the command's
    assert call("GET", platform.gateway, "/readyz")["status"] == "ready"


def test_failed_start_ends_what_was_started_and_says_what_failed(artifact, tmp_path):
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


def test_platform_leaves_nothing(artifact):
    before = held()
    platform = Platform({"v1": artifact}).up()
    processes = [service.pid for service in platform.status()]
    addresses = [service.address for service in platform.status()]
    platform.add_version("v2", artifact)
    platform.stop("blog")
    platform.pause("filter-v1-0")
    platform.down()
    platform.down()  # nothing more happens
    assert held() == before
    assert not any(map(psutil.pid_exists, processes))
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
def test_impossible_platform_is_refused_before_anything_starts(versions, options, message, artifact):
    given = {version: path.format(artifact=artifact.folder) for version, path in versions.items()}
    with pytest.raises((ParameterError, ArtifactError), match=message):
        Platform(given, **options)


def test_forgotten_platform_ends_with_the_interpreter_but_not_with_a_forked_child(artifact):
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
    folder, *pids = done.stdout.split()
    assert len(pids) == 3
    assert all(ended(int(pid)) for pid in pids)
    assert not Path(folder).exists()
    assert done.stderr == ""


@pytest.fixture
def opslab(tmp_path, artifact):
    with platform_commands(tmp_path / "p", f"--artifact={artifact.folder}") as up:
        yield up


def state_of(folder, capsys):
    capsys.readouterr()
    code = cli.main(["platform", "status", "--json", f"--folder={folder}"])
    return code, json.loads(capsys.readouterr().out)


def test_detached_platform_is_seen_and_a_killed_one_is_in_nobodys_way(opslab, artifact, tmp_path, capsys):
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
    assert all(ended(service["pid"]) for service in state["services"])
    code, fresh = state_of(folder, capsys)
    assert (code, fresh["blog_url"]) == (0, state["blog_url"])
    assert cli.main(["platform", "down", f"--folder={folder}"]) == 0
    assert "has ended" in capsys.readouterr().out
    assert all(ended(one["pid"]) for one in [*fresh["services"], fresh["supervisor"]])
    assert again.wait(60) == 128 + signal.SIGTERM
    assert state_of(folder, capsys) == (1, {"ready": False, "services": []})
    assert cli.main(["platform", "down", f"--folder={folder}"]) == 0
    assert "No platform runs" in capsys.readouterr().out


def test_ctrl_c_ends_everything_even_while_it_starts(opslab, tmp_path):
    process = opslab()
    state = until(lambda: occupancy.running(tmp_path / "p"))
    assert not state["ready"]
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert "nothing is left running" in process.stdout.read()
    assert all(ended(service["pid"]) for service in state["services"] if service["pid"])


def test_detached_start_that_fails_says_why_and_is_no_success(tmp_path, capfd):
    assert cli.main(["platform", "up", "--detach", f"--folder={tmp_path / 'p'}", "--artifact=missing"]) == 1
    assert "opslab: no artifact in" in capfd.readouterr().err
    assert cli.main(["platform", "up", f"--folder={tmp_path / 'p'}", "--sha256=0"]) == 2


def test_champion_serves_or_a_small_model_that_says_so(artifact, model, monkeypatch, tmp_path, capsys):
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
    assert "no champion" in capsys.readouterr().out.lower()
