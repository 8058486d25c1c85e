"""How the gateway gets one answer: a replica, at most one retry on another, a version in place of one that is away.

In this order: a ready replica of the version; if it has none, one of the heaviest other version that has a weight (a
reader is better off with the champion's answer than with none; counted in ``gateway_failovers_total``, so that a
canary is not judged by it unseen); if there is none either, the replica of the version whose last failure is longest
ago, because probes may be wrong. Shadow copies wait in a queue of their own and are dropped when it is full.
"""

import asyncio
import contextlib
import time
from typing import NamedTuple

from mlops_helpers.serve.client import Reply, RequestFailed
from mlops_helpers.serve.gateway_metrics import GatewayMetrics
from mlops_helpers.serve.routing import RoutingTable
from mlops_helpers.serve.upstreams import Replica, Upstreams

__all__ = ["Answer", "Forwarder", "RetryBudget", "ShadowCopies"]

_RETRY_SHARE = 0.2
_SHADOW_REQUESTS, _SHADOW_BYTES, _SHADOW_SENDERS = 512, 16_000_000, 16


class Answer(NamedTuple):
    """What came of a request: the reply (None when nobody answered), who gave it, in how many tries."""

    reply: Reply | None
    version: str
    replica: str | None
    tries: int


class RetryBudget:
    """Retries are at most a fifth of the requests, so that they cannot make an outage worse, and a burst.

    ``burst`` is what may be under way at once: a replica that is killed takes all of it with it, and all is retried.
    """

    def __init__(self, burst: int) -> None:
        self._burst = self._left = float(burst)

    def earn(self) -> None:
        """Note a request."""
        self._left = min(self._burst, self._left + _RETRY_SHARE)

    def spend(self) -> bool:
        """Take one retry; False when there is none left."""
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Forwarder:
    """Asks versions. ``timeout`` bounds each try and ``total`` all tries of a request, in seconds."""

    def __init__(
        self,
        table: RoutingTable,
        upstreams: Upstreams,
        metrics: GatewayMetrics,
        *,
        timeout: float,
        total: float,
        burst: int,
    ) -> None:
        self.table = table  # may be exchanged at any time; upstreams must have its replicas
        self._upstreams, self._metrics = upstreams, metrics
        self._timeout, self._total = timeout, total
        self._budget = RetryBudget(burst)

    async def ask(self, version: str, request: bytes) -> Answer:
        """Get a version's answer, or another version's in its place; None as reply when nobody gave one."""
        began = time.perf_counter()
        self._budget.earn()
        replica, tried, tries, reply, reason = self._next(version, None), None, 0, None, ""
        while replica is not None:
            if replica.version != version:
                self._metrics.failed_over(version, replica.version)
            tried, tries = replica, tries + 1
            left = self._total - (time.perf_counter() - began)
            try:
                reply = await replica.ask(request, min(self._timeout, left))
                reason = "" if reply.status < 500 else "shed" if reply.status == 503 else "status"
            except RequestFailed as failure:
                reply, reason = None, failure.reason
            if not reason or tries == 2 or time.perf_counter() - began >= self._total:
                break
            replica = self._next(version, replica, reason)
            if replica is not None and not self._budget.spend():
                break
            if replica is not None:
                self._metrics.retried()
        served = tried.version if tried else version
        self._metrics.answered(served, reply.status if reply else 503, time.perf_counter() - began)
        return Answer(reply, served, tried.address if tried else None, tries)

    def _next(self, version: str, tried: Replica | None, reason: str = "") -> Replica | None:
        upstreams = self._upstreams
        replica = upstreams.ready(version, tried)
        if replica is not None or reason == "shed":  # busy is not away: what one version sheds, no other has to carry
            return replica
        for other in self.table.heaviest_first():
            if other != version and (replica := upstreams.ready(other, tried)) is not None:
                return replica
        # A process that was killed and started again behind the same listening socket answers at the second try.
        return upstreams.last_resort(version, None if reason == "reset" else tried)


class ShadowCopies:
    """Sends copies whose answers nobody waits for: never in the way of an answer, never retried."""

    def __init__(self, upstreams: Upstreams, metrics: GatewayMetrics, timeout: float) -> None:
        self._upstreams, self._metrics, self._timeout = upstreams, metrics, timeout
        self._queue: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(_SHADOW_REQUESTS)
        self._bytes = 0
        self._senders: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to send."""
        self._senders = [asyncio.create_task(self._send()) for _ in range(_SHADOW_SENDERS)]

    def add(self, version: str, request: bytes) -> None:
        """Take a copy, or drop and count it when too many wait."""
        if self._queue.full() or self._bytes + len(request) > _SHADOW_BYTES:
            self._metrics.shadow(version, "dropped")
            return
        self._bytes += len(request)
        self._queue.put_nowait((version, request))

    async def _send(self) -> None:
        while True:
            version, request = await self._queue.get()
            self._bytes -= len(request)
            outcome, replica = "error", self._upstreams.ready(version)
            if replica is not None:
                with contextlib.suppress(RequestFailed):
                    outcome = "ok" if (await replica.ask(request, self._timeout)).status == 200 else "error"
            self._metrics.shadow(version, outcome)

    async def stop(self) -> None:
        """Drop what waits."""
        for sender in self._senders:
            sender.cancel()
        await asyncio.gather(*self._senders, return_exceptions=True)
