"""What the blog keeps, in SQLite: posts, comments with their states, moderators' decisions.

A comment's life: ``pending`` -> ``published`` or ``held`` by the filter's verdict, which is recorded once; ``held``
(reason ``unclassified``) while no verdict comes; ``published`` or ``rejected`` by a moderator, which no verdict changes
any more.
Writes are durable when awaited. Reads see all that was answered, and never wait for a write.
"""

import asyncio
import fcntl
import os
import secrets
import sqlite3
import time
import tomllib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from mlops_helpers.errors import ServiceError
from mlops_helpers.serve.entries import Comment, Draft, Post, Verdict
from mlops_helpers.serve.groupcommit import GroupCommit, connect

__all__ = ["DATABASE", "KeyReused", "Store"]

DATABASE = "blog.db"
SCHEMA_VERSION = 1
HERE = Path(__file__).parent


class KeyReused(ServiceError):
    """An idempotency key came back with another comment."""


_COUNTS = {
    "waiting": "SELECT count(*) FROM comments WHERE outcome IS NULL",
    "held": "SELECT count(*) FROM comments WHERE state = 'held'",
}
_STATE = {"ham": ("published", None), "spam": ("held", "spam"), "refused": ("held", "refused")}


class Store:
    """A blog's database in a folder; one process at a time.

    Raises ``ServiceError`` when another blog runs in the folder, or the database was made by another version.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            connection = connect(folder / DATABASE)
            _make(connection, folder / DATABASE)
            self._writer = GroupCommit(connection, asyncio.get_running_loop())
            self._reader = connect(folder / DATABASE, read_only=True)
        except BaseException as error:
            os.close(self._lock)
            if isinstance(error, BlockingIOError):
                raise ServiceError(f"another blog runs in {folder}. Next: end it, or name another --folder") from error
            if isinstance(error, sqlite3.Error):
                raise ServiceError(f"{folder / DATABASE} fails: {error}. Next: name another --folder") from error
            raise

    async def close(self) -> None:
        """Finish all writes and let go of the folder."""
        self._reader.close()
        await self._writer.close()  # last: only a writer can merge the write-ahead log into the database
        os.close(self._lock)

    async def add(self, draft: Draft) -> tuple[Comment, bool]:
        """Store a comment; return it, and whether it is new (else its idempotency key had been used for the same).

        Raises ``KeyReused`` when the key had been used for another comment.
        """
        identity, now = f"c-{secrets.token_hex(8)}", time.time()

        def write(db: sqlite3.Connection) -> tuple[Comment, bool]:
            key = draft.idempotency_key
            found = key and _comment(db.execute("SELECT * FROM comments WHERE idempotency_key = ?", (key,)))
            if found:
                if (found.post, found.author, found.text) != (draft.post, draft.author, draft.text):
                    raise KeyReused(f"the idempotency key was used for another comment, {found.id}")
                return found, False
            row = (identity, draft.post, draft.author, draft.text, key, now)
            sql = """INSERT INTO comments (id, post, author, text, idempotency_key, created_at)
                VALUES (?, ?, ?, ?, ?, ?) RETURNING *"""
            return Comment(*db.execute(sql, row).fetchone()), True

        return await self._writer.submit(write)

    async def record(self, verdicts: Sequence[Verdict]) -> list[Verdict]:
        """Record verdicts, all or none; return those that were news, in the same order.

        A comment's second verdict is dropped. The state of a comment that a moderator decided on stays.
        """
        now = time.time()
        sql = """UPDATE comments SET outcome = ?, score = ?, version = ?, classified_at = ?,
            reason = iif(state = 'pending' OR reason = 'unclassified', ?, reason),
            state = iif(state = 'pending' OR reason = 'unclassified', ?, state)
            WHERE id = ? AND outcome IS NULL"""

        def write(db: sqlite3.Connection) -> list[Verdict]:
            news = []
            for verdict in verdicts:
                state, reason = _STATE[verdict.outcome]
                row = (verdict.outcome, verdict.score, verdict.version, now, reason, state, verdict.comment_id)
                if db.execute(sql, row).rowcount:
                    news.append(verdict)
            return news

        return await self._writer.submit(write)

    async def hold(self, before: float) -> int:
        """Hold the comments that came before a time and are pending still; return how many."""
        sql = "UPDATE comments SET state = 'held', reason = 'unclassified' WHERE state = 'pending' AND created_at < ?"
        return await self._writer.submit(lambda db: db.execute(sql, (before,)).rowcount)

    async def decide(self, comment_id: str, label: int, by: str) -> bool:
        """Record a moderator's decision (1 is spam) and apply it; return False when it had been decided so before.

        Raises ``LookupError`` when there is no such comment.
        """
        now = time.time()

        def write(db: sqlite3.Connection) -> bool:
            last = "SELECT label FROM decisions WHERE comment_id = ? ORDER BY number DESC LIMIT 1"
            row = db.execute(last, (comment_id,)).fetchone()
            state = ("published", "rejected")[label]
            sql = "UPDATE comments SET state = ?, reason = NULL WHERE id = ?"
            if not db.execute(sql, (state, comment_id)).rowcount:
                raise LookupError(comment_id)
            if row is not None and row[0] == label:
                return False
            sql = "INSERT INTO decisions (comment_id, label, decided_at, by) VALUES (?, ?, ?, ?)"
            db.execute(sql, (comment_id, label, now, by))
            return True

        return await self._writer.submit(write)

    async def report(self, comment_id: str) -> bool:
        """Hold a published comment that a reader takes for spam, unless a moderator has decided; whether it did."""
        sql = """UPDATE comments SET state = 'held', reason = 'reported' WHERE id = ? AND state = 'published'
            AND NOT EXISTS (SELECT 1 FROM decisions WHERE comment_id = comments.id)"""
        return await self._writer.submit(lambda db: bool(db.execute(sql, (comment_id,)).rowcount))

    def posts(self) -> list[Post]:
        """Return all posts, the newest first."""
        rows = self._reader.execute("SELECT * FROM posts ORDER BY published_at DESC")
        return [Post(*row) for row in rows]

    def post(self, post_id: str) -> Post | None:
        """Return a post, or None."""
        row = self._reader.execute("SELECT * FROM posts WHERE id = ?", (post_id,)).fetchone()
        return Post(*row) if row else None

    def comment(self, comment_id: str) -> Comment | None:
        """Return a comment, or None."""
        return _comment(self._reader.execute("SELECT * FROM comments WHERE id = ?", (comment_id,)))

    def published(self, post_id: str, before: int, limit: int) -> list[Comment]:
        """Return a post's published comments that arrived before a number, the newest first."""
        query = """SELECT * FROM comments WHERE state = 'published' AND post = ? AND number < ?
            ORDER BY number DESC LIMIT ?"""
        return self._select(query, post_id, before, limit)

    def waiting(self, limit: int) -> list[Comment]:
        """Return the comments that have no verdict, the oldest first."""
        return self._select("SELECT * FROM comments WHERE outcome IS NULL ORDER BY number LIMIT ?", limit)

    def queue(self, after: int, limit: int) -> list[Comment]:
        """Return the comments that wait for a moderator and arrived after a number, the oldest first."""
        query = "SELECT * FROM comments WHERE state = 'held' AND number > ? ORDER BY number LIMIT ?"
        return self._select(query, after, limit)

    def labels(self, after: int, limit: int) -> list[dict[str, Any]]:
        """Return decisions after a number in the order they were made."""
        rows = self._reader.execute("SELECT * FROM decisions WHERE number > ? ORDER BY number LIMIT ?", (after, limit))
        return [dict(row) for row in rows]

    def count(self, what: str) -> int:
        """Return how many comments are ``waiting`` (in the outbox) or ``held`` (for a moderator)."""
        return int(self._reader.execute(_COUNTS[what]).fetchone()[0])

    def has_pending(self, before: float) -> bool:
        """Return whether a comment that came before a time is pending still."""
        sql = "SELECT 1 FROM comments WHERE state = 'pending' AND created_at < ? LIMIT 1"
        return self._reader.execute(sql, (before,)).fetchone() is not None

    def _select(self, query: str, *values: object) -> list[Comment]:
        return [Comment(*row) for row in self._reader.execute(query, values)]


def _comment(rows: sqlite3.Cursor) -> Comment | None:
    row = rows.fetchone()
    return Comment(*row) if row else None


def _make(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables and the first posts, or see that they are those of this version."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == SCHEMA_VERSION:
        return
    if version or connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
        raise ServiceError(f"{path} has version {version}, accepted: {SCHEMA_VERSION}. Next: name another --folder")
    posts = tomllib.loads((HERE / "posts.toml").read_text(encoding="utf-8"))["post"]
    connection.executescript("BEGIN;" + (HERE / "blog.sql").read_text(encoding="utf-8"))
    for post in posts:
        when: datetime = post["published_at"]
        sql = "INSERT INTO posts (id, title, summary, body, published_at) VALUES (?, ?, ?, ?, ?)"
        connection.execute(sql, (post["id"], post["title"], post["summary"], post["body"].strip(), when.timestamp()))
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")
