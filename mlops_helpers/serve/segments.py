"""The event log on disk: framed lines in numbered segments, written by one process, repaired after a crash.

::

    lock              held (flock) by the one writer, whose name it holds
    00000001.log      the oldest segment; a line a record: CRC-32 in hex, a space, the JSON object
    00000002.log      the last segment, the only one that grows
    00000002.log.torn what recovery cut off its end: bytes that never became a whole record

Everything here blocks; :mod:`mlops_helpers.serve.eventlog` calls it from a thread.
"""

import errno
import fcntl
import logging
import os
import re
import socket
from contextlib import suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path
from zlib import crc32

from mlops_helpers.errors import EventLogError

__all__ = ["SegmentWriter", "frame", "segments", "unframe"]

_log = logging.getLogger(__name__)
_SEGMENT = re.compile(r"[0-9]{8,}\.log")


def frame(record: bytes) -> bytes:
    """Return the line that holds a record."""
    return b"%08x %b\n" % (crc32(record), record)


def unframe(line: bytes) -> bytes | None:
    """Return the record of a line, or None when the line is torn or was changed."""
    record = line[9:-1]
    return record if line == frame(record) else None


def segments(folder: Path) -> list[Path]:
    """Return the segments of a log, oldest first; other files in the folder are somebody else's."""
    return sorted((p for p in folder.glob("*.log") if _SEGMENT.fullmatch(p.name)), key=lambda path: int(path.stem))


class SegmentWriter:
    """Takes the folder, repairs its last segment and appends lines durably.

    A segment is closed when it has reached ``segment_bytes``; ``keep_segments`` above 0 removes the oldest beyond it,
    as far as they begin with a record.

    Raises ``EventLogError`` when another writer holds the folder, ``OSError`` when it cannot be written.
    """

    def __init__(self, folder: Path, *, segment_bytes: int, keep_segments: int) -> None:
        self._folder, self._segment_bytes, self._keep = folder, segment_bytes, keep_segments
        self._file = -1
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(folder)
        try:
            last = segments(folder)[-1:]
            self._size = _recover(last[0]) if last else 0
            self._open(last[0] if last else folder / f"{1:08d}.log")
            _sync_folder(folder.parent)
        except BaseException:
            self.close()
            raise

    def write(self, lines: bytes) -> int:
        """Append whole lines, return when they are on disk, and say how many system calls that took.

        Raises ``OSError``; then the segment ends with its last whole line again, as far as the disk allows.
        """
        if self._size >= self._segment_bytes:
            self._rotate()
        rest, calls = memoryview(lines), 0
        try:
            while rest:  # a nearly full disk takes a part and refuses the rest
                rest = rest[os.write(self._file, rest) :]
                calls += 1
        except OSError:
            written = lines.rfind(b"\n", 0, len(lines) - len(rest)) + 1
            with suppress(OSError):  # recovery does the same at the next start
                os.ftruncate(self._file, self._size + written)
            raise
        self._size += len(lines)
        return calls

    def close(self) -> None:
        """Close the segment and give the folder free; safe twice."""
        for descriptor in (self._file, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._lock = -1

    def _rotate(self) -> None:
        full, self._file = self._file, -1
        os.close(full)
        self._open(self._folder / f"{int(self._segment.stem) + 1:08d}.log")
        self._size = 0
        if self._keep:
            for path in segments(self._folder)[: -self._keep]:
                if _begins_with_a_record(path):  # another file of such a name was not made here
                    path.unlink(missing_ok=True)

    def _open(self, segment: Path) -> None:
        # With O_DSYNC a write returns as after write and fdatasync, but gives up the interpreter's lock once instead
        # of twice; getting it back from a busy event loop may take a whole switch interval.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_DSYNC", os.O_SYNC)
        self._file, self._segment = os.open(segment, flags, 0o644), segment
        _sync_folder(self._folder)


def _begins_with_a_record(segment: Path) -> bool:
    with segment.open("rb") as file:
        return unframe(file.readline()) is not None


def _lock(folder: Path) -> int:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.pread(descriptor, 8, 0) not in (b"", b"process "):
            raise FileExistsError(errno.EEXIST, "is no lock of a log, and stays", str(folder / "lock"))
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    except BlockingIOError as error:
        holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
        os.close(descriptor)
        raise EventLogError(
            f"{folder} is written by {holder}; accepted: one writer a folder. Next: stop it, or name another folder"
        ) from error
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _recover(segment: Path) -> int:
    """Cut a segment after its last whole line, keeping what is cut beside it; return its size."""
    with segment.open("r+b") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:  # cannot be mapped
            return 0
        with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            # From the end: a start is as fast with a full segment, and damage before the last whole line is left in
            # place for the reader to report.
            end = content.rfind(b"\n") + 1
            while end and unframe(content[(start := content.rfind(b"\n", 0, end - 1) + 1) : end]) is None:
                end = start
            torn = content[end:]
        if torn:
            beside = segment.with_name(segment.name + ".torn")
            with beside.open("ab") as kept:
                kept.write(torn)
                kept.flush()
                os.fsync(kept.fileno())
            _sync_folder(segment.parent)
            file.truncate(end)
            os.fsync(file.fileno())
            _log.warning("%s ended in %d bytes of no whole record: moved to %s", segment, len(torn), beside)
    return end


def _sync_folder(folder: Path) -> None:
    """Make names in a folder durable: a synced file whose name is lost is lost."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
