"""A file that was handed in: read once, so that what is hashed is what is graded.

Nothing here trusts the file: it may be a link, a pipe, too large, or change while it is read.
"""

import hashlib
import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mlops_helpers.errors import NotebookError

__all__ = ["MOST_BYTES", "Handed", "Refused", "read"]

MOST_BYTES = 20_000_000
_ATTEMPTS = 3  # to read a file that changes meanwhile


class Refused(NotebookError):
    """A submission that cannot be graded; the message, the rest of a sentence, is the reason, for the student."""


@dataclass(frozen=True)
class Handed:
    """A notebook as it was read: its bytes, and when it was last changed (ISO 8601, UTC)."""

    content: bytes
    submitted_at: str

    @property
    def sha256(self) -> str:
        """The hash of the bytes."""
        return hashlib.sha256(self.content).hexdigest()


def read(path: Path) -> Handed:
    """Read a notebook.

    Raises :class:`Refused` when it is no regular file, is empty or too large, cannot be read, or does not stay the same
    while it is read.
    """
    try:
        for _ in range(_ATTEMPTS):
            # a pipe must not block, a link must not be followed, also when it is put there after a look
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
            try:
                before = os.fstat(descriptor)
                _bearable(before)  # a folder can be opened too
                with open(descriptor, "rb", closefd=False) as file:
                    content = file.read(MOST_BYTES + 1)
                after = os.fstat(descriptor)
            finally:
                os.close(descriptor)
            same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
            if same and len(content) == after.st_size:
                moment = datetime.fromtimestamp(after.st_mtime, UTC)
                return Handed(content, moment.isoformat(timespec="seconds"))
    except OSError as error:
        what = "is a link, not a file" if path.is_symlink() else f"cannot be read: {error.strerror or error}"
        raise Refused(f"{what}. Next: hand in the notebook itself") from error
    raise Refused("changes while it is read. Next: grade again when nothing writes to it any more")


def _bearable(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise Refused("is not a file. Next: hand in the notebook itself")
    if status.st_size == 0:
        raise Refused("is empty. Next: save the notebook, and hand it in again")
    if status.st_size > MOST_BYTES:
        raise Refused(
            f"has {status.st_size / 1e6:.0f} MB; accepted: at most {MOST_BYTES / 1e6:.0f} MB. "
            "Next: clear the outputs, save, and hand it in again"
        )
