"""How often one client may do something, and which address a client has behind proxies."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address, ip_address, ip_network

from starlette.requests import Request

from mlops_helpers.errors import ParameterError

__all__ = ["ClientAddresses", "RateLimit"]


class RateLimit:
    """A token bucket for each client: ``per_minute`` at once, and as many in each minute after.

    Of at most ``clients`` buckets the longest unused is forgotten first: memory is bounded whoever comes.
    """

    def __init__(
        self, per_minute: float, *, clients: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not per_minute > 0:
            raise ParameterError(f"the rate is {per_minute} a minute; accepted: above 0")
        self._most, self._clients, self._clock = max(1.0, per_minute), clients, clock
        self._per_second = per_minute / 60
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens left, at which time

    def take(self, client: str) -> float:
        """Take a token; return 0, or in how many seconds there will be one."""
        now = self._clock()
        left, since = self._buckets.pop(client, (self._most, now))
        left = min(self._most, left + (now - since) * self._per_second)
        granted = left >= 1
        self._buckets[client] = (left - granted, now)
        if len(self._buckets) > self._clients:
            self._buckets.popitem(last=False)
        return 0.0 if granted else (1 - left) / self._per_second


class ClientAddresses:
    """Tells clients apart. ``x-forwarded-for`` is believed only as far as trusted proxies (addresses, networks) say it.

    Raises ``ParameterError`` for what is no address.
    """

    def __init__(self, trusted_proxies: Sequence[str] = ()) -> None:
        try:
            self._trusted = [ip_network(proxy) for proxy in trusted_proxies]
        except ValueError as error:
            raise ParameterError(f"trusted_proxies: {error}; accepted: 10.0.0.7, 10.0.0.0/24") from None

    def of(self, request: Request) -> str:
        """Return the client's address; of IPv6 the network of 64 bits that one client owns."""
        peer = request.client.host if request.client else ""
        chain = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
        while chain and self._trusts(peer):
            step = chain.pop().strip()
            if not _is_address(step):
                break
            peer = step
        if not _is_address(peer):
            return peer
        address = ip_address(peer)
        if isinstance(address, IPv6Address):
            return str(address.ipv4_mapped or ip_network((int(address) >> 64 << 64, 64)))
        return peer

    def _trusts(self, peer: str) -> bool:
        return _is_address(peer) and any(ip_address(peer) in network for network in self._trusted)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
