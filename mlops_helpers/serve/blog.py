"""The blog: pages with comments that are stored before they are answered, classified through the gateway, moderated."""

import logging
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mlops_helpers.errors import ParameterError, ServiceError
from mlops_helpers.serve.asgi import HttpMetrics, Limits, Problem
from mlops_helpers.serve.client import Pool
from mlops_helpers.serve.discussion import Discussion
from mlops_helpers.serve.entries import Comment
from mlops_helpers.serve.moderation import Moderation
from mlops_helpers.serve.outbox import Outbox
from mlops_helpers.serve.pages import SECURITY_HEADERS, Pages
from mlops_helpers.serve.ratelimit import ClientAddresses, RateLimit
from mlops_helpers.serve.sessions import Sessions
from mlops_helpers.serve.store import KeyReused, Store

__all__ = ["Blog", "make_blog"]

LIMITS = Limits(body_bytes=200_000)  # 10,000 characters, each as long as forms and JSON can make it
_NEVER_SHED = {"/healthz", "/readyz", "/metrics"}
_SHED = Problem(503, "too many requests at once; try again in a second", ((b"retry-after", b"1"),))
log = logging.getLogger(__name__)


def make_blog(
    folder: Path,
    *,
    gateway: str,
    moderator_token: str,
    limits: Limits = LIMITS,
    patience: float = 0.25,
    hold_after: float = 2.0,
    comments_per_minute: float = 30,
    trusted_proxies: Sequence[str] = (),
) -> "Blog":
    """Return the blog that keeps its database and key in ``folder`` and asks the gateway at ``host:port``.

    A comment's answer waits at most ``patience`` seconds for the verdict; after ``hold_after`` seconds without one the
    comment is held for a moderator. A client (an address, told by ``trusted_proxies`` if it comes through one) may send
    ``comments_per_minute``.

    Raises ``ParameterError`` for an argument out of range.
    """
    host, _, port = gateway.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise ParameterError(f"gateway is {gateway!r}; accepted: host:port, such as 127.0.0.1:8000")
    for name, value in {"patience": patience, "hold_after": hold_after}.items():
        if not (math.isfinite(value) and value >= 0):
            raise ParameterError(f"{name} is {value}; accepted: 0 or more seconds")
    addresses, rate = ClientAddresses(trusted_proxies), RateLimit(comments_per_minute)
    sessions = Sessions(folder, moderator_token)
    return Blog(folder, (host, int(port)), sessions, addresses, rate, limits, patience, hold_after)


class Blog:
    """The application that :func:`mlops_helpers.serve.server.run` serves."""

    def __init__(
        self,
        folder: Path,
        gateway: tuple[str, int],
        sessions: Sessions,
        addresses: ClientAddresses,
        rate: RateLimit,
        limits: Limits,
        patience: float,
        hold_after: float,
    ) -> None:
        self._folder, self._gateway, self._patience, self._hold_after = folder, gateway, patience, hold_after
        self.limits, self.draining = limits, False
        self.under_way: Callable[[], int] = int
        self.registry = CollectorRegistry()
        self._http = HttpMetrics(self.registry)
        Gauge("http_requests_under_way", "Read but not answered.", registry=self.registry).set_function(
            lambda: self.under_way()
        )
        self._pages = pages = Pages()
        shared = (sessions, pages, self.registry, limits.body_bytes)
        routes = [
            *Discussion(lambda: self._store, *shared, self._settle, addresses, rate).routes,
            *Moderation(lambda: self._store, *shared).routes,
            *pages.routes,
            Route("/healthz", self._healthy),
            Route("/readyz", self._ready),
            Route("/metrics", self._metrics),
        ]
        self._paths = {route.endpoint: route.path for route in routes}
        kinds = (Problem, HTTPException, KeyReused, ServiceError, ClientDisconnect, Exception)
        self._app = Starlette(routes=routes, exception_handlers=dict.fromkeys(kinds, self._failed))
        self._app.router.redirect_slashes = False

    async def start(self) -> None:
        """Open the database and take up what waits in it. Raises ``ServiceError`` when it cannot be used."""
        self._store = Store(self._folder)
        pool = Pool(*self._gateway, size=2)
        self._outbox = Outbox(self._store, pool, self.registry, hold_after=self._hold_after)
        self._outbox.start()

    async def stop(self) -> None:
        """Close the database; what waits there is taken up by the next start."""
        await self._outbox.stop()
        await self._store.close()

    async def __call__(self, scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        """Answer one request (ASGI)."""
        began, status = time.perf_counter(), 500

        async def guarded(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *SECURITY_HEADERS]
                if self.draining:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            if self.under_way() > self.limits.concurrency and scope["path"] not in _NEVER_SHED:
                response = await self._failed(Request(scope), _SHED)
                await response(scope, receive, guarded)
            else:
                await self._app(scope, receive, guarded)
        except Exception:
            log.exception("a defect while answering %s", self._path(scope))
        self._http.observe(self._path(scope), status, time.perf_counter() - began)

    def _path(self, scope: Any) -> str:
        return self._paths.get(scope.get("endpoint"), "other")

    async def _settle(self, comment: Comment) -> Comment:
        return await self._outbox.settle(comment, self._patience)

    async def _healthy(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _ready(self, request: Request) -> Response:
        if self.draining:
            raise Problem(503, "about to end")
        if not self._outbox.alive:
            raise Problem(503, "comments are not classified any more; restart the blog")
        return JSONResponse({"status": "ready"})

    async def _metrics(self, request: Request) -> Response:
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def _failed(self, request: Request, error: Any) -> Response:
        """Answer an error of whatever kind, as a page or as JSON."""
        match error:
            case Problem():
                problem = error
            case HTTPException():
                allowed = (error.headers or {}).get("Allow")
                detail = {404: "there is nothing at this address", 405: f"accepted here: {allowed}"}
                headers = ((b"allow", allowed.encode()),) if allowed else ()
                problem = Problem(error.status_code, detail.get(error.status_code, error.detail), headers)
            case KeyReused():
                problem = Problem(409, str(error))
            case ServiceError():
                log.error("%s", error)
                problem = Problem(503, "nothing was stored; try again in a second", ((b"retry-after", b"1"),))
            case ClientDisconnect():  # nobody reads this answer; the metrics count it
                problem = Problem(499, "the client went away")
            case _:
                problem = Problem(500, "this is a defect of the blog, which has been noted")
        title = HTTPStatus(problem.status).phrase if problem.status != 499 else "Gone"
        response = self._pages.problem(request, problem.status, title, problem.detail)
        response.raw_headers.extend(problem.headers)
        return response
