"""A closed-loop HTTP client in a process of its own: each connection sends its next request when the last is answered.

It does nothing but send bytes that were prepared before and read status codes, so that one processor drives any
server here; ``Load.client_cpu`` shows when the client, not the server, was the limit.
"""

import asyncio
import gc
import itertools
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import cast

import httptools
import numpy as np
import uvloop

__all__ = ["Load", "measure"]

GRACE = 30.0


@dataclass(frozen=True)
class Load:
    """What a closed loop of ``concurrency`` connections saw for ``seconds``.

    ``rate`` is answers with status 200 a second within the time; ``latencies`` (seconds, ascending) are of all answers
    to requests sent within it, late ones included; ``statuses`` counts answers by status, 0 for a connection that was
    lost or stayed silent for 30 s afterwards; ``client_cpu`` is the share of one processor that the client used.
    """

    concurrency: int
    seconds: float
    rate: float
    latencies: np.ndarray
    statuses: dict[int, int]
    client_cpu: float

    @property
    def errors(self) -> int:
        """Requests that were not answered with status 200."""
        return sum(self.statuses.values()) - self.statuses.get(200, 0)

    def percentile(self, q: float) -> float:
        """Return the latency in seconds below which ``q`` percent of the answers lie; nan without answers."""
        return float(np.percentile(self.latencies, q)) if len(self.latencies) else float("nan")


def measure(host: str, port: int, requests: Sequence[bytes], concurrency: int, seconds: float) -> Load:
    """Send ``requests`` in turn, again and again, over ``concurrency`` keep-alive connections for ``seconds``.

    Raises ``OSError`` when the server cannot be reached.
    """
    spawn = multiprocessing.get_context("spawn")  # nothing of this process' state, such as threads, comes along
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(_run, host, port, list(requests), concurrency, seconds).result()


def _run(host: str, port: int, requests: list[bytes], concurrency: int, seconds: float) -> Load:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_drive(host, port, requests, concurrency, seconds))


async def _drive(host: str, port: int, requests: list[bytes], concurrency: int, seconds: float) -> Load:
    loop = asyncio.get_running_loop()
    shared = _Shared(itertools.cycle(requests))
    connections = [
        (await loop.create_connection(lambda: _Connection(shared), host, port))[1] for _ in range(concurrency)
    ]
    gc.collect()
    gc.freeze()
    gc.disable()  # a collection here would be seen as a slow server
    cpu = time.process_time()
    begin = time.perf_counter()
    shared.end = begin + seconds
    for connection in connections:
        connection.send()
    await asyncio.sleep(seconds)
    client_cpu = (time.process_time() - cpu) / seconds
    in_time = shared.in_time
    await asyncio.wait([connection.idle for connection in connections], timeout=GRACE)
    for connection in connections:
        connection.close()
    latencies = np.sort(np.array(shared.latencies))
    return Load(concurrency, seconds, in_time / seconds, latencies, dict(shared.statuses), client_cpu)


class _Shared:
    """What the connections of one run have in common."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self.requests = requests
        self.end = 0.0
        self.in_time = 0
        self.latencies: list[float] = []
        self.statuses: Counter[int] = Counter()


class _Connection(asyncio.Protocol):
    def __init__(self, shared: _Shared) -> None:
        self.shared = shared
        self.idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.parser = httptools.HttpResponseParser(self)
        self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)  # uvloop's own is no subclass

    def send(self) -> None:
        self.sent = time.perf_counter()
        self.transport.write(next(self.shared.requests))

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        shared = self.shared
        status = self.parser.get_status_code()
        shared.statuses[status] += 1
        shared.latencies.append(now - self.sent)
        if now >= shared.end:
            self.idle.set_result(None)
            return
        shared.in_time += status == 200
        self.sent = now
        self.transport.write(next(shared.requests))

    def close(self) -> None:
        if not self.idle.done():
            self._give_up()
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.idle.done():
            self._give_up()

    def _give_up(self) -> None:
        self.shared.statuses[0] += 1
        self.idle.set_result(None)
