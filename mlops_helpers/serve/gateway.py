"""The gateway: every comment goes to the version that its id names, and readers notice no replica that dies.

It decides nothing about content: bytes that it does not understand are passed on as they are, and the filter says what
is wrong with them. Only a batch whose comments belong to several versions is taken apart and put together again.
"""

import asyncio
import itertools
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from prometheus_client import CollectorRegistry

from mlops_helpers.errors import EventLogError
from mlops_helpers.serve.asgi import DEFAULT_LIMITS, JSON, App, Limits, Problem, Request, Response
from mlops_helpers.serve.client import Reply
from mlops_helpers.serve.eventlog import EventLog
from mlops_helpers.serve.forwarding import Answer, Forwarder, ShadowCopies
from mlops_helpers.serve.gateway_admin import Admin
from mlops_helpers.serve.gateway_metrics import GatewayMetrics
from mlops_helpers.serve.routing import RoutingTable, first_gets_all, key_of
from mlops_helpers.serve.upstreams import Upstreams

__all__ = ["make_gateway"]

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_MAX_BATCH = 128  # what a filter accepts: a longer batch is refused by one filter, not taken by two
_ID_CHARACTERS = 64  # of a comment's id in the access log; a longer one is refused by the filter
_LOG_SEGMENTS = 8  # of 64 MiB: the access log must not fill the disk
_HEAD = (
    b"POST /v1/classify HTTP/1.1\r\nhost: filter\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nx-request-id: %b\r\n%b\r\n%b"
)


def make_gateway(
    folder: Path,
    *,
    upstreams: Mapping[str, Sequence[str]],
    weights: Mapping[str, float] | None,
    admin_token: str | None,
    limits: Limits = DEFAULT_LIMITS,
    timeout: float = 1.0,
    total: float = 1.5,
) -> App:
    """Return the service.

    ``upstreams`` (addresses by version) and ``weights`` (None: the first version gets everything) are initial values:
    what an admin call changed is kept in ``folder`` and wins. ``timeout`` bounds each try, ``total`` all tries of a
    request, in seconds. Without ``admin_token`` nothing can be changed while it runs.

    Raises ``ParameterError`` for upstreams or weights that make no sense, ``ServiceError`` when what ``folder`` holds
    does not.
    """
    path = folder / "state.json"
    table = RoutingTable.load(path) or RoutingTable(
        upstreams, first_gets_all(upstreams) if weights is None else weights
    )
    return _Gateway(folder, table, admin_token, limits, timeout, total).app


