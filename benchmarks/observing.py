"""What watching costs: ten targets scraped and three objectives evaluated each second, in processor time."""

import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack

from prometheus_client import CollectorRegistry, Counter, start_http_server

from benchmarks.measure import Figure
from mlops_helpers.observe.burnrate import WORKBOOK, in_time_lapse
from mlops_helpers.observe.objectives import Indicator, Objective
from mlops_helpers.observe.paging import Alerts
from mlops_helpers.observe.scraper import Scraper
from mlops_helpers.observe.store import Store

TARGETS, SERIES, SECONDS = 10, 100, 20
SPAWN = multiprocessing.get_context("spawn")


def figures() -> Iterator[Figure]:
    """Measure in a process of its own; the targets are in another one."""
    with ExitStack() as stack:
        targets, watcher = (stack.enter_context(ProcessPoolExecutor(1, mp_context=SPAWN)) for _ in range(2))
        yield from watcher.submit(_watch, targets.submit(_serve).result()).result()


def _serve() -> list[str]:
    """Serve counters on many ports in threads of this process; return their addresses."""
    addresses = []
    for _ in range(TARGETS):
        registry = CollectorRegistry()
        requests = Counter("requests", "answered", ["handler", "code"], registry=registry)
        for n in range(SERIES):
            requests.labels(f"/{n}", "200" if n % 10 else "500").inc(n)
        server, _ = start_http_server(0, "127.0.0.1", registry)
        addresses.append(f"127.0.0.1:{server.server_port}")
    return addresses


def _watch(addresses: list[str]) -> list[Figure]:
    store, objectives = Store(), []
    for name, bad in (("errors", 'code="500"'), ("some", 'handler=~"/1.*"'), ("single", 'handler="/7"')):
        counter = Indicator.of_counters("availability", "requests_total", bad=f"requests_total{{{bad}}}")
        objectives.append(in_time_lapse(Objective(name, 0.95, counter), WORKBOOK, 60))
    alerts = Alerts(store, objectives)
    with Scraper(store, {"service": addresses}, interval=1.0) as scraper:
        scraper.wait_for(8, within=60)
        alerts.evaluate()  # the first one imports
        cpu, wall = time.process_time(), time.perf_counter()
        for second in range(1, SECONDS + 1):
            time.sleep(max(0.0, wall + second - time.perf_counter()))
            states = alerts.evaluate()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    failed = int((store.targets()["up"] != 1).sum())
    about = f"{TARGETS} targets of {SERIES} counters each second, {len(states)} alerts, {wall:.0f} s"
    return [
        Figure("scrape and evaluate: share of a processor", 100 * cpu / wall, "%", "<= 5", about),
        Figure("targets that could not be scraped", failed, "", "<= 0", f"of {TARGETS}"),
    ]
