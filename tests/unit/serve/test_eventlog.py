"""The log's one promise: what was acknowledged is there, once, whatever happened to the process or the disk."""

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from mlops_helpers.errors import EventLogError, LogFailed, LogFull
from mlops_helpers.serve.eventlog import EventLog
from mlops_helpers.serve.records import records
from mlops_helpers.serve.segments import segments
from tests.support.asgi import in_event_loop
from tests.support.waiting import DEADLINE_SECONDS


@asynccontextmanager
async def opened(folder: Path, **options) -> AsyncIterator[EventLog]:
    log = EventLog(folder, **options)
    await log.open()
    try:
        yield log
    finally:
        await log.close()


def event(number: int) -> bytes:
    return orjson.dumps({"n": number})


def numbers(folder: Path) -> list[int]:
    return [record["n"] for record in records(folder)]


class Disk:
    """Stands before ``os.write`` for segments: holds writes back, takes parts of them, or refuses them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ready, self.entered = threading.Event(), threading.Event()
        self.ready.set()
        self.room: int | None = None
        self.part: int | None = None
        self.calls = 0
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, descriptor: int, data) -> int:
        if threading.current_thread().name != "eventlog":
            return self._write(descriptor, data)
        self.calls += 1
        self.entered.set()
        assert self.ready.wait(DEADLINE_SECONDS)
        if self.room is not None:
            if self.room == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data = data[: self.room]
            self.room -= len(data)
        return self._write(descriptor, data[: self.part])

    async def writing(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, DEADLINE_SECONDS)


@pytest.fixture
def disk(monkeypatch):
    held = Disk(monkeypatch)
    yield held
    held.ready.set()


@in_event_loop
async def test_nothing_is_acknowledged_before_the_synced_write_returned(tmp_path, disk, monkeypatch):
    flags, real = {}, os.open

    def remember(path, flag, *mode):
        flags[Path(path).name] = flag
        return real(path, flag, *mode)

    monkeypatch.setattr(os, "open", remember)
    async with opened(tmp_path) as log:
        assert flags["00000001.log"] & os.O_DSYNC  # a write returns when its data is on disk
        disk.ready.clear()
        first = log.append(event(0))
        await disk.writing()
        later = [log.append(event(number)) for number in range(1, 100)]
        assert not first.done()
        assert log.pending == 100
        assert set(later) == {later[0]} != {first}  # what comes while a batch is written shares the next one
        disk.ready.set()
        await asyncio.gather(first, later[0])
        assert (log.written.batches, disk.calls) == (2, 2)
    assert numbers(tmp_path) == list(range(100))


@pytest.mark.parametrize("durability", ["ack", "async"])
@in_event_loop
async def test_close_writes_what_was_appended_just_before(tmp_path, durability):
    log = EventLog(tmp_path, durability=durability)
    await log.open()
    futures = [log.append(event(number)) for number in range(10)]
    await log.close()
    await log.close()
    assert numbers(tmp_path) == list(range(10))
    assert durability == "async" or all(future.done() for future in futures)
    assert not [thread for thread in threading.enumerate() if thread.name == "eventlog"]
    with pytest.raises(EventLogError, match="not open"):
        log.append(event(10))
    with pytest.raises(EventLogError, match="opened already"):
        await log.open()


@in_event_loop
async def test_the_queue_is_bounded_and_opens_again(tmp_path, disk):
    async with opened(tmp_path, max_pending=10) as log:
        disk.ready.clear()
        futures = [log.append(event(0))]
        await disk.writing()
        futures += [log.append(event(number)) for number in range(1, 10)]
        with pytest.raises(LogFull, match="10 records wait"):
            log.append(event(10))
        assert log.pending == 10
        disk.ready.set()
        await asyncio.gather(*set(futures))
        await log.append(event(11))
    assert numbers(tmp_path) == [*range(10), 11]


@in_event_loop
async def test_short_writes_are_continued(tmp_path, disk):
    disk.part = 7
    async with opened(tmp_path) as log:
        await asyncio.gather(*{log.append(event(number)) for number in range(20)})
        assert log.written.syncs == disk.calls > 20
    assert numbers(tmp_path) == list(range(20))


@in_event_loop
async def test_a_full_disk_fails_the_log_and_everyone_who_waits(tmp_path, disk):
    async with opened(tmp_path) as log:
        await log.append(event(0))
        disk.entered.clear()
        disk.ready.clear()
        disk.room = 40  # one whole line of 18 bytes, a second one and a part of the third
        writing = [log.append(event(number)) for number in range(1, 6)]
        await disk.writing()
        waiting = log.append(event(6))
        disk.ready.set()
        for future in (writing[0], waiting):
            with pytest.raises(LogFailed, match="No space left"):
                await future
        with pytest.raises(LogFailed, match="No space left"):
            log.append(event(7))
        assert (log.failed.errno, log.written.records, log.pending) == (errno.ENOSPC, 1, 6)
        assert segments(tmp_path)[0].read_bytes().endswith(b"\n")  # cut back
        disk.room = None
    assert numbers(tmp_path) == [0, 1, 2]
    async with opened(tmp_path) as log:
        await log.append(event(8))
    assert numbers(tmp_path) == [0, 1, 2, 8]
    assert not list(tmp_path.glob("*.torn"))


@in_event_loop
async def test_segments_rotate_between_batches_and_the_oldest_go(tmp_path):
    async with (
        opened(tmp_path / "all", segment_bytes=100) as log,
        opened(tmp_path / "few", segment_bytes=100, keep_segments=2) as few,
    ):
        for number in range(30):
            await log.append(event(number))
            await few.append(event(number))
    everything, kept = segments(tmp_path / "all"), segments(tmp_path / "few")
    assert [path.name for path in everything] == [f"{number:08d}.log" for number in range(1, len(everything) + 1)]
    assert len(everything) > 4
    assert all(100 <= path.stat().st_size < 120 for path in everything[:-1])
    assert numbers(tmp_path / "all") == list(range(30))
    assert [path.name for path in kept] == [path.name for path in everything[-2:]]
    assert numbers(tmp_path / "few") == list(range(30))[-len(numbers(tmp_path / "few")) :]
    async with opened(tmp_path / "few", segment_bytes=100, keep_segments=2) as few:
        await few.append(event(30))
    assert numbers(tmp_path / "few")[-2:] == [29, 30]


@in_event_loop
async def test_files_that_were_not_written_here_stay_as_they_are(tmp_path):
    notes = {
        "2024.log": b"precious",
        "7 reasons.log": b"precious",
        "00000001.log": b"precious\n" * 9,  # such a name, but not of records
        "notes.txt": b"precious",
    }
    for name, content in notes.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "00000002.log").touch()
    async with opened(tmp_path, segment_bytes=100, keep_segments=2) as log:
        for number in range(30):
            await log.append(event(number))
    assert len(segments(tmp_path)) == 3  # two of the log's own, and the one that looks like one
    assert {name: (tmp_path / name).read_bytes() for name in notes} == notes


@in_event_loop
async def test_a_lock_of_something_else_is_not_written_to(tmp_path):
    (tmp_path / "lock").write_text("precious")
    with pytest.raises(EventLogError, match=r"cannot hold a log: .*stays.*Next: make it writable, or name another"):
        await EventLog(tmp_path).open()
    assert (tmp_path / "lock").read_text() == "precious"


@in_event_loop
async def test_a_second_writer_is_refused_and_told_who_writes(tmp_path):
    async with opened(tmp_path):
        second = EventLog(tmp_path)
        with pytest.raises(EventLogError, match=f"written by process {os.getpid()} on "):
            await second.open()
        await second.close()
    async with opened(tmp_path) as log:
        await log.append(event(0))


@in_event_loop
async def test_a_newline_is_refused_before_it_breaks_the_log(tmp_path):
    async with opened(tmp_path) as log:
        with pytest.raises(EventLogError, match="newline"):
            log.append(b'{"n":\n1}')
        await log.append(event(0))
    assert numbers(tmp_path) == [0]


@in_event_loop
async def test_reading_while_writing_sees_a_growing_prefix(tmp_path):
    seen = []

    def read_until(enough: threading.Event) -> None:
        while not enough.is_set():
            seen.append(numbers(tmp_path))

    async with opened(tmp_path, segment_bytes=2000) as log:
        await log.append(event(0))
        enough = threading.Event()
        reader = asyncio.create_task(asyncio.to_thread(read_until, enough))
        acknowledged = 1
        try:
            while len(seen) < 5 or acknowledged < 200:
                batch = {log.append(event(number)) for number in range(acknowledged, acknowledged + 25)}
                await asyncio.gather(*batch)
                acknowledged += 25
        finally:
            enough.set()
            await reader
    assert all(found == list(range(len(found))) for found in seen)
    assert len(seen[-1]) > len(seen[0])
