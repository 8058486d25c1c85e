"""The replicas behind the gateway: who is ready, who is ejected, who drains, and whose turn it is.

A replica that does not connect is ejected at once, one that times out or answers 5xx after three in a row (503 is
shedding: healthy, but busy). Every replica's /readyz is asked four times a second: two misses eject, one yes
re-admits. A replica that says yes there and fails its requests all the same is re-admitted later each time.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

from mlops_helpers.serve.client import Pool, Reply, RequestFailed, encode_request
from mlops_helpers.serve.routing import split_address

__all__ = ["Replica", "State", "Upstreams"]

State = Literal["ready", "draining", "ejected"]
CountFailure = Callable[[str, str], None]  # of a version, for a reason

PROBE_SECONDS = 0.25
_PROBE_TIMEOUT = 0.5
_FAILURES = 3  # requests in a row that time out or are answered with 5xx
_MISSES = 2  # probes in a row
_LONGEST_EJECTION = 8.0  # seconds that a working /readyz is not believed
_READYZ = encode_request("GET", "/readyz")


class Replica:
    """One process of a version. ``state`` is ``ejected`` until a probe says otherwise."""

    def __init__(self, version: str, address: str, connections: int, failed: CountFailure) -> None:
        host, port = split_address(address)
        self.version, self.address = version, address
        self.state: State = "ejected"
        self.under_way = 0
        self.last_turn = 0
        self.failed_at = 0.0
        self._pool = Pool(host, port, size=connections)
        self._probes = Pool(host, port, size=1)  # a probe must not wait behind requests
        self._count = failed
        self._failures = self._misses = self._ejections = 0
        self._not_before = 0.0
        self._retired = False

    async def ask(self, request: bytes, timeout: float) -> Reply:
        """Send a request; what comes of it is remembered. ``timeout`` in seconds. Raises ``RequestFailed``."""
        self.under_way += 1
        try:
            reply = await self._pool.send(request, timeout)
        except RequestFailed as failure:
            self._failed(failure.reason, at_once=failure.reason in ("refused", "reset"))
            raise
        finally:
            self.under_way -= 1
            if self._retired and not self.under_way:
                self._pool.close()
        if reply.status == 503:
            self._count(self.version, "shed")
        elif reply.status >= 500:
            self._failed("status")
        else:
            self._failures = self._ejections = 0
        return reply

    def _failed(self, reason: str, at_once: bool = False) -> None:
        self._count(self.version, reason)
        self._failures += 1
        self.failed_at = time.monotonic()
        if self.state != "ejected" and (at_once or self._failures >= _FAILURES):
            self.state = "ejected"
            wait = min(PROBE_SECONDS * 2**self._ejections, _LONGEST_EJECTION) if self._ejections else 0.0
            self._not_before = self.failed_at + wait
            self._ejections += 1

    async def probe(self) -> None:
        """Ask for /readyz once, and judge the answer."""
        try:
            status = (await self._probes.send(_READYZ, _PROBE_TIMEOUT)).status
        except RequestFailed:
            status = 0
        if status == 200:
            self._misses = 0
            if self.state != "ready" and time.monotonic() >= self._not_before:
                self.state, self._failures = "ready", 0
        elif status == 503:
            self._misses, self.state = 0, "draining"
        else:
            self._misses += 1
            self.failed_at = time.monotonic()
            if self._misses >= _MISSES:
                self.state = "ejected"

    async def watch(self) -> None:
        """Probe for ever."""
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            await self.probe()

    def retire(self) -> None:
        """Close the connections, once what is under way is finished. It must get nothing new."""
        self.state, self._retired = "draining", True
        self._probes.close()
        if not self.under_way:
            self._pool.close()

    def close(self) -> None:
        """Close the connections at once; what is under way fails."""
        self._probes.close()
        self._pool.close()


class Upstreams:
    """All replicas, by version. ``connections`` bounds those to one replica; ``failed`` counts failures."""

    def __init__(self, connections: int, failed: CountFailure) -> None:
        self._connections, self._failed = connections, failed
        self._replicas: dict[str, dict[str, Replica]] = {}
        self._watches: dict[Replica, asyncio.Task[None]] = {}
        self._retired: list[Replica] = []
        self._turn = 0

    def __iter__(self) -> Iterator[Replica]:
        """Yield every replica, those included that were removed and still have requests under way."""
        self._retired = [replica for replica in self._retired if replica.under_way]
        for replicas in self._replicas.values():
            yield from replicas.values()
        yield from self._retired

    async def change(self, wanted: Mapping[str, Sequence[str]]) -> None:
        """Make these the replicas. New ones are probed first, so that no request goes where nothing is yet.

        Those that are removed get no further request, finish what is under way, and are closed.
        """
        before, fresh = self._replicas, []
        after: dict[str, dict[str, Replica]] = {}
        for version, addresses in wanted.items():
            kept = before.get(version, {})
            after[version] = {}
            for address in addresses:
                replica = kept.get(address)
                if replica is None:
                    replica = Replica(version, address, self._connections, self._failed)
                    fresh.append(replica)
                after[version][address] = replica
        await asyncio.gather(*(replica.probe() for replica in fresh))
        self._replicas = after
        for replica in fresh:
            self._watches[replica] = asyncio.create_task(replica.watch())
        for version, replicas in before.items():
            for address, replica in replicas.items():
                if address not in after.get(version, {}):
                    self._watches.pop(replica).cancel()
                    replica.retire()
                    self._retired.append(replica)

    def ready(self, version: str, other_than: Replica | None = None) -> Replica | None:
        """Return the ready replica with the fewest requests under way; of equals, the one whose turn it is."""
        best, least = None, (0, 0)
        for replica in self._replicas.get(version, {}).values():
            if replica.state == "ready" and replica is not other_than:
                rank = (replica.under_way, replica.last_turn)
                if best is None or rank < least:
                    best, least = replica, rank
        if best is not None:
            self._turn += 1
            best.last_turn = self._turn
        return best

    def last_resort(self, version: str, other_than: Replica | None = None) -> Replica | None:
        """Return the replica whose last failure is longest ago, whatever its state: probes may be wrong."""
        candidates = [r for r in self._replicas.get(version, {}).values() if r is not other_than]
        return min(candidates, key=lambda replica: replica.failed_at, default=None)

    async def close(self) -> None:
        """End all probes and close all connections."""
        for watch in self._watches.values():
            watch.cancel()
        await asyncio.gather(*self._watches.values(), return_exceptions=True)
        for replica in self:
            replica.close()
        self._watches.clear()
