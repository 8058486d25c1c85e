"""What each kind of arrival says to the service under load, and how the answers are understood."""

import asyncio
from collections.abc import Callable

import orjson

from mlops_helpers.serve.blackbox import Record
from mlops_helpers.serve.client import Pool, Reply, RequestFailed, encode_request
from mlops_helpers.serve.plan import Arrival

__all__ = ["Visitors"]

_LONGEST_PAUSE = 0.8  # seconds before a retry; the first is a tenth of a second, each further one twice as long


class Visitors:
    """Visits one service: a blog (``api="blog"``) or what answers ``POST /v1/classify`` (``api="classify"``).

    ``clock`` gives seconds since the start of the run, ``record`` takes what a visit adds to its own record. ``run``
    goes in front of every key, so that two runs of one plan post different comments. A comment whose answer does not
    come is sent up to ``retries`` times more, with the same idempotency key.
    """

    def __init__(
        self,
        pool: Pool,
        clock: Callable[[], float],
        record: Callable[[Record], None],
        *,
        api: str,
        timeout: float,
        retries: int,
        run: str,
        token: str,
    ) -> None:
        self._pool, self._clock, self._record = pool, clock, record
        self._timeout, self._retries, self._run = timeout, retries, run
        self._moderator = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        blog = {"comment": self._comment, "read": self._read, "moderate": self._moderate}
        self._visits = {"comment": self._classify} if api == "classify" else blog
        self._posted: dict[tuple[str, str], Arrival] = {}  # what moderators may find in the queue
        self._taken: set[str] = set()

    async def visit(self, arrival: Arrival, record: Record) -> None:
        """Say what the arrival has to say; ``record`` is complete afterwards, also when no answer came."""
        await self._visits[arrival.kind](arrival, record)

    async def _ask(self, record: Record, request: bytes, retries: int = 0) -> Reply | None:
        """Return the answer, or None when there is none or it tells of a failure."""
        if record.sent is None:
            record.sent = self._clock()
        try:
            for attempt in range(retries + 1):
                if attempt:
                    await asyncio.sleep(min(0.05 * 2**attempt, _LONGEST_PAUSE))
                record.attempts += 1
                try:
                    reply = await self._pool.send(request, self._timeout)
                    break
                except RequestFailed as failure:
                    record.outcome = failure.reason
            else:
                return None
        finally:
            record.done = self._clock()
        record.status, record.outcome = reply.status, _outcome(reply.status)
        return reply if record.outcome == "ok" else None

    async def _classify(self, arrival: Arrival, record: Record) -> None:
        assert arrival.comment is not None
        body = orjson.dumps({"id": self._run + arrival.key, "text": arrival.comment.text})
        headers = {"content-type": "application/json"}
        reply = await self._ask(record, encode_request("POST", "/v1/classify", body, headers), self._retries)
        with _Understanding(record):
            if reply is not None:
                answer = orjson.loads(reply.body)
                record.comment_id, record.version = answer["id"], answer["version"]
                record.state = "spam" if answer["spam"] else "ham"

    async def _read(self, arrival: Arrival, record: Record) -> None:
        request = encode_request("GET", f"/posts/{arrival.post}", headers={"x-forwarded-for": arrival.reader})
        await self._ask(record, request)

    async def _comment(self, arrival: Arrival, record: Record) -> None:
        comment = arrival.comment
        assert comment is not None
        self._posted[_known_by(comment.author, comment.text)] = arrival
        body = orjson.dumps({"author": comment.author, "text": comment.text})
        headers = {
            "content-type": "application/json",
            "accept": "application/json",
            "idempotency-key": self._run + arrival.key,
            "x-forwarded-for": arrival.reader,
        }
        request = encode_request("POST", f"/posts/{arrival.post}/comments", body, headers)
        reply = await self._ask(record, request, self._retries)
        with _Understanding(record):
            if reply is not None:
                answer = orjson.loads(reply.body)
                record.comment_id, record.state = str(answer["id"]), answer["state"]

    async def _moderate(self, arrival: Arrival, record: Record) -> None:
        """Go through the queue, which comes in parts, and decide what is ripe."""
        after: int | None = 0
        while after is not None:
            request = encode_request("GET", f"/moderation?after={after}", headers=self._moderator)
            reply, queue, after = await self._ask(record, request), [], None
            with _Understanding(record):
                if reply is not None:
                    part = orjson.loads(reply.body)
                    queue, after = (
                        [(held["id"], _known_by(held["author"], held["text"])) for held in part["comments"]],
                        part["next"],
                    )
            for comment_id, known_by in queue:
                posted = self._posted.get(known_by)
                ripe = posted is not None and posted.judged_at is not None and posted.judged_at <= self._clock()
                if (
                    posted is not None and ripe and comment_id not in self._taken
                ):  # by another look, or this queue is old
                    self._taken.add(comment_id)
                    if not await self._decide(arrival, posted, comment_id):
                        self._taken.discard(comment_id)

    async def _decide(self, arrival: Arrival, posted: Arrival, comment_id: str) -> bool:
        """Decide on a comment; return whether the blog took the decision."""
        record = Record(self._clock(), "decide", arrival.reader, comment_id=comment_id)
        if posted.comment is not None:
            record.label, record.campaign = posted.comment.label, posted.comment.campaign
        body = orjson.dumps({"decision": "reject" if posted.judgement else "publish"})
        try:
            reply = await self._ask(record, encode_request("POST", f"/moderation/{comment_id}", body, self._moderator))
            with _Understanding(record):
                if reply is not None:
                    record.state = orjson.loads(reply.body)["state"]
        finally:
            self._record(record)
        return record.outcome == "ok"


def _known_by(author: str, text: str) -> tuple[str, str]:
    return author, " ".join(text.split())  # a blog may tidy white space


def _outcome(status: int) -> str:
    if status in (429, 503):
        return "shed"
    return "ok" if status < 400 else "unwanted" if status < 500 else "error"


class _Understanding:
    """An answer that is not what the interface promises is a failure of the service, not of its visitor."""

    def __init__(self, record: Record) -> None:
        self.record = record

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        if kind is not None and issubclass(kind, ValueError | LookupError | TypeError):
            self.record.outcome = "malformed"
            return True
        return False
