"""A filter on the running event loop that answers, hangs, fails, sheds or dies when a test says so."""

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress

import orjson

DEADLINE = 20  # seconds; far beyond what a slow machine needs


def live(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """Run a test in an event loop of its own."""

    @functools.wraps(test)
    def run(*args, **kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


async def until(condition: Callable[[], bool], what: str = "") -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"waited {DEADLINE} s for {what or condition}"
        await asyncio.sleep(0.005)


class FakeFilter:
    """``mode`` is ``answer``, ``hang`` or a status code, ``readyz`` too; ``seen`` are headers and body of requests."""

    def __init__(self, version: str = "v1") -> None:
        self.version, self.mode, self.readyz = version, "answer", 200
        self.seen: list[tuple[dict[str, str], bytes]] = []
        self.under_way = self.probes = self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> "FakeFilter":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Die: what is under way gets no answer, and nothing listens any more."""
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await until(lambda: not self._writers, "connections to end")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.split(": ", 1) for line in lines if line)
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if "/readyz" in first:
                    self.probes += 1
                    status, answer = await self._pending("readyz", writer), b"{}"
                else:
                    self.seen.append((headers, body))
                    self.under_way += 1
                    try:
                        status = await self._pending("mode", writer)
                    finally:
                        self.under_way -= 1
                    answer = self.verdicts(body) if status == 200 else b'{"status":%d}' % status
                retry = b"retry-after: 7\r\n" if status == 503 else b""
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n%b\r\n%b" % (status, len(answer), retry, answer))
        writer.close()
        self._writers.discard(writer)

    async def _pending(self, what: str, writer: asyncio.StreamWriter) -> int:
        while (found := getattr(self, what)) == "hang" and not writer.is_closing():
            await asyncio.sleep(0.005)
        return found if isinstance(found, int) else 200

    def verdicts(self, body: bytes) -> bytes:
        try:
            asked = orjson.loads(body)
        except orjson.JSONDecodeError:
            return b"not JSON"
        if "comments" not in asked:
            return orjson.dumps({"id": asked.get("id"), "version": self.version})
        return orjson.dumps({"verdicts": [{"id": one["id"], "version": self.version} for one in asked["comments"]]})
