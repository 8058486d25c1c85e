"""Fetching a page over and over from one address: a bounded body, a kept-alive connection, parsing by llhttp."""

import asyncio
import ssl
from urllib.parse import urlsplit

import httptools

from mlops_helpers.errors import MetricsError

__all__ = ["Page"]


class Page:
    """One page, ``host:port`` (path ``/metrics``) or a whole URL, fetched as often as asked; at most ``most_bytes``.

    Belongs to one event loop; one fetch at a time. Raises ``MetricsError`` for an address that is none.
    """

    def __init__(self, address: str, *, most_bytes: int) -> None:
        accepted = f"{address!r} is no target; accepted: host:port, or a URL such as http://host:port/metrics"
        try:
            parts = urlsplit(address if "://" in address else f"http://{address}/metrics")
            port = parts.port
        except ValueError as error:
            raise MetricsError(accepted) from error
        if parts.scheme not in ("http", "https") or not parts.hostname or not address.isprintable() or " " in address:
            raise MetricsError(accepted)
        self.secure = parts.scheme == "https"
        self.host, self.port = parts.hostname, port or (443 if self.secure else 80)
        self.instance = f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"
        path = (parts.path or "/metrics") + (f"?{parts.query}" if parts.query else "")
        self._request = (
            f"GET {path} HTTP/1.1\r\nhost: {self.instance}\r\naccept: text/plain;version=0.0.4\r\n\r\n"
        ).encode()
        self._most_bytes = most_bytes
        self._connection: _Connection | None = None

    async def fetch(self) -> bytes:
        """Return the body; the caller bounds the time, and cancels.

        Raises ``MetricsError`` for another status than 200 and for a body that is too long, ``OSError`` when there is
        no answer.
        """
        try:
            if self._connection is not None and self._connection.usable:
                try:
                    return await self._connection.exchange(self._request)
                except ConnectionError:
                    pass  # closed while it idled: once more, on a fresh one
            loop = asyncio.get_running_loop()
            secure = ssl.create_default_context() if self.secure else None
            _, self._connection = await loop.create_connection(
                lambda: _Connection(loop, self._most_bytes), self.host, self.port, ssl=secure
            )
            return await self._connection.exchange(self._request)
        except BaseException:  # cancelled, too: what comes later on this connection is nobody's
            self.close()
            raise

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.end(ConnectionResetError("closed"))
            self._connection = None


class _Connection(asyncio.Protocol):
    """One connection: llhttp's events of an answer, and the future that waits for it."""

    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop, most_bytes: int) -> None:
        self._loop, self._most_bytes = loop, most_bytes
        self._waiter: asyncio.Future[bytes] | None = None
        self.usable = True
        self._expect()

    def _expect(self) -> None:
        """Get ready for an answer."""
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: list[bytes] = []
        self._bytes, self._headers_end, self._measured = 0, False, False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def exchange(self, request: bytes) -> "asyncio.Future[bytes]":
        self._expect()
        self._waiter = self._loop.create_future()
        self.transport.write(request)
        return self._waiter

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)  # headers, too: nothing without end may fill the memory
        if self._bytes > self._most_bytes:
            return self.end(MetricsError(f"the answer has more than {self._most_bytes:,} bytes; accepted: no more"))
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.end(MetricsError(f"the answer is no HTTP: {error}"))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._measured |= name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        self._headers_end = True

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        self._answer()

    def connection_lost(self, error: Exception | None) -> None:
        if self._headers_end and not self._measured:  # an answer that ends with its connection
            self._answer()
        self.end(error or ConnectionResetError("the connection was closed before the end of the answer"))

    def _answer(self) -> None:
        status = self._parser.get_status_code()
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            return
        if status == 200:
            waiter.set_result(b"".join(self._chunks))
        else:
            waiter.set_exception(MetricsError(f"the answer is HTTP {status}; accepted: 200"))
        if not (self._measured and self._parser.should_keep_alive()):
            self.usable = False
            self.transport.close()

    def end(self, error: Exception) -> None:
        self.usable = False
        self.transport.abort()
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
