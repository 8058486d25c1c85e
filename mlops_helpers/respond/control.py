"""A control: how long a write of one byte takes that no service does. If it waits, the machine is to blame."""

import os
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["EVERY_SECONDS", "Control"]

EVERY_SECONDS = 0.25


class Control:
    """Writes one byte to a file without a name in ``folder`` and syncs it, at an interval, in a thread; a context."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waits: list[tuple[float, float]] = []  # when a write was due, and for how long it was overdue
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def stalled(self, start: float, end: float) -> float:
        """Return for how many seconds between two moments (epoch seconds) a write was overdue."""
        return sum(waited for due, waited in list(self._waits) if start <= due < end)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        with tempfile.TemporaryFile(dir=self._folder, buffering=0) as file:
            due = time.time() + EVERY_SECONDS
            while not self._end.wait(max(0.0, due - time.time())):
                file.write(b".")
                os.fsync(file.fileno())
                now = time.time()
                overdue = now - due - EVERY_SECONDS  # a write within an interval is none that waited
                self._waits.append((due, max(0.0, overdue)))
                due = max(due + EVERY_SECONDS, now)
