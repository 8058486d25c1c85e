"""A process of this package that runs beside its maker, is told things a line at a time, and ends with its maker.

Its standard input is its lifeline: only the maker holds the other end, so it closes however the maker ends.
"""

import contextlib
import json
import subprocess
import sys
import threading
from typing import Any

from mlops_helpers.errors import ServiceError

__all__ = ["SideProcess"]


class SideProcess:
    """Runs ``python -m module``, which answers each line of JSON by one. ``called`` names it in errors.

    It has a session of its own: Ctrl-C is for the maker. Threads may share it.
    """

    def __init__(self, module: str, called: str) -> None:
        self._called, self._lock = called, threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid

    def ask(self, line: dict[str, Any]) -> dict[str, Any]:
        """Return what it answers. Raises ``ServiceError`` when it has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            try:
                self._process.stdin.write(json.dumps(line) + "\n")
                self._process.stdin.flush()
                answer = self._process.stdout.readline()
            except (OSError, ValueError):
                answer = ""
        if not answer:
            raise ServiceError(f"{self._called} has ended. Next: start the drill anew")
        heard: dict[str, Any] = json.loads(answer)
        return heard

    def close(self, seconds: float) -> None:
        """Let it end by itself, and kill it when that takes longer; safe twice."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
