"""The gates of the database: the blog that runs can live with a migration, and with its undoing.

Both are tried on a database with comments in every state, by the code that the blog runs on: while a release is rolled
out, and after it was rolled back, old code reads what new code has made of the database.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from mlops_helpers.deploy import migrations
from mlops_helpers.deploy.gates import Gate, Job, Target
from mlops_helpers.errors import GateRefused, ServiceError
from mlops_helpers.serve.entries import Draft, Verdict
from mlops_helpers.serve.store import DATABASE, Store

__all__ = ["migration", "rollback"]

_EVERYTHING = ("SELECT * FROM posts", "SELECT * FROM comments", "SELECT * FROM decisions")


def _serving(target: Target) -> object:
    serving = target.serving()
    return migrations.names(serving.migrations) if serving else []


def _migration(job: Job) -> Mapping[str, Any]:
    """Refuse migrations after which the blog cannot do what it does."""
    folder = _database(job)
    try:
        made = migrations.apply(job.source / "migrations", folder / DATABASE)
        _used(folder, job.say)
    except (ServiceError, sqlite3.Error, TypeError, LookupError) as error:
        raise GateRefused(
            f"the blog that runs cannot read the database after the migration: {_reason(error)}. "
            "Next: only add what old code does not see (an index, a table); change what it reads in a later release"
        ) from error
    return {"migrations": made}


def _rollback(job: Job) -> Mapping[str, Any]:
    """Refuse migrations that cannot be taken back so that the blog works as before, with every comment."""
    folder, source = _database(job), job.source / "migrations"
    before = _content(folder / DATABASE)
    try:
        made = migrations.apply(source, folder / DATABASE)
        migrations.undo(source, folder / DATABASE, made)
        lost = before - _content(folder / DATABASE)
        if lost:
            raise ServiceError(f"{len(lost)} rows are not there any more, or changed")
        _used(folder, job.say)
    except (ServiceError, sqlite3.Error, TypeError, LookupError) as error:
        raise GateRefused(
            f"this release could not be rolled back: {_reason(error)}. "
            "Next: write an undo that gives the old database back"
        ) from error
    return {"taken_back": made}


migration = Gate(_migration, depends=_serving)
rollback = Gate(_rollback, depends=_serving)


def _reason(error: Exception) -> str:
    return str(error).partition(". Next:")[0]  # the blog's advice is for operators, not for who wrote the migration


def _database(job: Job) -> Path:
    """Return the folder of a database in use, with what the release that serves now has made of it."""
    folder = job.scratch / "blog"
    _used(folder, job.say)
    if serving := job.target.serving():
        migrations.apply(serving.migrations, folder / DATABASE)
    return folder


def _used(folder: Path, say: Callable[[str], object]) -> None:
    """Do with a database what the blog does: write, classify, publish, hold, decide, and read all of it."""
    with ThreadPoolExecutor(1) as thread:  # a notebook's thread has an event loop already
        thread.submit(asyncio.run, _use(folder)).result()
    say("the blog has used the database")


async def _use(folder: Path) -> None:
    store = Store(folder)
    try:
        post = store.posts()[0].id
        made = [(await store.add(Draft(post, "reader", f"comment {number}", None)))[0] for number in range(3)]
        verdicts = [Verdict(made[0].id, "ham", 0.1, "v1"), Verdict(made[1].id, "spam", 0.9, "v1")]
        await store.record(verdicts)
        await store.decide(made[1].id, 1, "moderator")
        if store.comment(made[0].id) is None or not store.published(post, 2**62, 50) or store.post(post) is None:
            raise ServiceError("a published comment is not found")
        store.waiting(50), store.queue(0, 50), store.labels(0, 50), store.count("held"), store.has_pending(2**40)
    finally:
        await store.close()


def _content(database: Path) -> set[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as db:
        return {(query, *row) for query in _EVERYTHING for row in db.execute(query)}
