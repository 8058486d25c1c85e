"""Asking an ASGI application in this process, as a server would: no server, no port."""

import asyncio
import functools
import json
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from tests.support.waiting import DEADLINE_SECONDS


def in_event_loop(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """Run an asynchronous test in an event loop of its own."""

    @functools.wraps(test)
    def run(*args, **kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


@dataclass(frozen=True)
class Answer:
    """A status, headers by name in lower case, and the whole body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self):
        return json.loads(self.body)


async def ask(
    app: Any, method: str, target: str, body: bytes | Iterable[bytes] = b"", headers: Mapping[str, str] | None = None
) -> Answer:
    """Send a request to an application; a body of several parts comes without its length."""
    path, _, query = target.partition("#")[0].partition("?")
    parts = [body] if isinstance(body, bytes) else list(body)
    length = {"content-length": str(len(body))} if isinstance(body, bytes) and body else {}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [
            (name.lower().encode(), value.encode("latin-1"))
            for name, value in ({"host": "service.example"} | length | dict(headers or {})).items()
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    sent: list[Mapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not parts:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, *pieces = sent
    named = {name.decode().lower(): value.decode("latin-1") for name, value in start["headers"]}
    return Answer(start["status"], named, b"".join(piece.get("body", b"") for piece in pieces))


class Client:
    """Speaks to an application that was started on a loop of its own; the loop turns while it is asked only."""

    def __init__(self, app: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.app, self.loop = app, loop

    def run(self, coroutine: Coroutine) -> Any:
        return self.loop.run_until_complete(coroutine)

    def ask(self, method: str, target: str, body: Any = b"", headers: Mapping[str, str] | None = None) -> Answer:
        return self.run(ask(self.app, method, target, body, headers))

    def until(self, condition: Callable[[], Any], what: str = "the condition") -> Any:
        """Let the application's own tasks go on until a condition is true; fail after the deadline."""
        limit = time.monotonic() + DEADLINE_SECONDS
        while not (value := condition()):
            assert time.monotonic() < limit, f"{what} did not hold within {DEADLINE_SECONDS} s"
            self.run(asyncio.sleep(0.002))
        return value


@contextmanager
def started(app: Any) -> Iterator[Client]:
    """Start an application, yield a client of it, and stop it."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(app.start())
        try:
            yield Client(app, loop)
        finally:
            app.draining = True
            loop.run_until_complete(app.stop())
    finally:
        loop.close()
