"""Filters behind a gateway, in this process: they answer, hang, fail, shed or die when a test says so."""

import asyncio
import functools
import itertools
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import orjson
import pytest

from mlops_helpers.serve import upstreams
from mlops_helpers.serve.client import Reply, RequestFailed
from tests.support.waiting import until_async

_numbers = itertools.count(1)


class FakeFilter:
    """``mode`` and ``readyz`` are ``answer``, ``hang``, ``silent`` (timed out at once) or a status code.

    ``seen`` are headers and body of requests.
    """

    def __init__(self, version: str = "v1") -> None:
        self.version, self.address = version, f"filter-{next(_numbers)}:80"
        self.mode: int | str = "answer"
        self.readyz: int | str = 200
        self.running = True
        self.seen: list[tuple[dict[str, str], bytes]] = []
        self.under_way = self.probes = self.deaths = 0

    def die(self) -> None:
        """End: what is under way gets no answer, and nothing listens any more."""
        self.running, self.deaths = False, self.deaths + 1

    def start(self) -> None:
        """Listen again, at the same address."""
        self.running = True

    async def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        if not self.running:
            raise RequestFailed("refused", self.address)
        if path == "/readyz":
            self.probes += 1
            return Reply(await self._status("readyz"), b"{}")
        self.seen.append((headers, body))
        self.under_way += 1
        try:
            status = await self._status("mode")
        finally:
            self.under_way -= 1
        retry = {b"retry-after": b"7"} if status == 503 else {}
        return Reply(status, self.verdicts(body) if status == 200 else b'{"status":%d}' % status, retry)

    async def _status(self, which: str) -> int:
        deaths = self.deaths
        if getattr(self, which) == "silent":
            raise RequestFailed("timeout", self.address)
        await asyncio.sleep(0)
        await until_async(lambda: self.deaths != deaths or getattr(self, which) != "hang", f"{self.address} to answer")
        if self.deaths != deaths:
            raise RequestFailed("reset", self.address)
        status = getattr(self, which)
        return status if isinstance(status, int) else 200

    def verdicts(self, body: bytes) -> bytes:
        try:
            question = orjson.loads(body)
        except orjson.JSONDecodeError:
            return b"not JSON"
        if "comments" not in question:
            return orjson.dumps({"id": question.get("id"), "version": self.version})
        return orjson.dumps({"verdicts": [{"id": c["id"], "version": self.version} for c in question["comments"]]})


class _Connections:
    """Takes the place of ``client.Pool``."""

    def __init__(self, there: Mapping[str, FakeFilter], host: str, port: int, *, size: int = 64) -> None:
        self._there, self._address = there[f"{host}:{port}"], f"{host}:{port}"

    async def send(self, request: bytes, timeout: float) -> Reply:
        head, _, body = request.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        method, path, _ = first.split(" ")
        headers = dict(line.split(": ", 1) for line in lines if line)
        try:
            async with asyncio.timeout(timeout):
                return await self._there.answer(method, path, headers, body)
        except TimeoutError:
            raise RequestFailed("timeout", self._address) from None

    def close(self) -> None:
        pass


@contextmanager
def connected(*there: Any) -> Iterator[None]:
    """Let the gateway's connections lead to these (with an ``address`` and an ``answer``) while the block runs."""
    with pytest.MonkeyPatch.context() as patch:
        known = {each.address: each for each in there}
        patch.setattr(upstreams, "Pool", functools.partial(_Connections, known))
        yield


@asynccontextmanager
async def filters(*versions: str) -> AsyncIterator[list[FakeFilter]]:
    """Yield connected filters of these versions."""
    running = [FakeFilter(version) for version in versions]
    with connected(*running):
        yield running
