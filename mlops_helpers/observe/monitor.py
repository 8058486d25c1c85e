"""A real Prometheus and Alertmanager beside the services, for as long as somebody looks; they leave no trace.

Prometheus takes up targets and Alertmanagers every five seconds, counted from its start: neither a static
configuration, nor a file, nor a reload avoids that wait (the period is a constant of its discovery manager). So start
the monitor early, do something else, and call :meth:`Monitor.wait_scraped` before the first question. After a reload
Prometheus knows no Alertmanager until the next of these moments: what fires meanwhile is told some seconds later.
"""

import http.client
import json
import os
import shutil
import tempfile
import weakref
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from mlops_helpers.errors import ParameterError, ServiceError
from mlops_helpers.observe.burnrate import words
from mlops_helpers.observe.guarded import Guarded, Reserved, program
from mlops_helpers.observe.monitor_config import Configuration, Rules, Targets
from mlops_helpers.observe.objectives import DAY
from mlops_helpers.workspace import workspace, writable_folder

__all__ = ["Monitor"]

PACKAGES = "prometheus prometheus-alertmanager"
START_SECONDS = 30.0  # a deadline: it takes half a second
_ASK_SECONDS = 5.0
# What fires while Prometheus knows no Alertmanager is dropped, and told with the next repetition: a minute, by default.
_RESEND = "--rules.alert.resend-delay=5s"


