"""An append-only, crash-safe log of events: what a service recorded is on disk before its answer is given.

One thread writes. A batch is what one pass of the event loop recorded and what was added while the batch before it was
written and synced, so that a busy service pays one sync for many records and an idle one waits for nobody. The event
loop's share is a list append under a lock that is contended only when batches change, and one wake-up a batch.
"""

import asyncio
import contextlib
import queue
import threading
from dataclasses import dataclass, field
from pathlib import Path

from mlops_helpers.errors import EventLogError, LogFailed, LogFull, ParameterError
from mlops_helpers.serve.segments import SegmentWriter, frame

__all__ = ["EventLog", "Written"]

GATHER_SECONDS = 0.005  # how long "async" collects a batch


class _Durable(asyncio.Future[None]):
    """Done when a batch is on disk. Shared by requests: one that is cancelled must not cancel the others.

    A task that is cancelled while it awaits this gets its ``CancelledError`` once the batch is done.
    """

    def cancel(self, msg: object = None) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Written:
    """What is on disk since the log was opened: counts of records, bytes, batches and synced writes."""

    records: int = 0
    bytes: int = 0
    batches: int = 0
    syncs: int = 0


@dataclass(frozen=True, slots=True)
class _Batch:
    durable: _Durable | None
    records: list[bytes] = field(default_factory=list)


class EventLog:
    """The one writer of a log's folder, for one event loop; opened and closed once.

    ``durability`` is ``ack`` (a caller waits until its record is on disk) or ``async`` (on disk within 20 ms
    when the disk syncs within 7: a batch collects 5 ms and may have to wait for the one before);
    ``max_pending`` bounds the records that wait for the disk. A segment of ``segment_bytes`` is followed by the next;
    ``keep_segments`` above 0 removes the oldest beyond that number.

    ``written`` counts what is on disk, ``failed`` is the error that stopped the log.

    Raises ``ParameterError`` for other values.
    """

    def __init__(
        self,
        folder: Path,
        *,
        durability: str = "ack",
        max_pending: int = 10_000,
        segment_bytes: int = 64 * 2**20,
        keep_segments: int = 0,
    ) -> None:
        if durability not in ("ack", "async"):
            raise ParameterError(f"durability is {durability!r}; accepted: ack, async")
        if min(max_pending, segment_bytes) < 1 or keep_segments < 0:
            raise ParameterError(
                f"max_pending is {max_pending}, segment_bytes {segment_bytes}, keep_segments {keep_segments}; "
                "accepted: at least 1, 1 and 0"
            )
        self.folder = Path(folder)
        self.written = Written()
        self.failed: OSError | None = None
        self._ack = durability == "ack"
        self._max_pending = max_pending
        self._limits = {"segment_bytes": segment_bytes, "keep_segments": keep_segments}
        self._accepting = False
        self._appended = 0
        self._lock = threading.Lock()
        self._batch: _Batch | None = None  # the one that collects; it is in the queue too, or will be
        self._queue: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def pending(self) -> int:
        """Records that were appended and are not on disk."""
        return self._appended - self.written.records

    async def open(self) -> None:
        """Take the folder, repair what a crash left, and start the writer.

        Raises ``EventLogError`` when another writer holds the folder or it cannot be written.
        """
        if self._thread is not None:
            raise EventLogError(f"the log of {self.folder} was opened already. Next: make another EventLog")
        try:
            files = await asyncio.to_thread(SegmentWriter, self.folder, **self._limits)
        except OSError as error:
            raise EventLogError(
                f"{self.folder} cannot hold a log: {error}. Next: make it writable, or name another folder"
            ) from error
        self._loop = asyncio.get_running_loop()
        # a daemon: a service that ends without close() must not hang, and its acknowledged records are on disk
        self._thread = threading.Thread(target=self._write, args=(files,), name="eventlog", daemon=True)
        self._accepting = True
        self._thread.start()

    def append(self, record: bytes) -> asyncio.Future[None] | None:
        """Record one JSON object; call it in the event loop's thread. It does not block.

        With ``ack`` the result is a future, the same for a whole batch, that is done when the record is on disk; it
        raises ``LogFailed`` when it may not be. Cancelling it does nothing, and a task cancelled while awaiting it is
        cancelled once the batch is done; who must leave earlier awaits ``asyncio.shield(future)``. With ``async`` the
        result is None.

        Raises ``LogFull`` when ``max_pending`` records wait, ``LogFailed`` when writing failed, ``EventLogError`` when
        the log is not open or the record holds a newline: then the record is not taken.
        """
        if not self._accepting:
            raise self._refusal()
        if self._appended - self.written.records >= self._max_pending:
            raise LogFull(f"{self._max_pending} records wait for the disk of {self.folder}. Next: try again later")
        if b"\n" in record:
            raise EventLogError(f"a record holds a newline: {record[:80]!r}; accepted: one JSON object on one line")
        with self._lock:  # held by the writer just long enough to close a batch
            batch = self._batch
            if batch is None:
                batch = self._batch = _Batch(_Durable(loop=self._loop) if self._ack else None)
                if self._ack:  # after this pass of the loop: a thread that starts now would compete with it
                    self._loop.call_soon(self._queue.put, batch)
                else:
                    self._queue.put(batch)
            batch.records.append(record)
        self._appended += 1
        return batch.durable

    async def close(self) -> None:
        """Write what was appended, end the thread and give the folder free; safe twice and after a failure."""
        self._accepting = False
        self._closing.set()  # nothing more comes that a batch could wait for
        if self._thread is not None:
            self._loop.call_soon(self._queue.put, None)  # behind a batch that is handed over so, too
            await asyncio.to_thread(self._thread.join)

    def _refusal(self) -> EventLogError:
        if self.failed is not None:
            return LogFailed(
                f"the log of {self.folder} stopped: {self.failed}. Next: make room or repair the disk, then restart"
            )
        return EventLogError(f"the log of {self.folder} is not open. Next: await open(), and append before close()")

    def _write(self, files: SegmentWriter) -> None:
        """Write batch after batch; the writer thread's whole life."""
        with contextlib.closing(files):
            while (batch := self._queue.get()) is not None:
                if not self._ack:
                    self._closing.wait(GATHER_SECONDS)
                with self._lock:
                    self._batch = None
                if self.failed is None:
                    self._write_batch(files, batch.records)
                if batch.durable is not None:
                    failure = self._refusal() if self.failed else None
                    with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                        self._loop.call_soon_threadsafe(_settle, batch.durable, failure)

    def _write_batch(self, files: SegmentWriter, records: list[bytes]) -> None:
        lines = b"".join(map(frame, records))
        try:
            syncs = files.write(lines)
        except OSError as error:
            self.failed = error
            self._accepting = False
        else:
            w = self.written
            self.written = Written(w.records + len(records), w.bytes + len(lines), w.batches + 1, w.syncs + syncs)


def _settle(durable: _Durable, failure: EventLogError | None) -> None:
    if failure is None:
        durable.set_result(None)
    else:
        durable.set_exception(failure)
