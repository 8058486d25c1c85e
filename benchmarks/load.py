"""A closed-loop HTTP client in a process of its own: each connection sends a request when its last one is answered."""

import asyncio
import gc
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import numpy as np
import uvloop


class Load(NamedTuple):
    """Answers a second; percentiles of their latency in seconds; the share of a processor that the client used."""

    rate: float
    p50: float
    p99: float
    client_cpu: float


def measure(host: str, port: int, requests: Sequence[bytes], concurrency: int, seconds: float) -> Load:
    """Send each request once at most, over ``concurrency`` connections, for ``seconds`` or until all are sent.

    Raises ``OSError`` when the server is away, ``RuntimeError`` when an answer is not 200.
    """
    spawn = multiprocessing.get_context("spawn")  # nothing of this process' state, such as threads, comes along
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(_run, host, port, list(requests), concurrency, seconds).result()


def _run(host: str, port: int, requests: list[bytes], concurrency: int, seconds: float) -> Load:
    gc.disable()  # a collection here would be seen as a slow server
    latencies: list[float] = []

    async def connection(end: float) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        while requests and time.perf_counter() < end:
            sent = time.perf_counter()
            writer.write(requests.pop())
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if not head.startswith(b"http/1.1 200 "):
                raise RuntimeError(f"port {port} answered {head[:100]!r}")
            await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
            latencies.append(time.perf_counter() - sent)
        writer.close()

    async def drive() -> Load:
        began, cpu = time.perf_counter(), time.process_time()
        async with asyncio.timeout(seconds + 60):
            await asyncio.gather(*(connection(began + seconds) for _ in range(concurrency)))
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        p50, p99 = np.percentile(latencies, [50, 99])
        return Load(len(latencies) / took, float(p50), float(p99), cpu / took)

    return uvloop.run(drive())
