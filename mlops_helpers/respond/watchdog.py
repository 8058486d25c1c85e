"""A process that puts faults back when the one that made them cannot any more, however that ended.

A fault is told to the watchdog before it happens. The watchdog's standard input is its lifeline: only the maker holds
the other end, so it ends when the maker is gone, also by SIGKILL. What was told and not taken back by then is undone.
"""

import contextlib
import json
import sys
from types import TracebackType
from typing import Self

from mlops_helpers.errors import ServiceError
from mlops_helpers.respond.side_process import SideProcess
from mlops_helpers.respond.undo import Entry, undo

__all__ = ["Watchdog"]

_END_SECONDS = 20.0


class Watchdog:
    """A context; :meth:`promise` what is to be undone, :meth:`keep` the promise. The end keeps all that are left."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._number = 0
        self._process: SideProcess | None = None

    @property
    def pid(self) -> int | None:
        """The watchdog's process."""
        return self._process.pid if self._process else None

    @property
    def open(self) -> list[Entry]:
        """What is promised and not kept yet."""
        return list(self._entries.values())

    def __enter__(self) -> Self:
        self._process = SideProcess("mlops_helpers.respond.watchdog", "the watchdog")
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
        if self._process is None:
            raise ServiceError("the watchdog was not started. Next: with Watchdog() as watchdog")
        self._process.ask(line)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            for number in reversed(list(self._entries)):
                self.keep(number)
        finally:
            if self._process is not None:
                self._process.close(_END_SECONDS)


def _watch() -> None:
    entries: dict[int, Entry] = {}
    for line in sys.stdin:
        told = json.loads(line)
        if told["entry"] is None:
            entries.pop(told["number"], None)
        else:
            entries[told["number"]] = told["entry"]
        with contextlib.suppress(OSError):  # the maker ended before it heard; the end of the lines comes next
            print("{}", flush=True)
    for number in reversed(entries):
        with contextlib.suppress(Exception):  # one that fails must not keep the others from being undone
            undo(entries[number])


if __name__ == "__main__":
    _watch()
