"""Knowing whether a process is gone."""

import psutil
import pytest


@pytest.fixture(scope="session")
def gone():
    """Return a function that says whether a process has ended."""

    def has_ended(pid):
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return has_ended
