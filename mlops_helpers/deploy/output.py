"""What a process prints: in files of bounded size, and its last lines for the error that ends it."""

import logging
from collections import deque
from logging.handlers import RotatingFileHandler
from pathlib import Path

__all__ = ["Output", "last_lines"]

_BYTES = 1_000_000
_LINES = 15


class _Files(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """Lose the line: a full disk must not stop the reader of the pipe, nor fill a notebook with tracebacks."""


class Output:
    """Lines in ``path`` and, when that has a megabyte, the ones before in ``path.1``; older ones are dropped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files = _Files(path, maxBytes=_BYTES, backupCount=1, encoding="utf-8", delay=True)
        self._last: deque[str] = deque(maxlen=_LINES)

    def write(self, line: str) -> None:
        """Append a line."""
        self._files.emit(logging.makeLogRecord({"msg": line}))
        self._last.append(line)

    def tail(self) -> str:
        """Return the last lines under a heading that names the file."""
        return "\n".join([f"The last lines of {self._path}:", *(self._last or ["(none)"])])

    def close(self) -> None:
        """Close the file; a later :meth:`write` opens it again."""
        self._files.close()


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last lines of a file that an :class:`Output` writes; none when there is none yet."""
    try:
        return path.read_text("utf-8").splitlines()[-count:]
    except FileNotFoundError:
        return []
