"""What all tests share: a workspace of their own, and engines that are required, found or said to be missing."""

import contextlib
import functools
import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Engine:
    """Something that a machine may lack: how to see whether it is there, and how to get it."""

    is_there: Callable[[], bool]
    remedy: str


def _corpora() -> bool:
    from mlops_helpers.model import data
    from mlops_helpers.workspace import cache

    folder = Path(os.environ.get("MLOPS_DATA_DIR") or cache("corpora"))
    return all((folder / corpus.file_name).is_file() for corpus in data.CORPORA.values())


def chromium() -> str | None:
    """Return the path of the system's Chromium, or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)


@functools.cache
def _docker() -> bool:
    import docker

    try:
        with contextlib.closing(docker.from_env(timeout=10)) as client:
            return bool(client.ping())
    except docker.errors.DockerException:
        return False


@functools.cache
def _bwrap() -> bool:
    command = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"]
    return bool(shutil.which("bwrap")) and not subprocess.run(command, capture_output=True, timeout=30).returncode


ENGINES = {
    "data": Engine(_corpora, "opslab data youtube sms (downloads them), or export MLOPS_DATA_DIR=FOLDER"),
    "chromium": Engine(
        lambda: bool(chromium() and importlib.util.find_spec("playwright")), "apt-get install chromium && make setup"
    ),
    "prometheus": Engine(
        lambda: bool(
            shutil.which("prometheus")
            and shutil.which("promtool")
            and (shutil.which("alertmanager") or shutil.which("prometheus-alertmanager"))
        ),
        "apt-get install prometheus prometheus-alertmanager",
    ),
}
ENGINES |= {
    "docker": Engine(_docker, "apt-get install docker.io, then start dockerd (or your system's Docker)"),
    "swarm": Engine(_docker, "the same as docker: a swarm of one node is made by the tests"),
    "ansible": Engine(lambda: bool(importlib.util.find_spec("ansible")), "make setup"),
    "puppet": Engine(lambda: bool(shutil.which("puppet")), "apt-get install puppet-agent"),
}
ENGINES["nbgrader"] = Engine((PROJECT / "build/nbgrader/.ready").is_file, "make nbgrader")
ENGINES["bwrap"] = Engine(_bwrap, "apt-get install bubblewrap, and allow user namespaces where the system forbids them")
REQUIRED = {name for name in os.environ.get("OPSLAB_REQUIRE", "").split(",") if name}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Share the tests out by file, since fixtures of a module are dear; those that make a swarm run one after another,
    as a machine has one swarm, and they count what is left of it."""
    from xdist.scheduler import LoadFileScheduling

    class ByFileAndSwarm(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            if "test_runtime" in nodeid:
                return "swarm"
            if "test_chapters" in nodeid:  # each takes long; those of one source share what they ran
                return nodeid.partition("-")[0]
            return super()._split_scope(nodeid)

    return ByFileAndSwarm(config, log)


def pytest_configure(config: pytest.Config) -> None:
    # a script's background jobs ignore it, and so would all that the tests start and interrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "engine(name): needs an engine that a machine may lack")
    config.addinivalue_line("markers", "alone: measures time, so that nothing else may run beside it")
    config.addinivalue_line("markers", "drill: a live service is broken and judged: one other drill may run beside it")
    unknown = REQUIRED - set(ENGINES)
    if unknown:
        raise pytest.UsageError(f"OPSLAB_REQUIRE names {', '.join(sorted(unknown))}; there are: {', '.join(ENGINES)}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("engine"):
        name = marker.args[0]
        if not ENGINES[name].is_there():
            message = f"engine {name} is not here; to get it: {ENGINES[name].remedy}"
            if name in REQUIRED:
                pytest.fail(message, pytrace=False)
            pytest.skip(message)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name, engine in ENGINES.items():
        found = "found" if engine.is_there() else f"NOT FOUND, its tests did not run; to get it: {engine.remedy}"
        terminalreporter.write_line(f"engine {name}: {found}")


@pytest.fixture(autouse=True)
def workspace_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every test a workspace of its own."""
    folder = tmp_path / "workspace"
    monkeypatch.setenv("OPSLAB_WORKSPACE", str(folder))
    return folder


@pytest.fixture(scope="module")
def browser():
    """A browser without a window."""
    from playwright.sync_api import sync_playwright

    flags = "no-sandbox disable-gpu disable-background-networking disable-component-update disable-sync no-first-run"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=[f"--{flag}" for flag in flags.split()])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def comments():
    """1,000 clean simulated comments; not to be changed in place."""
    from mlops_helpers.model import data

    return data.load("simulated", n_comments=1000, seed=5)


@pytest.fixture(scope="session")
def model(comments):
    """A model trained on all of ``comments``."""
    from mlops_helpers.model import training

    return training.train(comments.frame, comments.sha256)


UNTIL_SECONDS = 60  # a deadline, never a wait


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], object]], object]:
    """Return a function that waits for a condition and gives its value."""

    def wait(condition: Callable[[], object]) -> object:
        limit = time.monotonic() + UNTIL_SECONDS
        while not (found := condition()):
            assert time.monotonic() < limit, "it did not happen in time"
            time.sleep(0.005)
        return found

    return wait
