"""The filter beside its peers: rates and latencies of every server in turn, round after round, on one model.

All servers run from the beginning to the end and idle while another is measured; each round visits each of them at
each concurrency, so that a slow minute of the machine hits all alike. Ratios are formed within a round.
"""

import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from benchmarks.harness import Figure, ratios
from benchmarks.load import Load, measure
from benchmarks.peers.catalog import PEERS
from benchmarks.peers.server import HOST, Peer, Running, post
from benchmarks.peers.workload import Workload, prepare
from mlops_helpers.model import artifact

__all__ = ["speed"]

CONCURRENCY = (1, 8, 64)
ROUNDS = 5
SECONDS = 2.5
STARTS = 9
REAL_PEERS = ("mlflow-serve", "mlserver-eager", "mlserver-patient", "fastapi-def")


@dataclass(frozen=True)
class _Round:
    """One visit to everybody: loads by server and concurrency, and what one processor does in this process."""

    loads: Mapping[str, Mapping[int, Load]]
    sklearn_seconds: float  # median of one call for one comment
    scorer_rate: float  # comments a second

    def best_peer(self, concurrency: int) -> float:
        return max(self.loads[name][concurrency].rate for name in REAL_PEERS)


def _ours(name: str, exported: artifact.Artifact, folder: Path, durability: str) -> Peer:
    def command(port: int) -> list[str]:
        arguments = [str(exported.folder), "--sha256", exported.sha256, "--port", str(port), "--durability", durability]
        return [sys.executable, "-m", "mlops_helpers.cli", "serve", *arguments, "--folder", str(folder / name)]

    def request(text: str) -> bytes:
        return post("/v1/classify", {"id": f"c-{abs(hash(text))}", "text": text})

    return Peer(name, command, request, lambda body: float(orjson.loads(body)["score"]))


@contextmanager
def _gateway(filter_: Running, folder: Path, workload: Workload) -> Iterator[Running]:
    def command(port: int) -> list[str]:
        arguments = [
            "--upstream",
            f"v1={HOST}:{filter_.port}",
            "--port",
            str(port),
            "--folder",
            str(folder / "gateway"),
        ]
        return [sys.executable, "-m", "mlops_helpers.cli", "gateway", *arguments]

    with replace(filter_.peer, name="gateway", command=command).start(workload) as running:
        yield running


def _in_process(workload: Workload, exported: artifact.Artifact) -> tuple[float, float]:
    pipeline, score = workload.model.pipeline, exported.scorer.score
    taken = []
    for text in workload.texts[:200]:
        begin = time.perf_counter()
        pipeline.predict_proba([text])
        taken.append(time.perf_counter() - begin)
    begin = time.perf_counter()
    for text in workload.texts:
        score(text)
    return statistics.median(taken), len(workload.texts) / (time.perf_counter() - begin)


def speed() -> list[Figure]:
    """Measure and return the figures with their goals. Raises when a server answers a wrong score, or an error."""
    workload = prepare()
    with TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch)
        exported = artifact.export(workload.model, folder / "artifact")
        ours = {mode: _ours(f"opslab-{mode}", exported, folder, mode) for mode in ("async", "ack")}
        starts = []
        for _ in range(STARTS):
            with ours["async"].start(workload) as running:
                starts.append(running.seconds_to_answer)
        servers = {peer.name: stack.enter_context(peer.start(workload)) for peer in ours.values()}
        servers["gateway"] = stack.enter_context(_gateway(servers["opslab-async"], folder, workload))
        servers |= {name: stack.enter_context(make(workload).start(workload)) for name, make in PEERS.items()}
        for running in servers.values():
            running.verify(workload)
        _in_process(workload, exported)  # warm
        rounds = [_visit(servers, workload, exported) for _ in range(ROUNDS)]
        memory = {name: running.memory() for name, running in servers.items()}
        return list(_figures(rounds, starts, memory, workload))


def _visit(servers: Mapping[str, Running], workload: Workload, exported: artifact.Artifact) -> _Round:
    loads: dict[str, dict[int, Load]] = {}
    for name, running in servers.items():
        requests = [running.peer.request(text) for text in workload.texts]
        loads[name] = {c: measure(HOST, running.port, requests, c, SECONDS) for c in CONCURRENCY}
        for load in loads[name].values():
            if load.errors:
                raise RuntimeError(f"{name} answered with errors: {load.statuses}. {running.log} says more")
    return _Round(loads, *_in_process(workload, exported))


