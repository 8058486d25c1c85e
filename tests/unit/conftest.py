"""Unit tests start no process, listen and connect nowhere, and never sleep: whatever does is stopped and told."""

import os
import sys
import threading
import time
from collections.abc import Iterator

import pytest

_FORBIDDEN = {"subprocess.Popen", "os.fork", "os.posix_spawn", "socket.bind", "socket.connect"}
_state = threading.local()  # other threads are not the test's, such as xdist's own


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event in _FORBIDDEN and getattr(_state, "on", False) and os.getpid() == _state.pid:
        _refuse_to(event, arguments)


def _refuse_to(event: str, arguments: object) -> None:
    raise AssertionError(f"a unit test may not use {event} {arguments!r:.200}; such a test belongs to tests/live")


sys.addaudithook(_refuse)


@pytest.fixture(autouse=True)
def nothing_but_computing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Refuse processes, sockets and sleeping while a unit test runs."""
    monkeypatch.setattr(time, "sleep", lambda seconds: _refuse_to("sleep", seconds))
    _state.on, _state.pid = True, os.getpid()
    yield
    _state.on = False
