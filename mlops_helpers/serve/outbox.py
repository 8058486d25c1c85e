"""The comments that wait for the filter: asked for in order of arrival, each verdict recorded once.

There is no state but the database's: what is waiting is what has no verdict there. So a blog that is killed at any
moment goes on where it was, and an answer that got lost is asked for again.
"""

import asyncio
import contextlib
import math
import random
import sqlite3
import time
from collections.abc import Sequence
from typing import Any
from weakref import WeakValueDictionary

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from mlops_helpers.errors import ServiceError
from mlops_helpers.serve.client import Pool, Reply, RequestFailed, encode_request
from mlops_helpers.serve.entries import Comment, Verdict
from mlops_helpers.serve.store import Store

__all__ = ["Outbox"]

BATCH = 32
ABOUT_THE_CONTENT = {400, 413, 422}  # answers that no other comment and no later time would get
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds, after failures
TRIES_TOGETHER = 3  # then one by one: perhaps one of them makes the filter fail
MOST_SUSPECTS = 3  # more that fail in a row, and it is the filter that is away


class Away(Exception):
    """The filter gave no usable answer; ``str()`` is why."""


class Outbox:
    """Classifies what waits in a store, through a gateway; started and stopped once.

    A comment without a verdict after ``hold_after`` seconds is held for a moderator, and stays in the outbox.
    ``timeout`` in seconds bounds one question of at most 32 comments.
    """

    def __init__(
        self, store: Store, pool: Pool, registry: CollectorRegistry, *, hold_after: float, timeout: float = 2.0
    ) -> None:
        self._store, self._pool, self._hold_after, self._timeout = store, pool, hold_after, timeout
        self._work = asyncio.Event()
        self._recorded: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()
        self._tasks: list[asyncio.Task] = []
        self._outcomes = Counter("blog_classifications", "Verdicts recorded.", ["outcome"], registry=registry)
        self._failures = Counter(
            "blog_classification_failures", "Questions without a usable answer.", ["reason"], registry=registry
        )
        self._seconds = Histogram("blog_classification_seconds", "Time until an answer came.", registry=registry)
        waiting = Gauge("blog_outbox_waiting", "Comments without a verdict.", registry=registry)
        waiting.set_function(lambda: store.count("waiting"))
        oldest = Gauge("blog_outbox_oldest_seconds", "Age of the oldest of them; 0 for none.", registry=registry)
        oldest.set_function(lambda: max((time.time() - comment.created_at for comment in store.waiting(1)), default=0))

    def start(self) -> None:
        """Begin to classify what waits and what comes."""
        self._tasks = [asyncio.create_task(self._drain()), asyncio.create_task(self._hold_what_is_late())]

    @property
    def alive(self) -> bool:
        """Whether comments are being classified, or would be."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    async def stop(self) -> None:
        """End. What was asked and not recorded will be asked again by the next blog on this store."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._pool.close()

    async def settle(self, comment: Comment, patience: float) -> Comment:
        """Have a new comment classified; return it as it is after the verdict, or after ``patience`` seconds."""
        self._work.set()
        current = self._store.comment(comment.id) or comment
        if current.state != "pending" or patience <= 0:
            return current
        recorded = self._recorded.setdefault(comment.id, asyncio.Event())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await recorded.wait()
        return self._store.comment(comment.id) or comment

    async def _drain(self) -> None:
        failures = 0
        while True:
            self._work.clear()
            try:
                batch = self._store.waiting(BATCH)
                if not batch:
                    await self._work.wait()
                elif failures < TRIES_TOGETHER:
                    await self._record(await self._ask(batch))
                else:
                    await self._record(await self._ask_one_by_one(batch))
                failures = 0
            except (Away, ServiceError, sqlite3.Error) as error:
                self._failures.labels(str(error) if isinstance(error, Away) else "store").inc()
                await asyncio.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 2**failures) * random.uniform(0.5, 1))
                failures = min(failures + 1, 16)

    async def _ask(self, batch: Sequence[Comment]) -> list[Verdict]:
        began = time.perf_counter()
        body = orjson.dumps({"comments": [{"id": comment.id, "text": comment.text} for comment in batch]})
        try:
            headers = {"content-type": "application/json"}
            reply = await self._pool.send(encode_request("POST", "/v1/classify", body, headers), self._timeout)
        except RequestFailed as error:
            raise Away(error.reason) from None
        self._seconds.observe(time.perf_counter() - began)
        if reply.status not in ABOUT_THE_CONTENT:
            return _verdicts(batch, reply)
        if len(batch) == 1:
            return [Verdict(batch[0].id, "refused")]
        middle = len(batch) // 2  # one that the filter refuses must not hold up the others
        return await self._ask(batch[:middle]) + await self._ask(batch[middle:])

    async def _ask_one_by_one(self, batch: Sequence[Comment]) -> list[Verdict]:
        """Find out whether the filter is away, or one comment makes it fail: then that one counts as refused."""
        verdicts: list[Verdict] = []
        failed: list[Comment] = []
        for comment in batch:
            try:
                verdict = await self._ask([comment])
            except Away:
                failed.append(comment)
                if len(failed) == MOST_SUSPECTS:
                    break
                continue
            for suspect in failed:  # the filter is there: once more
                try:
                    verdicts += await self._ask([suspect])
                except Away:
                    verdicts.append(Verdict(suspect.id, "refused"))
            failed, verdicts = [], verdicts + verdict
        if not verdicts:
            raise Away("unavailable")
        return verdicts

    async def _record(self, verdicts: list[Verdict]) -> None:
        for verdict in await self._store.record(verdicts):
            self._outcomes.labels(verdict.outcome).inc()
        for verdict in verdicts:
            if recorded := self._recorded.get(verdict.comment_id):
                recorded.set()

    async def _hold_what_is_late(self) -> None:
        while True:
            await asyncio.sleep(max(0.05, min(0.5, self._hold_after / 4)))
            with contextlib.suppress(ServiceError, sqlite3.Error):  # tried again; the answers to readers tell of it
                before = time.time() - self._hold_after
                if self._store.has_pending(before):
                    await self._store.hold(before)


def _verdicts(batch: Sequence[Comment], reply: Reply) -> list[Verdict]:
    if reply.status != 200:
        raise Away(f"status {reply.status}")
    try:
        answers = orjson.loads(reply.body)["verdicts"]
        if len(answers) != len(batch):
            raise ValueError("another number of verdicts")
        return [_verdict(comment, answer) for comment, answer in zip(batch, answers, strict=True)]
    except (ValueError, TypeError, KeyError):
        raise Away("malformed") from None


def _verdict(comment: Comment, answer: dict[str, Any]) -> Verdict:
    spam, score, version = answer["spam"], float(answer["score"]), answer["version"]
    if answer["id"] != comment.id or not isinstance(spam, bool) or not isinstance(version, str):
        raise ValueError("not an answer to the question")
    if not (math.isfinite(score) and 0 <= score <= 1):
        raise ValueError("not a score")
    return Verdict(comment.id, "spam" if spam else "ham", score, version)