def _figures(
    rounds: list[_Round], starts: list[float], memory: Mapping[str, int], workload: Workload
) -> Iterator[Figure]:
    def rates(name: str, c: int) -> list[float]:
        return [r.loads[name][c].rate for r in rounds]

    def p99(name: str, c: int) -> list[float]:
        return [r.loads[name][c].percentile(99) for r in rounds]

    def ratio(figure: str, ours: list[float], theirs: list[float], goal: str, what: str) -> Figure:
        value, spread = ratios(ours, theirs)
        return Figure(figure, value, "ratio", goal, f"{what}; {spread}")

    model = f"{workload.features} features, {len(workload.texts)} comments, metrics and log on (async)"
    best = {c: [r.best_peer(c) for r in rounds] for c in CONCURRENCY}
    sklearn, scorer = [r.sklearn_seconds for r in rounds], [r.scorer_rate for r in rounds]
    async_, ack = "opslab-async", "opslab-ack"
    yield ratio("rate over mlflow models serve, c=64", rates(async_, 64), rates("mlflow-serve", 64), ">= 25", model)
    yield ratio("rate over the best peer, c=64", rates(async_, 64), best[64], ">= 6", model)
    yield ratio("p99 over mlflow's, c=64", p99(async_, 64), p99("mlflow-serve", 64), "<= 0.0667", model)
    lost = [1 - a / b for a, b in zip(rates(ack, 64), rates(async_, 64), strict=True)]
    spread = f"of the rate at c=64, record on disk before the answer; {min(lost):.3g} to {max(lost):.3g}"
    yield Figure("what ack costs", statistics.median(lost), "share", "<= 0.25", spread)
    yield ratio("p99 over one scikit-learn call's median, c=1", p99(async_, 1), sklearn, "<= 0.5", model)
    yield ratio("p99 over one scikit-learn call's median, c=1, ack", p99(ack, 1), sklearn, "", "the disk is in it")
    yield ratio("rate over the best peer, c=1", rates(async_, 1), best[1], ">= 7", model)
    yield ratio("rate over the best peer, c=8", rates(async_, 8), best[8], "", model)
    yield ratio("rate over the scorer's own in one process, c=64", rates(async_, 64), scorer, ">= 0.55", model)
    yield ratio("rate over an HTTP echo, c=64", rates(async_, 64), rates("http-echo", 64), "", "echo: reads JSON only")
    many = f"{STARTS} starts, {min(starts):.3g} to {max(starts):.3g}; hashes verified"
    yield Figure("start to first correct answer", statistics.median(starts), "s", "<= 0.4", many)
    for name in REAL_PEERS:
        goal = "<= 0.25" if name == "mlflow-serve" else ""
        value = memory[async_] / memory[name]
        said = f"resident, process tree, after the load; {memory[async_] / 1e6:.0f} over {memory[name] / 1e6:.0f} MB"
        yield Figure(f"memory over {name}'s", value, "ratio", goal, said)
    added = [1000 * (r.loads["gateway"][1].percentile(50) - r.loads[async_][1].percentile(50)) for r in rounds]
    yield Figure("gateway: added to the median, c=1", statistics.median(added), "ms", "", "access log and metrics on")
    yield ratio(
        "gateway: rate over the filter's own, c=64", rates("gateway", 64), rates(async_, 64), "", "two processes"
    )
    for name in rounds[0].loads:
        for c in CONCURRENCY:
            said = f"p50 {_ms(rounds, name, c, 50)}, p99 {_ms(rounds, name, c, 99)} ms; medians of {len(rounds)} rounds"
            yield Figure(f"{name}, c={c}", statistics.median(rates(name, c)), "1/s", "", said)
    yield Figure("one scikit-learn call", 1000 * statistics.median(sklearn), "ms", "", "in one process, one comment")
    yield Figure("scorer", statistics.median(scorer), "1/s", "", "in one process")


def _ms(rounds: list[_Round], name: str, c: int, q: float) -> str:
    return f"{1000 * statistics.median(r.loads[name][c].percentile(q) for r in rounds):.3g}"
