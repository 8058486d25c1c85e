"""Waiting for conditions, and processes that a fault may be tried on."""

import subprocess
import sys
import time

import psutil
import pytest

SECONDS = 60  # a deadline, never a wait


@pytest.fixture(scope="session")
def until():
    """Return a function that waits for a condition and gives its value."""

    def wait(condition):
        limit = time.monotonic() + SECONDS
        while not (found := condition()):
            assert time.monotonic() < limit, "it did not happen in time"
            time.sleep(0.01)
        return found

    return wait


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
