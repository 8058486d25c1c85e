"""The command of this room: ``opslab monitor up``."""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_helpers.errors import ParameterError, ServiceError
from mlops_helpers.observe.burnrate import BurnRule, checked, in_time_lapse, scaled_to
from mlops_helpers.observe.objectives import Objective
from mlops_helpers.workspace import workspace

if TYPE_CHECKING:
    from mlops_helpers.observe.source import MetricsSource
    from mlops_helpers.observe.webhook import Page

__all__ = ["monitor", "monitor_arguments"]

_STATES = {1.0: "up", 0.0: "down"}
_START_SECONDS = 30.0
_HERE = Path()

Watched = Sequence[tuple[Objective, tuple[BurnRule, ...]]]


def monitor_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``opslab monitor``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    up = actions.add_parser("up", help="scrape services, evaluate alerts and print pages; end it with Ctrl-C")
    up.add_argument(
        "--target", action="append", default=[], metavar="JOB=HOST:PORT", help="its /metrics is scraped; repeatable"
    )
    up.add_argument(
        "--platform",
        nargs="?",
        type=Path,
        const=_HERE,
        metavar="FOLDER",
        help="scrape the services of the platform that runs there (default: platform in the workspace)",
    )
    up.add_argument("--engine", choices=("prometheus", "embedded"), default="prometheus", help="(default: %(default)s)")
    up.add_argument("--slo", action="append", default=[], type=Path, metavar="FILE", help="objectives (OpenSLO)")
    up.add_argument("--rules", action="append", default=[], type=Path, metavar="FILE", help="rules of Prometheus")
    up.add_argument("--time-lapse", type=float, default=1.0, help="divide the objectives' windows by this")
    up.add_argument("--interval", type=float, default=1.0, help="seconds between two scrapes (default: %(default)s)")
    up.add_argument("--port", type=int, default=0, help="port of Prometheus (default: a free one)")
    up.add_argument("--alertmanager-port", type=int, default=0, help="port of Alertmanager (default: a free one)")
    up.set_defaults(act=_up)


def monitor(args: argparse.Namespace) -> int:
    """Do what ``args.action`` says."""
    return int(args.act(args))


def _up(args: argparse.Namespace) -> int:
    targets = _targets(args.target)
    if args.platform is not None:
        targets |= _platform(workspace("platform") if args.platform is _HERE else args.platform)
    if not targets:
        raise ParameterError("there is nothing to scrape; next: --target filter=127.0.0.1:8080, or --platform")
    if args.rules and args.engine == "embedded":
        raise ParameterError("--rules are for --engine prometheus; the embedded engine takes objectives: --slo FILE")
    watched = _watched(args.slo, args.time_lapse, args.interval)
    if args.engine == "embedded":
        _embedded(args, targets, watched)
    else:
        _prometheus(args, targets, watched)
    return 0


def _targets(given: Sequence[str]) -> dict[str, list[str]]:
    targets: dict[str, list[str]] = {}
    for one in given:
        job, equals, address = one.partition("=")
        if not (job and equals and address):
            raise ParameterError(f"--target {one}; accepted: JOB=HOST:PORT, for example --target filter=127.0.0.1:8080")
        targets.setdefault(job, []).append(address)
    return targets


def _platform(folder: Path) -> dict[str, list[str]]:
    """Return the services of ``opslab platform up`` by kind (blog, gateway, filter), as it publishes them."""
    import psutil

    targets: dict[str, list[str]] = {}
    try:
        record = json.loads((folder / "platform.json").read_text("utf-8"))
        for service in record["services"]:
            targets.setdefault(service["name"].partition("-")[0], []).append(service["address"])
        running = psutil.pid_exists(record["supervisor"]["pid"])
    except (OSError, ValueError, LookupError, TypeError):
        running = False
    if not running:
        raise ServiceError(f"no platform runs in {folder}. Next: opslab platform up --detach")
    return targets


def _watched(paths: Sequence[Path], time_lapse: float, interval: float) -> Watched:
    """Return the objectives of OpenSLO files with their burn-rate rules, the workbook's where a file has none."""
    if not paths:
        return []
    from mlops_helpers.observe.openslo import from_openslo

    watched = []
    for path in paths:
        try:
            objectives, rules = from_openslo(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ParameterError(f"--slo {path} cannot be read: {error}. Next: name a file of objectives") from error
        for one in objectives:
            objective, own = in_time_lapse(one, rules[one.name] or scaled_to(one.period), time_lapse)
            watched.append((objective, checked(objective, own, step=interval)))
    return watched


def _prometheus(args: argparse.Namespace, targets: dict[str, list[str]], watched: Watched) -> None:
    from mlops_helpers.observe.monitor import Monitor
    from mlops_helpers.observe.prometheus import Prometheus
    from mlops_helpers.observe.receiver import Receiver

    rules = [*args.rules]
    if watched:
        from mlops_helpers.observe.export_rules import prometheus_rules

        own = {objective.name: rules for objective, rules in watched}
        rules.append(prometheus_rules([objective for objective, _ in watched], own, interval=args.interval))
    ports = {"port": args.port, "alertmanager_port": args.alertmanager_port}
    with (
        Receiver(notify=_print_pages) as receiver,
        Monitor(targets, rules, alert_receiver=receiver.url, scrape_interval=args.interval, **ports) as real,
    ):
        print(f"Prometheus:    {real.prometheus_url}\nAlertmanager:  {real.alertmanager_url}", flush=True)
        real.wait_scraped(_START_SECONDS)
        _watch(Prometheus(real.prometheus_url), args.interval, real.require_running)


def _embedded(args: argparse.Namespace, targets: dict[str, list[str]], watched: Watched) -> None:
    from mlops_helpers.observe.paging import Alerts
    from mlops_helpers.observe.scraper import Scraper
    from mlops_helpers.observe.store import Store

    longest = max((rule.long for _, rules in watched for rule in rules), default=0.0)
    store = Store(retention=max(600.0, 1.1 * longest))
    alerts = Alerts(store, watched, notify=_print_pages)

    def evaluate() -> None:
        alerts.evaluate()
        while alerts.transitions:
            at, objective, rule, _, state = alerts.transitions.popleft()
            _say(at, f"{objective}, {rule}: {state}")

    with Scraper(store, targets, interval=args.interval) as scraper:
        scraper.wait_for(1, within=_START_SECONDS)
        _watch(store, args.interval, evaluate)


def _watch(source: "MetricsSource", interval: float, step: Callable[[], None]) -> None:
    """Say which targets are up, now and when that changes; ends with an interrupt."""
    print("Pages appear below; Ctrl-C ends it.", flush=True)
    before: dict[tuple[str, str], str] = {}
    while True:
        for row in source.targets().itertuples():
            state = _STATES.get(row.up, "not asked yet")
            if before.get((row.job, row.instance)) != state:
                before[row.job, row.instance] = state
                _say(time.time(), f"{row.job} {row.instance} is {state}" + (f": {row.error}" if row.error else ""))
        step()
        time.sleep(interval)


def _print_pages(pages: "list[Page]") -> None:
    for page in pages:
        _say(time.time(), f"PAGE {page.alert} is {page.status}: {page.annotations.get('summary', '')}")


def _say(at: float, text: str) -> None:
    print(time.strftime("%H:%M:%S", time.localtime(at)), text, flush=True)
