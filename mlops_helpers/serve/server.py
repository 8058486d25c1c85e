"""Runs an application on uvicorn with uvloop and httptools, guarded against slow, huge and too many clients.

uvicorn by itself waits for ever for the rest of a request and has no bound on header bytes; here both are bounded.
SIGTERM drains: for a moment requests are still answered, with ``connection: close`` and /readyz saying no, so that
callers go elsewhere; then nothing new is accepted, what is under way is finished, and the process ends.
"""

import asyncio
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

import uvicorn
from prometheus_client import disable_created_metrics

from mlops_helpers.errors import ServiceError
from mlops_helpers.serve.asgi import Limits
from mlops_helpers.serve.protocol import GuardedProtocol

__all__ = ["Application", "listening_socket", "run", "serving"]

_SWEEP_SECONDS = 0.5


class Application(Protocol):
    """What :func:`run` serves: an ASGI application that can be told to drain."""

    limits: Limits
    draining: bool
    under_way: Callable[[], int]

    async def start(self) -> None:
        """Run before the first request."""

    async def stop(self) -> None:
        """Run after the last one."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request (ASGI)."""


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, app: Application, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.app, self.ready = app, ready
        app.under_way = self.server_state.tasks.__len__

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        await self.app.start()
        await super().startup(sockets)
        self.ready()

    async def main_loop(self) -> None:
        sweep = self.loop.create_task(self._sweep())
        try:
            await super().main_loop()
        finally:
            sweep.cancel()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = self.loop.time()
            for connection in [c for c in self.server_state.connections if c.overdue(now)]:  # type: ignore[union-attr]
                connection.give_up()  # type: ignore[union-attr]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().shutdown(sockets)
        finally:
            await self.app.stop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.app.draining:  # asked twice: at once
            self.should_exit = self.force_exit = True
            return
        self.app.draining = True
        seconds = self.app.limits.drain_seconds if sig == signal.SIGTERM else 0
        self.loop.call_soon_threadsafe(self.loop.call_later, seconds, setattr, self, "should_exit", True)


def listening_socket(host: str, port: int = 0, backlog: int = 1024) -> socket.socket:
    """Return a socket that listens; port 0 lets the system choose a free one.

    Raises ``ServiceError`` when the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(backlog)
    except (OSError, OverflowError) as error:
        sock.close()
        raise ServiceError(f"cannot listen on {host}:{port}: {error}. Next: --port 0 lets the system choose") from error
    return sock


def run(app: Application, sock: socket.socket, ready: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGTERM or SIGINT; ``ready`` is called once requests are accepted.

    Raises what ``app.start()`` raises.
    """
    disable_created_metrics()  # a series of its own for the birth of every counter: twice as much to scrape and store
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)  # the log's writer must not wait 5 ms for the interpreter each time a disk answers
    try:
        _server(app, ready).run(sockets=[sock])
    finally:
        sys.setswitchinterval(before)
        sock.close()


@contextmanager
def serving(app: Application, host: str = "127.0.0.1") -> Iterator[str]:
    """Serve in a thread of this process, on a free port, while the block runs; yield ``host:port``.

    For experiments and tests: a service in earnest has a process of its own. Raises what ``app.start()`` raises.
    """
    started: Future[None] = Future()
    sock = listening_socket(host)
    server = _server(app, lambda: started.set_result(None))

    def work() -> None:
        try:
            server.run(sockets=[sock])
        except BaseException as error:  # it belongs to whoever waits
            if started.done():
                raise
            started.set_exception(error)
        finally:
            sock.close()

    thread = threading.Thread(target=work, name="serving", daemon=True)
    thread.start()
    try:
        started.result()
        yield "{}:{}".format(*sock.getsockname()[:2])
    finally:
        app.draining = server.should_exit = True
        thread.join()


def _server(app: Application, ready: Callable[[], None]) -> _Server:
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # bad requests are counted, not written line by line
    protocol = type("Protocol", (GuardedProtocol,), {"limits": app.limits})
    config = uvicorn.Config(
        app,
        http=protocol,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who may say on whose behalf it calls is for the application to decide
        date_header=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=max(1, round(app.limits.answer_seconds)),
    )
    return _Server(config, app, ready)
