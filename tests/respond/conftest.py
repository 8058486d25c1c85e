"""Processes that a fault may be tried on."""

import subprocess
import sys

import psutil
import pytest


@pytest.fixture
def sleeper():
    """A process that does nothing."""
    child = subprocess.Popen([sys.executable, "-I", "-c", "import time; time.sleep(600)"])
    yield child
    child.kill()
    child.wait()


@pytest.fixture(scope="session")
def frozen():
    """Return a function that says whether a process is stopped."""
    return lambda pid: psutil.Process(pid).status() == psutil.STATUS_STOPPED
