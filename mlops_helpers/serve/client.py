"""A lean HTTP/1.1 client: what the gateway, the blog and the traffic generator speak to a service with.

It exists because an instrument must not be slower than what it measures, and a gateway not than what it forwards to;
parsing is llhttp's (httptools). One request at a time travels on a connection; connections are kept alive and reused.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import httptools

from mlops_helpers.errors import ServiceError

__all__ = ["Pool", "Reply", "RequestFailed", "encode_request"]


class RequestFailed(ServiceError):
    """No answer came: ``reason`` is ``refused``, ``reset``, ``timeout`` or ``malformed``."""

    def __init__(self, reason: str, address: str) -> None:
        super().__init__(f"no answer from {address}: {reason}")
        self.reason = reason


@dataclass(slots=True)
class Reply:
    """An answer: status code, body, and headers with names in lower case (of repeated ones the last)."""

    status: int = 0
    body: bytes = b""
    headers: dict[bytes, bytes] = field(default_factory=dict)


def encode_request(
    method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, host: str = "localhost"
) -> bytes:
    """Return the bytes of a request; ``path`` and ``headers`` are trusted to hold no line break."""
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}"]
    if body or method in {"POST", "PUT"}:
        lines.append(f"content-length: {len(body)}")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class _Connection(asyncio.Protocol):
    """One connection; :meth:`exchange` must not be called before the last one ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.waiter: asyncio.Future[Reply] | None = None
        self.reply = Reply()
        self.chunks: list[bytes] = []
        self.usable = True  # whether another request may travel on it
        self.silent = True  # whether no byte of an answer came yet

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.parser = httptools.HttpResponseParser(self)

    def exchange(self, request: bytes) -> asyncio.Future[Reply]:
        self.waiter = self.loop.create_future()
        self.reply, self.chunks, self.silent = Reply(), [], True
        self.transport.write(request)
        return self.waiter

    def data_received(self, data: bytes) -> None:
        self.silent = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self._end("malformed")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.reply.headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self.chunks.append(body)

    def on_message_complete(self) -> None:
        reply, waiter = self.reply, self.waiter
        if waiter is None:  # an answer that nobody asked for
            return self._end("malformed")
        reply.status = self.parser.get_status_code()
        if reply.status == 100:
            return
        reply.body = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        self.waiter = None
        if not self.parser.should_keep_alive():
            self.usable = False
            self.transport.close()
        if waiter is not None and not waiter.done():
            waiter.set_result(reply)

    def connection_lost(self, error: Exception | None) -> None:
        self._end("reset")

    def _end(self, reason: str) -> None:
        self.usable = False
        self.transport.abort()
        waiter, self.waiter = self.waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(_Broken(reason))

    def abort(self) -> None:
        self.waiter = None
        self._end("reset")


class _Broken(Exception):
    pass


class Pool:
    """Kept-alive connections to one address, at most ``size``; further requests wait for a free one.

    Belongs to one event loop. Requests are sent at most once, except when a connection that had idled turns out to be
    closed by the other side before the first byte of an answer: then once more, on a fresh connection.
    """

    def __init__(self, host: str, port: int, *, size: int = 64, connect_timeout: float = 1.0) -> None:
        self.address = f"{host}:{port}"
        self._host, self._port, self._size, self._connect_timeout = host, port, size, connect_timeout
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._connecting = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def send(self, request: bytes, timeout: float) -> Reply:
        """Send a request (see :func:`encode_request`) and return its answer.

        ``timeout`` in seconds bounds waiting for a connection, and then the answer. Raises :class:`RequestFailed`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            connection, reused = await self._take(loop, deadline)
            waiter = connection.exchange(request)
            timer = loop.call_at(deadline, self._expire, waiter)
            try:
                return await waiter
            except _Broken as error:
                reason = str(error)
                if not (reused and connection.silent and reason == "reset"):
                    raise RequestFailed(reason, self.address) from None
            finally:
                timer.cancel()
                self._give_back(connection)

    @staticmethod
    def _expire(waiter: asyncio.Future[Reply]) -> None:
        if not waiter.done():
            waiter.set_exception(_Broken("timeout"))

    async def _take(self, loop: asyncio.AbstractEventLoop, deadline: float) -> tuple[_Connection, bool]:
        while True:
            while self._idle:
                connection = self._idle.pop()
                if connection.usable:
                    return connection, True
                self._open.discard(connection)
            if len(self._open) + self._connecting < self._size:
                return await self._connect(loop, deadline), False
            turn = loop.create_future()
            self._waiting.append(turn)
            timer = loop.call_at(deadline, _wake, turn)
            try:
                await turn
            finally:
                timer.cancel()
            if loop.time() >= deadline:
                self._wake_next()  # the turn may have been ours: another one can have it
                raise RequestFailed("timeout", self.address)

    async def _connect(self, loop: asyncio.AbstractEventLoop, deadline: float) -> _Connection:
        self._connecting += 1
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + self._connect_timeout)):
                _, connection = await loop.create_connection(lambda: _Connection(loop), self._host, self._port)
            self._open.add(connection)
            return connection
        except TimeoutError:
            raise RequestFailed("timeout", self.address) from None
        except OSError:
            raise RequestFailed("refused", self.address) from None
        finally:
            self._connecting -= 1
            self._wake_next()  # after a failure, the slot is free for another

    def _give_back(self, connection: _Connection) -> None:
        if connection.waiter is not None:  # no answer, or not waited for any more: what comes later is nobody's
            connection.abort()
        if connection.usable:
            self._idle.append(connection)
        else:
            self._open.discard(connection)
        self._wake_next()

    def _wake_next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def close(self) -> None:
        """Close all connections; requests under way fail as ``reset``."""
        for connection in list(self._open):
            connection._end("reset")
        self._idle.clear()
        self._open.clear()


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
