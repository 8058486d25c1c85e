"""The engines that a machine may lack: how to see whether each works here, and how to get it."""

import contextlib
import functools
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Engine:
    """Something that a machine may lack. ``remedy`` is the command that brings it."""

    works: Callable[[], bool]
    remedy: str


def chromium_path() -> str | None:
    """Return the path of the system's Chromium, or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)


def _corpora() -> bool:
    from mlops_helpers.model import data
    from mlops_helpers.workspace import cache

    folder = Path(os.environ.get("MLOPS_DATA_DIR") or cache("corpora"))
    return all((folder / corpus.file_name).is_file() for corpus in data.CORPORA.values())


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
    from mlops_helpers.teach import grading_bubblewrap

    program = grading_bubblewrap.program()
    command = [str(program), "--unshare-all", "--ro-bind", "/", "/", "true"]
    return program is not None and subprocess.run(command, capture_output=True, timeout=30).returncode == 0


def _prometheus() -> bool:
    alertmanager = shutil.which("alertmanager") or shutil.which("prometheus-alertmanager")
    return bool(shutil.which("prometheus") and shutil.which("promtool") and alertmanager)


ENGINES = {
    "data": Engine(_corpora, "opslab data youtube sms (downloads them), or export MLOPS_DATA_DIR=FOLDER"),
    "chromium": Engine(
        lambda: bool(chromium_path() and importlib.util.find_spec("playwright")), "apt-get install chromium"
    ),
    "prometheus": Engine(_prometheus, "apt-get install prometheus prometheus-alertmanager"),
    "docker": Engine(_docker, "apt-get install docker.io, then start dockerd (or your system's Docker)"),
    "swarm": Engine(_docker, "the same as docker: the tests make a swarm of one node"),
    "puppet": Engine(lambda: bool(shutil.which("puppet")), "apt-get install puppet-agent"),
    "nbgrader": Engine((PROJECT / "build/nbgrader/.ready").is_file, "make nbgrader"),
    "bwrap": Engine(_bwrap, "make setup, and allow user namespaces where the system forbids them"),
}
