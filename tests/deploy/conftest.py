"""Waiting for conditions, and knowing whether a process is gone."""

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
            time.sleep(0.005)
        return found

    return wait


@pytest.fixture(scope="session")
def gone():
    """Return a function that says whether a process has ended."""

    def has_ended(pid):
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return has_ended
