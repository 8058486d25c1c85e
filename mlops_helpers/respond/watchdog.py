"""A process that puts faults back when the one that made them cannot any more, however that ended.

A fault is told to the watchdog before it happens. The watchdog's standard input is its lifeline: only the maker holds
the other end, so it ends when the maker is gone, also by SIGKILL. What was told and not taken back by then is undone.
"""

import contextlib
import json
import subprocess
import sys
from types import TracebackType
from typing import Self

from mlops_helpers.errors import ServiceError
from mlops_helpers.respond.undo import Entry, undo

__all__ = ["Watchdog"]

_END_SECONDS = 20.0


class Watchdog:
    """A context; :meth:`promise` what is to be undone, :meth:`keep` the promise. The end keeps all that are left."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._number = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int | None:
        """The watchdog's process."""
        return self._process.pid if self._process else None

    @property
    def open(self) -> list[Entry]:
        """What is promised and not kept yet."""
        return list(self._entries.values())

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mlops_helpers.respond.watchdog"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the maker
        )
        return self

    def promise(self, entry: Entry) -> int:
        """Return a number for an entry that the watchdog knows from now on. Raises ``ServiceError`` if it has died."""
        self._number += 1
        self._entries[self._number] = entry
        self._tell({"number": self._number, "entry": entry})
        return self._number

    def keep(self, number: int) -> None:
        """Undo what was promised under a number; safe twice."""
        entry = self._entries.get(number)
        if entry is not None:
            undo(entry)
            del self._entries[number]
            with contextlib.suppress(ServiceError):  # it is undone; a dead watchdog has nothing left to do
                self._tell({"number": number, "entry": None})

    def _tell(self, line: dict[str, object]) -> None:
        if self._process is None or self._process.stdin is None or self._process.stdout is None:
            raise ServiceError("the watchdog was not started. Next: with Watchdog() as watchdog")
        try:
            self._process.stdin.write(json.dumps(line) + "\n")
            self._process.stdin.flush()
            heard = self._process.stdout.readline()
        except (OSError, ValueError):
            heard = ""
        if not heard:
            raise ServiceError(
                "the watchdog has ended, so that nobody would put a fault back. Next: start the drill anew"
            )

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            for number in reversed(list(self._entries)):
                self.keep(number)
        finally:
            if self._process is not None and self._process.stdin is not None:
                with contextlib.suppress(OSError):
                    self._process.stdin.close()
                try:
                    self._process.wait(_END_SECONDS)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
                if self._process.stdout is not None:
                    self._process.stdout.close()


def _watch() -> None:
    entries: dict[int, Entry] = {}
    for line in sys.stdin:
        told = json.loads(line)
        if told["entry"] is None:
            entries.pop(told["number"], None)
        else:
            entries[told["number"]] = told["entry"]
        with contextlib.suppress(OSError):  # the maker ended before it heard; the end of the lines comes next
            print("known", flush=True)
    for number in reversed(entries):
        with contextlib.suppress(Exception):  # one that fails must not keep the others from being undone
            undo(entries[number])


if __name__ == "__main__":
    _watch()