class _Gateway:
    def __init__(
        self, folder: Path, table: RoutingTable, token: str | None, limits: Limits, timeout: float, total: float
    ) -> None:
        registry = CollectorRegistry()
        metrics = GatewayMetrics(registry, self)
        self.upstreams = Upstreams(limits.concurrency, metrics.failed)
        self.forwarder = Forwarder(
            table, self.upstreams, metrics, timeout=timeout, total=total, burst=limits.concurrency
        )
        self.shadow = ShadowCopies(self.upstreams, metrics, timeout)
        self.log = EventLog(folder / "access", durability="async", keep_segments=_LOG_SEGMENTS)
        self.refused_records = 0
        self.prefix, self.numbers = os.urandom(4).hex().encode(), itertools.count(1)
        routes = {
            "/v1/classify": {"POST": self.classify},
            "/healthz": {"GET": self.healthz},
            "/readyz": {"GET": self.readyz},
            **Admin(folder / "state.json", token, self.forwarder, self.upstreams).routes,
        }
        self.app = App(routes, limits, registry=registry, start=self.start, stop=self.stop)

    @property
    def table(self) -> RoutingTable:
        return self.forwarder.table

    @property
    def unlogged(self) -> int:
        return self.refused_records + (self.log.pending if self.log.failed else 0)

    async def start(self) -> None:
        await self.log.open()
        await self.upstreams.change(self.table.upstreams)
        self.shadow.start()

    async def stop(self) -> None:
        await self.shadow.stop()
        await self.upstreams.close()
        await self.log.close()

    async def classify(self, request: Request) -> Response:
        request_id = request.header(b"x-request-id") or b""
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = b"%b-%x" % (self.prefix, next(self.numbers))
        table, asked = self.table, _parsed(request.body)
        comments = asked["comments"] if _is_batch(asked) else [asked]
        if not table.weights:
            raise Problem(503, "there is no version; next: PUT /admin/upstreams", _headers(request_id, b"1"))
        keys = [key_of(comment) for comment in comments]
        versions = [table.version(key) for key in keys]
        version = versions[0]
        if versions.count(version) == len(versions):
            answer = await self._ask(version, request.body, request_id, comments)
        else:
            answer = await self._ask_each(versions, asked, request, request_id)
        reply = answer.reply
        if reply is None:
            detail = f"no replica of {answer.version} answered, {answer.tries} asked; try again in a second"
            raise Problem(503, detail, _headers(request_id, b"1"))
        if table.shadow and reply.status == 200:
            for copy, places in _copies(table, keys, versions).items():
                body = request.body if len(places) == len(keys) else _part(asked, places)
                self.shadow.add(copy, _encoded(body, request_id, b"x-shadow: 1\r\n"))
        headers = _headers(request_id, reply.headers.get(b"retry-after"))
        return Response(reply.status, reply.body, reply.headers.get(b"content-type", JSON), headers)

    async def _ask(self, version: str, body: bytes, request_id: bytes, comments: Sequence[Any]) -> Answer:
        began = time.perf_counter()
        answer = await self.forwarder.ask(version, _encoded(body, request_id))
        record = {
            "ts": time.time(),
            "request_id": request_id.decode(),
            "comment_id": _id(comments[0]) if len(comments) == 1 else None,
            "comments": len(comments),
            "version": answer.version,
            "replica": answer.replica,
            "status": answer.reply.status if answer.reply else 503,
            "tries": answer.tries,
            "ms": round((time.perf_counter() - began) * 1000, 3),
        }
        try:
            self.log.append(orjson.dumps(record))
        except EventLogError:  # readers are served all the same
            self.refused_records += 1
        return answer

    async def _ask_each(self, versions: Sequence[str], asked: Any, request: Request, request_id: bytes) -> Answer:
        """Ask every version for its comments, and put the verdicts together in the order of the comments."""
        places: dict[str, list[int]] = {}
        for place, version in enumerate(versions):
            places.setdefault(version, []).append(place)
        answers = await asyncio.gather(
            *(self._ask(version, _part(asked, own), request_id, own) for version, own in places.items())
        )
        for answer in answers:
            if answer.reply is not None and 400 <= answer.reply.status < 500:
                # what is wrong is told by its place in the batch: let it be told of the batch that the client sent
                return await self._ask(answer.version, request.body, request_id, versions)
        verdicts: list[Any] = [None] * len(versions)
        for answer, own in zip(answers, places.values(), strict=True):
            if answer.reply is None or answer.reply.status != 200:
                return answer
            try:
                for place, verdict in zip(own, orjson.loads(answer.reply.body)["verdicts"], strict=True):
                    verdicts[place] = verdict
            except (ValueError, LookupError, TypeError):
                raise Problem(
                    502, f"{answer.version} did not answer with a verdict for each comment", _headers(request_id)
                ) from None
        return answers[0]._replace(reply=Reply(200, orjson.dumps({"verdicts": verdicts})))

    async def healthz(self, request: Request) -> Response:
        return Response(200, b'{"status":"alive"}')

    async def readyz(self, request: Request) -> Response:
        if self.app.draining:
            raise Problem(503, "draining: about to end")
        if not any(self.upstreams.ready(version) for version in self.table.heaviest_first()):
            raise Problem(503, "no version that has a weight has a ready replica")
        return Response(200, b'{"status":"ready"}')


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _is_batch(asked: Any) -> bool:
    comments = asked.get("comments") if isinstance(asked, dict) else None
    return isinstance(comments, list) and 0 < len(comments) <= _MAX_BATCH


def _part(asked: Any, places: Sequence[int]) -> bytes:
    return orjson.dumps({**asked, "comments": [asked["comments"][place] for place in places]})


def _copies(table: RoutingTable, keys: Sequence[bytes], versions: Sequence[str]) -> dict[str, list[int]]:
    """Return the places of the comments that each version gets a copy of, apart from those it answers itself."""
    copies: dict[str, list[int]] = {}
    for place, (key, version) in enumerate(zip(keys, versions, strict=True)):
        for copy in table.copies(key):
            if copy != version:
                copies.setdefault(copy, []).append(place)
    return copies


def _id(comment: Any) -> str | None:
    name = comment.get("id") if isinstance(comment, dict) else None
    return name if isinstance(name, str) and len(name) <= _ID_CHARACTERS else None


def _encoded(body: bytes, request_id: bytes, more: bytes = b"") -> bytes:
    return _HEAD % (len(body), request_id, more, body)


def _headers(request_id: bytes, retry_after: bytes | None = None) -> tuple[tuple[bytes, bytes], ...]:
    headers = ((b"x-request-id", request_id),)
    return headers if retry_after is None else (*headers, (b"retry-after", retry_after))
