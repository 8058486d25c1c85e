"""What the gateway counts, by version: answers, failed tries, retries, failovers, shadow copies, replicas."""

from collections.abc import Callable, Iterator
from typing import Protocol, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mlops_helpers.serve.asgi import LATENCY_BUCKETS
from mlops_helpers.serve.routing import RoutingTable
from mlops_helpers.serve.upstreams import State, Upstreams

__all__ = ["GatewayMetrics", "Seen"]


class Seen(Protocol):
    """What is read when somebody asks for the metrics: never stale, and free for requests."""

    upstreams: Upstreams

    @property
    def table(self) -> RoutingTable:
        """Who gets what now."""

    @property
    def unlogged(self) -> int:
        """Count of access records that were lost."""


class GatewayMetrics(Collector):
    """The counters are methods that take label values; the gauges vanish with their version."""

    def __init__(self, registry: CollectorRegistry, gateway: Seen) -> None:
        def counter(name: str, text: str, *labels: str) -> Callable[..., None]:
            metric = Counter(name, text, labels, registry=registry)
            children: dict[tuple[str, ...], Counter] = {}

            def count(*values: str, by: float = 1) -> None:
                child = children.get(values)
                if child is None:  # finding a child by its labels costs more than counting
                    child = children[values] = metric.labels(*values) if values else metric
                child.inc(by)

            return count

        self.requests = counter("gateway_requests", "Answers; 503 when none came.", "version", "code")
        self.failed = counter("gateway_upstream_failures", "Tries without a good answer.", "version", "reason")
        self.failed_over = counter("gateway_failovers", "Tries with another version.", "from_version", "to_version")
        self.shadow = counter("gateway_shadow", "Shadow copies: ok, error, dropped.", "version", "outcome")
        self.retried = counter("gateway_retries", "Second tries.")
        self._seconds = Histogram(
            "gateway_request_duration_seconds",
            "Time until a version's answer, retries included.",
            ["version"],
            registry=registry,
            buckets=LATENCY_BUCKETS,
        )
        self._observe: dict[str, Callable[[float], None]] = {}
        self._gateway = gateway
        registry.register(self)

    def answered(self, version: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self.requests(version, str(status))
        observe = self._observe.get(version)
        if observe is None:
            self.requests(version, "503", by=0)  # a series that begins with its first event hides that event
            observe = self._observe[version] = self._seconds.labels(version).observe
        observe(seconds)

    def describe(self) -> list[Metric]:
        """Return the metrics that are read, without values."""
        return [
            GaugeMetricFamily("gateway_weight", "Share of the answers.", labels=["version"]),
            GaugeMetricFamily("gateway_replicas", "Replicas by state.", labels=["version", "state"]),
            CounterMetricFamily("gateway_access_log_lost", "Access records that were lost."),
        ]

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics that are read."""
        weights, replicas, lost = self.describe()
        states = [(replica.version, replica.state) for replica in self._gateway.upstreams]
        for version, weight in self._gateway.table.weights.items():
            weights.add_metric([version], weight)  # type: ignore[attr-defined]
            for state in get_args(State):
                replicas.add_metric([version, state], states.count((version, state)))  # type: ignore[attr-defined]
        lost.add_metric([], self._gateway.unlogged)  # type: ignore[attr-defined]
        yield from (weights, replicas, lost)
