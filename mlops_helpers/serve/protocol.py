"""HTTP on a connection: uvicorn's protocol with bounds on size and time, and with one write an answer.

uvicorn by itself waits for ever for the rest of a request and has no bound on header bytes; here both are bounded.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mlops_helpers.serve.asgi import Limits

__all__ = ["GuardedProtocol"]

_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 1\r\nconnection: close\r\n\r\n"
_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class _OneWrite:
    """A transport that sends the head of an answer together with its first bytes: one system call, one packet."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport, self._head = transport, b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 100"):
            self._head = data
            return
        self._transport.write(data)

    def flush(self) -> None:
        if self._head:
            self._transport.write(self._head)
            self._head = b""

    def close(self) -> None:
        self.flush()
        self._transport.close()


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds on the size of headers and on the time a request may take to arrive."""

    limits = Limits()
    since = 0.0  # when the request under way began to arrive; 0 when none is
    header_bytes = 0

    def connection_made(self, transport: Any) -> None:  # noqa: D102
        super().connection_made(_OneWrite(transport))  # type: ignore[arg-type]
        self.since = self.loop.time()  # a connection on which nothing ever comes is bounded, too
        if len(self.connections) > self.limits.connections:
            self._refuse(_TOO_MANY)

    def _refuse(self, answer: bytes) -> None:
        self.transport.write(answer)
        self.transport.close()

    def data_received(self, data: bytes) -> None:  # noqa: D102
        if self.transport.is_closing():
            return
        if not self.since:
            self.since = self.loop.time()
        self.header_bytes += len(data)  # looked at once a read, so one read (256 KiB) may pass beyond the bound
        super().data_received(data)
        if self.header_bytes > self.limits.header_bytes and not self.transport.is_closing():
            self._refuse(_TOO_LONG)

    def on_headers_complete(self) -> None:  # noqa: D102
        self.header_bytes = -(1 << 62)  # the body is bounded elsewhere
        super().on_headers_complete()

    def on_message_complete(self) -> None:  # noqa: D102
        self.since, self.header_bytes = self.loop.time(), 0
        super().on_message_complete()

    def on_response_complete(self) -> None:  # noqa: D102
        self.since = 0.0
        self.transport.flush()  # type: ignore[attr-defined]
        super().on_response_complete()

    def overdue(self, now: float) -> bool:
        """Whether the request under way should have arrived, or its answer have been taken, long since."""
        answering = self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body
        limit = self.limits.answer_seconds if answering else self.limits.receive_seconds
        return bool(self.since) and now - self.since > limit

    def give_up(self) -> None:
        """Say so, if nothing was said yet, and close."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(_TOO_SLOW)
        self.transport.abort() if self.transport.get_write_buffer_size() > 1024 else self.transport.close()
