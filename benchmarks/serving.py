"""The filter beside its peers: every server in turn, round after round, on one model and comments never sent before.

All servers run from the beginning to the end and idle while another is measured, so that a slow minute of the machine
hits all alike. Ratios are formed within a round.
"""

import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.load import Load, measure
from benchmarks.measure import Figure, median, ratio
from benchmarks.peers import HOST, Peer, Workload, application, gateway, mlflow_serve, mlserver, opslab

CONCURRENCY = (1, 64)
ROUNDS, SECONDS = 3, 2.0
OURS, ACK, GATEWAY, MLFLOW = "opslab serve, async", "opslab serve, ack", "opslab gateway", "mlflow models serve"
LAYER, PIPELINE, ECHO = (f"plain Starlette + {what}" for what in ("our scorer", "the pipeline", "nothing"))
Visits = dict[tuple[str, int], list[Load]]  # a load for each round, by server and concurrency


def figures() -> Iterator[Figure]:
    """Measure rates, latencies, starts and memory."""
    workload = Workload()
    peers = {
        MLFLOW: partial(mlflow_serve, workload),
        "MLServer, for one connection": partial(mlserver, workload, 0.0001),
        "MLServer, for many": partial(mlserver, workload, 0.02),
        PIPELINE: partial(application, PIPELINE, "pipeline"),
        LAYER: partial(application, LAYER, "scorer"),
        ECHO: partial(application, ECHO, "echo"),
    }
    with TemporaryDirectory() as scratch, ExitStack() as stack:
        mine = [opslab(workload, Path(scratch), durability) for durability in ("async", "ack")]
        servers = [stack.enter_context(peer.running(workload)) for peer in mine]
        servers.append(stack.enter_context(gateway(servers[0], Path(scratch)).running(workload)))
        for name, make in peers.items():
            try:
                servers.append(stack.enter_context(make().running(workload)))
            except RuntimeError as error:
                yield Figure(name, None, "1/s", "", str(error))
        visits: Visits = {(server.name, c): [] for server in servers for c in CONCURRENCY}
        for number in range(ROUNDS):
            _visit(number, servers, workload, visits)
        yield from _ratios(visits)
        memory = {server.name: server.megabytes() for server in servers}
        if MLFLOW in memory:
            yield Figure("resident memory / mlflow's", memory[OURS] / memory[MLFLOW], "ratio", "<= 0.25")
        for server in servers:
            for c in CONCURRENCY:
                loads = visits[server.name, c]
                p50, p99, cpu = (statistics.median(values) for values in list(zip(*loads, strict=True))[1:])
                about = f"p50 {1e3 * p50:.3g} ms, p99 {1e3 * p99:.3g} ms; client uses {100 * cpu:.0f} % of a processor"
                about += f"; start {server.seconds:.2f} s, {memory[server.name]:.0f} MB"
                yield median(f"{server.name}, c={c}", [load.rate for load in loads], "1/s", "", about)


def _visit(number: int, servers: list[Peer], workload: Workload, visits: Visits) -> None:
    """Send each server comments that it has not seen."""
    size = (len(workload.texts) - 256) // (ROUNDS * len(CONCURRENCY))
    for place, concurrency in enumerate(CONCURRENCY, number * len(CONCURRENCY)):
        texts = workload.texts[place * size : (place + 1) * size]
        for server in servers:
            requests = [server.request(text) for text in texts]
            visits[server.name, concurrency].append(measure(HOST, server.port, requests, concurrency, SECONDS))


def _ratios(visits: Visits) -> Iterator[Figure]:
    def rates(name: str, c: int = 64) -> list[float]:
        return [load.rate for load in visits[name, c]]

    real = {name for name, _ in visits if name.startswith(("mlflow", "MLServer", PIPELINE))}
    for c in CONCURRENCY:
        best = [max(each) for each in zip(*(rates(name, c) for name in real), strict=True)]
        yield ratio(f"rate / the best peer's, c={c}", rates(OURS, c), best, ">= 3", "of each round", "1/s")
    if MLFLOW in real:
        yield ratio("rate / mlflow's, c=64", rates(OURS), rates(MLFLOW), ">= 10", "", "1/s")
    about = "what log, metrics, limits and our own server layer cost or earn"
    yield ratio(f"rate / {LAYER}'s, c=64", rates(OURS), rates(LAYER), "", about, "1/s")
    yield ratio(f"rate / {ECHO}'s, c=64", rates(OURS), rates(ECHO), "", "what HTTP and JSON leave", "1/s")
    about = "the record is on disk before the answer"
    yield ratio("rate with ack / with async, c=64", rates(ACK), rates(OURS), ">= 0.6", about, "1/s")
    yield ratio("gateway: rate / the filter's own, c=64", rates(GATEWAY), rates(OURS), "", "", "1/s")
    added = [1e3 * (a.p50 - b.p50) for a, b in zip(visits[GATEWAY, 1], visits[OURS, 1], strict=True)]
    yield median("gateway: added to the median, c=1", added, "ms", "", "access log and metrics on")
