"""``python -m benchmarks.peers [NAME ...]``: start every peer in turn and print what it reaches."""

import sys

from benchmarks.load import measure
from benchmarks.peers import workload
from benchmarks.peers.catalog import PEERS
from benchmarks.peers.server import HOST

__all__ = ["main"]

WARM_UP = 1.0
SECONDS = 5.0
HEADINGS = ("peer", "c", "rate /s", "p50 ms", "p99 ms", "errors", "client CPU", "start s", "MB")


def main(names: list[str]) -> None:
    """Measure the named peers, or all, one after the other."""
    work = workload.prepare()
    print(f"{work.features} features, {len(work.texts)} comments")
    row = "{:16} {:>3} {:>8} {:>8} {:>8} {:>6} {:>10} {:>7} {:>5}"
    print(row.format(*HEADINGS))
    for name in names or PEERS:
        peer = PEERS[name](work)
        requests = [peer.request(text) for text in work.texts]
        with peer.start(work) as running:
            running.verify(work)
            for concurrency in (1, 8, 64):
                measure(HOST, running.port, requests, concurrency, WARM_UP)
                load = measure(HOST, running.port, requests, concurrency, SECONDS)
                times = [f"{1000 * load.percentile(q):.2f}" for q in (50, 99)]
                state = [f"{load.client_cpu:.2f}", f"{running.seconds_to_answer:.2f}", running.memory() // 10**6]
                print(row.format(name, concurrency, round(load.rate), *times, load.errors, *state), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
