"""One thread that writes to an SQLite database: all writes that wait share one transaction, and so one sync.

While one transaction is synced, the next one collects, so that a busy service pays one sync for many writes and an idle
one waits for nobody. A write is durable once its future has a result.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from mlops_helpers.errors import ServiceError

__all__ = ["GroupCommit", "connect"]

MOST_WRITES = 256  # in one transaction: later ones would delay all answers of it
T = TypeVar("T")
Write = Callable[[sqlite3.Connection], Any]


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a database for use by any one thread at a time; rows are known by their columns' names.

    Raises ``sqlite3.Error``.
    """
    mode = "ro" if read_only else "rwc"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False, timeout=5.0
    )
    connection.row_factory = sqlite3.Row
    return connection


class GroupCommit:
    """The one writer of a database in write-ahead mode, for one event loop; closed once."""

    def __init__(self, connection: sqlite3.Connection, loop: asyncio.AbstractEventLoop) -> None:
        self._connection, self._loop = connection, loop
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # a commit is synced before it returns
        connection.execute("PRAGMA foreign_keys = ON")
        self._waiting: queue.SimpleQueue[tuple[Write, asyncio.Future] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="blog-writer", daemon=True)
        self._thread.start()

    def submit(self, write: Callable[[sqlite3.Connection], T]) -> "asyncio.Future[T]":
        """Queue a write; the result is there once it is on disk.

        The future raises what ``write`` raised (nothing of it is stored then), or ``ServiceError`` when the
        transaction as a whole could not be stored.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting.put((write, future))
        return future

    async def close(self) -> None:
        """Finish what was submitted, then close the connection."""
        self._waiting.put(None)
        await asyncio.to_thread(self._thread.join)
        self._connection.close()

    def _run(self) -> None:
        open_ = True
        while open_:
            batch = [self._waiting.get()]
            while len(batch) < MOST_WRITES and not self._waiting.empty():  # nobody else takes from it
                batch.append(self._waiting.get())
            open_ = batch[-1] is not None
            writes = [entry for entry in batch if entry is not None]
            if writes:
                self._loop.call_soon_threadsafe(_deliver, self._transaction(writes))

    def _transaction(self, batch: list[tuple[Write, asyncio.Future]]) -> list[tuple[asyncio.Future, Any]]:
        execute = self._connection.execute
        results: list[tuple[asyncio.Future, Any]] = []
        try:
            execute("BEGIN IMMEDIATE")
            for write, future in batch:
                execute("SAVEPOINT one")
                try:
                    result = write(self._connection)
                except sqlite3.OperationalError:  # a full or broken disk: SQLite may have undone the whole transaction
                    raise
                except Exception as error:  # noqa: BLE001 - it is the submitter's, and must not hit the others
                    execute("ROLLBACK TO one")
                    result = _Failure(error)
                execute("RELEASE one")
                results.append((future, result))
            execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            failure = _Failure(ServiceError(f"the database cannot be written: {error}. Next: check the disk's space"))
            return [(future, failure) for _, future in batch]
        return results


class _Failure:
    def __init__(self, error: Exception) -> None:
        self.error = error


def _deliver(results: list[tuple[asyncio.Future, Any]]) -> None:
    for future, result in results:
        if future.done():  # whoever submitted it went away; it is stored all the same
            continue
        if isinstance(result, _Failure):
            future.set_exception(result.error)
        else:
            future.set_result(result)
