"""What watching costs: ten targets scraped and three objectives evaluated every second, in processor time."""

import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from benchmarks.harness import Figure

__all__ = ["cost"]

TARGETS = 10
SERIES = 100
SECONDS = 30


def cost() -> Iterator[Figure]:
    """Measure in a process of its own; the targets are processes apart. Return the share of one processor."""
    served = [
        subprocess.Popen([sys.executable, "-m", "benchmarks.observing.cost", "serve"], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True)
        for _ in range(TARGETS)
    ]  # fmt: skip
    try:
        addresses = [one.stdout.readline().strip() for one in served if one.stdout]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.observing.cost", *addresses],
            capture_output=True,
            text=True,
            check=True,
            timeout=SECONDS + 120,
        )
    finally:
        for one in served:
            one.kill()
            one.communicate()
    seen = json.loads(done.stdout)
    said = f"{TARGETS} targets of {seen['series'] / TARGETS:.0f} series at 1 s, 3 objectives with 3 rules, {SECONDS} s"
    yield Figure("scrape and evaluate: share of a processor", 100 * seen["cpu"] / seen["wall"], "%", "<= 2", said)
    yield Figure("a scrape with its evaluation", 1e3 * seen["cpu"] / seen["scrapes"], "ms", "", "processor time")
    yield Figure("scrapes that failed", seen["failed"], "count", "<= 0", f"of {seen['scrapes']}")
    yield Figure("alert states unknown at the end", seen["unknown"], "count", "<= 0", "of 9")


def _serve() -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            now = time.time()
            lines = ["# TYPE requests counter"] + [
                f'requests_total{{handler="/{n}",code="{200 if n % 10 else 500}"}} {now * (n % 7 + 1):.0f}'
                for n in range(SERIES)
            ]
            body = ("\n".join(lines) + "\n").encode()
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


def _watch(addresses: list[str]) -> dict[str, float]:
    from mlops_helpers.observe.burnrate import WORKBOOK, in_time_lapse
    from mlops_helpers.observe.objectives import Indicator, Objective
    from mlops_helpers.observe.paging import Alerts
    from mlops_helpers.observe.scraper import Scraper
    from mlops_helpers.observe.store import Store

    store = Store()
    watched = []
    for name, bad in (("errors", 'code="500"'), ("some", 'handler=~"/1.*"'), ("one", 'handler="/7"')):
        counter = Indicator.of_counters("availability", "requests_total", bad=f"requests_total{{{bad}}}")
        watched.append(in_time_lapse(Objective(name, 0.95, counter), WORKBOOK, 60))
    alerts = Alerts(store, watched)
    with Scraper(store, {"service": addresses}, interval=1.0) as scraper:
        scraper.wait_for(8, within=30)
        alerts.evaluate()
        cpu, wall = time.process_time(), time.perf_counter()
        states = alerts.evaluate()
        for second in range(1, SECONDS + 1):
            time.sleep(max(0.0, wall + second - time.perf_counter()))
            states = alerts.evaluate()
        used, took = time.process_time() - cpu, time.perf_counter() - wall
    targets = store.targets()
    return {
        "cpu": used,
        "wall": took,
        "scrapes": math.floor(took) * len(addresses),
        "series": SERIES * len(addresses),
        "failed": int((targets["up"] != 1).sum()),
        "unknown": int((states["state"] == "unknown").sum()),
    }


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve()
    else:
        print(json.dumps(_watch(sys.argv[1:])))
