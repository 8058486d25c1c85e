"""The small ASGI application that filter and gateway are: exact routes, bounded bodies, shedding, metrics, JSON.

A framework would cost more than the answer: the filter scores a comment in less time than routing takes elsewhere.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

__all__ = [
    "DEFAULT_LIMITS",
    "LATENCY_BUCKETS",
    "App",
    "Handler",
    "HttpMetrics",
    "Limits",
    "Problem",
    "Request",
    "Response",
]

_log = logging.getLogger(__name__)
JSON = b"application/json"
_NEVER_SHED = {"/healthz", "/readyz", "/metrics", "/version"}
LATENCY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


@dataclass(frozen=True)
class Limits:
    """What a service accepts. Sizes in bytes, times in seconds."""

    body_bytes: int = 1_000_000
    concurrency: int = 256  # requests under way; more are shed with 503
    connections: int = 1_000  # more are closed at once
    header_bytes: int = 32_768
    receive_seconds: float = 10.0  # from the first byte of a request to its last
    answer_seconds: float = 10.0  # from the last byte of a request until its answer is taken
    drain_seconds: float = 0.3  # after SIGTERM: how long to answer while telling everybody to go elsewhere


DEFAULT_LIMITS = Limits()


class Problem(Exception):
    """An answer that says what was wrong (RFC 9457): status code, one sentence, further headers."""

    def __init__(self, status: int, detail: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


@dataclass(slots=True)
class Request:
    """A request with its whole body."""

    method: str
    path: str
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        """Return the first value of a header (name in lower case), or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def json(self) -> Any:
        """Return the body's value. Raises :class:`Problem` 400 when it is not JSON."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise Problem(400, f"the body is not JSON: {error}") from None


@dataclass(slots=True)
class Response:
    """Status code, body, media type and further headers."""

    status: int
    body: bytes
    media_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


Handler = Callable[[Request], Awaitable[Response]]
Hook = Callable[[], Coroutine[Any, Any, None]]


class HttpMetrics:
    """The metrics that every service of the platform has, under the same names."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter("http_requests", "Answers given.", ["handler", "code"], registry=registry)
        self._seconds = Histogram(
            "http_request_duration_seconds",
            "Time from the last byte of a request's head to its answer.",
            ["handler"],
            registry=registry,
            buckets=LATENCY_BUCKETS,
        )
        self._children: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def observe(self, handler: str, status: int, seconds: float) -> None:
        """Count an answer. ``handler`` is a route, never a path that somebody made up: each label value is kept."""
        child = self._children.get((handler, status))
        if child is None:  # finding a child by its labels costs more than counting
            child = (self._requests.labels(handler, str(status)), self._seconds.labels(handler))
            self._children[handler, status] = child
        child[0].inc()
        child[1].observe(seconds)


async def _nothing() -> None:
    pass


class App:
    """An ASGI application of exact routes ``{"/path": {"GET": handler}}``; ``/metrics`` is added.

    ``start`` and ``stop`` run before the first and after the last request. ``under_way`` (set by the server) counts
    requests that have been read but not answered: above ``limits.concurrency`` they are shed. ``draining`` is set
    when the service is about to end.
    """

    def __init__(
        self,
        routes: Mapping[str, Mapping[str, Handler]],
        limits: Limits,
        *,
        registry: CollectorRegistry,
        start: Hook = _nothing,
        stop: Hook = _nothing,
    ) -> None:
        self.routes = {**routes, "/metrics": {"GET": self._metrics}}
        self.limits = limits
        self.registry = registry
        self.start, self.stop = start, stop
        self.draining = False
        self.under_way: Callable[[], int] = int
        self._http = HttpMetrics(registry)
        Gauge("http_requests_under_way", "Read but not answered.", registry=registry).set_function(
            lambda: self.under_way()
        )

    async def _metrics(self, request: Request) -> Response:
        return Response(200, generate_latest(self.registry), CONTENT_TYPE_PLAIN_0_0_4.encode())

    async def __call__(self, scope: Mapping[str, Any], receive: Callable, send: Callable) -> None:
        """Answer one request (ASGI)."""
        began = time.perf_counter()
        path, close = scope["path"], self.draining
        handlers = self.routes.get(path)
        try:
            if handlers is None:
                path = "other"  # a label for each path that somebody tries would fill the memory
                raise Problem(404, f"no such path; there are: {', '.join(sorted(self.routes))}")
            handler = handlers.get(scope["method"])
            if handler is None:
                allowed = ", ".join(sorted(handlers))
                raise Problem(405, f"accepted: {allowed}", ((b"allow", allowed.encode()),))
            if self.under_way() > self.limits.concurrency and path not in _NEVER_SHED:
                raise Problem(503, "too many requests under way; try again in a second", ((b"retry-after", b"1"),))
            body = await self._body(scope, receive)
            response = await handler(Request(scope["method"], path, scope["headers"], body))
        except Problem as problem:
            close = close or problem.status == 413
            response = _as_response(problem)
        except _Gone:
            return
        except Exception:  # noqa: BLE001 (a defect in one answer must not end the others)
            _log.exception("%s %s", scope["method"], path)
            response = _as_response(Problem(500, "a defect of this service; its log says more"))
        headers = [(b"content-type", response.media_type), (b"content-length", b"%d" % len(response.body))]
        headers += response.headers
        if close:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else response.body})
        self._http.observe(path, response.status, time.perf_counter() - began)

    async def _body(self, scope: Mapping[str, Any], receive: Callable) -> bytes:
        limit = self.limits.body_bytes
        message = await receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            for name, value in scope["headers"]:
                if name == b"content-length" and int(value) > limit:  # llhttp let digits only through
                    raise Problem(413, f"the body has {int(value)} bytes; accepted: at most {limit}")
        while message.get("more_body") and len(body) <= limit:
            message = await receive()
            body += message.get("body", b"")
        if message["type"] == "http.disconnect":
            raise _Gone
        if len(body) > limit:
            raise Problem(413, f"the body has more than {limit} bytes; accepted: at most that")
        return body


class _Gone(Exception):
    """The client went away before its request was complete."""


def _as_response(problem: Problem) -> Response:
    body = orjson.dumps(
        {"status": problem.status, "title": HTTPStatus(problem.status).phrase, "detail": problem.detail}
    )
    return Response(problem.status, body, b"application/problem+json", problem.headers)