class Monitor:
    """Prometheus and Alertmanager on loopback ports, from :meth:`up` (or ``with``) to :meth:`down`.

    ``targets`` gives each job's ``host:port``, one or several; their ``/metrics`` is scraped every ``scrape_interval``
    seconds, and ``rules`` are evaluated as often (a ``Path`` names a file of rules, a ``str`` is their text). Alerts go
    to the webhook ``alert_receiver`` (None: they are only seen in Alertmanager). Samples are kept for ``retention``
    seconds, in a new folder within ``folder`` that is removed at the end. Ports of 0 are free ones.

    However this process ends, both programs end with it.

    Raises ``ServiceError`` when a program is missing (with the command that installs it) or a port is taken,
    ``ParameterError`` for targets or times that make no sense, ``WorkspaceError`` when the folder cannot be written.
    """

    def __init__(
        self,
        targets: Targets,
        rules: Rules = (),
        *,
        folder: Path | None = None,
        alert_receiver: str | None = None,
        scrape_interval: float = 1.0,
        retention: float = DAY,
        port: int = 0,
        alertmanager_port: int = 0,
    ) -> None:
        if not 1 <= retention < float("inf"):
            raise ParameterError(f"retention is {retention}; accepted: seconds, 1 or more")
        self._configuration = Configuration(targets, rules, scrape_interval, "", alert_receiver)
        self._prometheus = program("prometheus", package=PACKAGES)
        self._promtool = program("promtool", package=PACKAGES)
        self._alertmanager = program("prometheus-alertmanager", "alertmanager", package=PACKAGES)
        self._retention = retention
        self._ports = [Reserved(port), Reserved(alertmanager_port)]
        self._programs: list[Guarded] = []
        parent = workspace("monitors") if folder is None else writable_folder(Path(folder), "folder=FOLDER")
        self.folder = Path(tempfile.mkdtemp(dir=parent))
        self._end = weakref.finalize(self, _end, os.getpid(), self._programs, self._ports, self.folder)
        self._configuration = replace(self._configuration, alertmanager=self._ports[1].address)

    @property
    def prometheus_url(self) -> str:
        """Where to ask, and to look with a browser."""
        return f"http://{self._ports[0].address}"

    @property
    def alertmanager_url(self) -> str:
        """Where alerts are grouped, silenced and shown."""
        return f"http://{self._ports[1].address}"

    def up(self) -> "Monitor":
        """Start both programs, once; return when they accept requests. Nothing has been scraped then.

        Raises ``ObjectiveError`` with promtool's words for rules that it refuses, ``ParameterError`` when a file of
        rules cannot be read, ``ServiceError`` with the last words of a program that does not get ready. Nothing is left
        running then.
        """
        if self._programs or not self._end.alive:
            raise ServiceError("this monitor was started before. Next: make another one")
        kept = f"--storage.tsdb.retention.time={words(self._retention)}"
        alertmanager = ["--config.file=alertmanager.json", "--storage.path=alerts", "--cluster.listen-address="]
        prometheus = ["--config.file=config/prometheus.json", "--storage.tsdb.path=samples", kept, _RESEND]
        try:
            self._configuration.write(self.folder, self._promtool)
            self._start(self._ports[0], self._prometheus, *prometheus, "--web.enable-lifecycle")
            self._start(self._ports[1], self._alertmanager, *alertmanager)
            for started, port in zip(self._programs, self._ports, strict=True):
                started.wait_ready(lambda at=port.address: _says_ready(at), START_SECONDS)  # type: ignore[misc]
        except BaseException:
            self.down()
            raise
        return self

    def down(self) -> None:
        """End both programs and remove what they wrote; safe twice."""
        self._end()

    def __enter__(self) -> "Monitor":
        return self.up()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.down()

    def reload(self, targets: Targets | None = None, rules: Rules | None = None) -> None:
        """Use other targets or rules from now on (None: the same, with files of rules read again).

        Samples stay, and the alerts of rules that stay; :meth:`wait_scraped` returns when all is in effect. Raises as
        the constructor and :meth:`up` do; then nothing has changed.
        """
        wanted = {name: value for name, value in (("targets", targets), ("rules", rules)) if value is not None}
        fresh = replace(self._configuration, **wanted)  # type: ignore[arg-type]
        fresh.write(self.folder, self._promtool)
        self._configuration = fresh
        status, said = _ask("POST", self._ports[0].address, "/-/reload")
        if status != 200:
            raise ServiceError(f"Prometheus does not take its new configuration: {said.decode(errors='replace')}")

    def require_running(self) -> None:
        """Raise ``ServiceError`` with its last words when one of the programs has ended."""
        for started in self._programs:
            if not started.running:
                raise ServiceError(f"{started.name} has ended by itself. {started.last_words()}")

    def wait_scraped(self, seconds: float = 30.0) -> None:
        """Return when Prometheus has tried every target and knows where alerts go: some 5 s after the start.

        Raises ``ServiceError`` when that takes longer than ``seconds``.
        """
        wanted = sorted(one for addresses in self._configuration.addresses.values() for one in addresses)

        def known() -> bool:
            found = self._asked("/api/v1/targets?state=active")["activeTargets"]
            tried = sorted(target["labels"]["instance"] for target in found if target["health"] != "unknown")
            return tried == wanted and bool(self._asked("/api/v1/alertmanagers")["activeAlertmanagers"])

        self._programs[0].wait_ready(known, seconds)

    def _asked(self, path: str) -> dict[str, Any]:
        status, body = _ask("GET", self._ports[0].address, path)
        if status != 200:
            raise ServiceError(f"Prometheus answers {path} with {status}: {body.decode(errors='replace')}")
        return dict(json.loads(body)["data"])

    def _start(self, port: Reserved, path: str, *flags: str) -> None:
        # The links in alerts begin with the external URL; without it they would name a host that answers nobody.
        listen = [f"--web.listen-address={port.address}", f"--web.external-url=http://{port.address}/"]
        output = self.folder / f"{Path(path).name}.log"
        self._programs.append(Guarded([path, *flags, *listen], output, cwd=self.folder))


def _says_ready(address: str) -> bool:
    try:
        return _ask("GET", address, "/-/ready")[0] == 200
    except ServiceError:
        return False


def _ask(method: str, address: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address, timeout=_ASK_SECONDS)  # no proxy, whatever the environment says
    try:
        connection.request(method, path)
        reply = connection.getresponse()
        return reply.status, reply.read()
    except (OSError, http.client.HTTPException) as error:
        raise ServiceError(f"{method} http://{address}{path}: {error!r}. Next: start the monitor again") from error
    finally:
        connection.close()


def _end(owner: int, programs: list[Guarded], ports: list[Reserved], folder: Path) -> None:
    if os.getpid() != owner:  # a forked child ends with a copy of what is not its own
        return
    for started in programs:  # Prometheus first: it sends alerts to the other
        started.stop()
    for port in ports:
        port.free()
    shutil.rmtree(folder, ignore_errors=True)
