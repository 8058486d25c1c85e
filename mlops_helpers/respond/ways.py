"""A front that knows HTTP: it asks over another way when the first is slow or breaks, and limits who sends much.

Whatever passes it may be asked twice, as readers' comments may be: each has an idempotency key.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlops_helpers.serve.client import Pool, Reply, RequestFailed

if TYPE_CHECKING:
    from mlops_helpers.serve.ratelimit import RateLimit

__all__ = ["Ways"]

_LONGEST = 5.0  # seconds for one question; who asks gives up earlier
_OWN = {b"content-length", b"transfer-encoding", b"connection"}


class Ways:
    """Serves one address by way of ``targets`` (host:port), of which the one that answered last is asked first.

    The next is asked as well when no answer came within ``hedge`` seconds, or none will. A network (the first three
    numbers of x-forwarded-for) may send ``per_minute``, 0: what it likes; more is answered 429.

    ``acted`` has when (epoch seconds) an answer came from another than the first of the targets, or was 429.
    """

    def __init__(self, targets: Sequence[str], hedge: float = 0.0, per_minute: float = 0.0) -> None:
        self._pools = [Pool(host, int(port)) for host, _, port in (target.rpartition(":") for target in targets)]
        self._usual, self._hedge = self._pools[0], hedge
        self._limit = _limit(per_minute) if per_minute else None
        self.acted: list[float] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, one after the other."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, RequestFailed):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                request = head + await reader.readexactly(int(_header(head, b"content-length") or 0))
                reply = self._refused(head) or await self._ask(request)
                headers = [b"%b: %b\r\n" % one for one in reply.headers.items() if one[0] not in _OWN]
                line = b"HTTP/1.1 %d -\r\ncontent-length: %d\r\n" % (reply.status, len(reply.body))
                writer.write(line + b"".join(headers) + b"\r\n" + reply.body)
                await writer.drain()
        writer.close()

    def _refused(self, head: bytes) -> Reply | None:
        network = _header(head, b"x-forwarded-for").rpartition(b".")[0].decode()
        if self._limit is None or not network or head.startswith(b"GET ") or not (wait := self._limit.take(network)):
            return None
        self.acted.append(time.time())
        return Reply(429, b'"too much from one network"', {b"retry-after": b"%d" % math.ceil(wait)})

    async def _ask(self, request: bytes) -> Reply:
        """Ask the preferred way, then the others beside it; the first answer counts, and its way is preferred then."""
        asked: dict[asyncio.Task[Reply], Pool] = {}
        failures: list[BaseException] = []
        try:
            for pool in list(self._pools):
                asked[asyncio.create_task(pool.send(request, _LONGEST))] = pool
                patience = self._hedge if len(asked) < len(self._pools) else None
                while waiting := [task for task in asked if not task.done()]:
                    done, _ = await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        if (failure := task.exception()) is None:
                            self._prefer(asked[task])
                            return task.result()
                        failures.append(failure)
                    if patience is not None:
                        break
            raise failures[0]
        finally:
            for task in asked:
                task.cancel()

    def _prefer(self, pool: Pool) -> None:
        self._pools.remove(pool)
        self._pools.insert(0, pool)
        if pool is not self._usual:
            self.acted.append(time.time())


def _limit(per_minute: float) -> "RateLimit":
    from mlops_helpers.serve.ratelimit import RateLimit  # brings a framework, which other drills do without

    return RateLimit(per_minute)


def _header(head: bytes, wanted: bytes) -> bytes:
    lines = (line.partition(b":") for line in head.split(b"\r\n"))
    return next((value.strip() for name, _, value in lines if name.lower() == wanted), b"")
