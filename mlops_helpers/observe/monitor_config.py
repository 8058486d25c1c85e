"""The configuration of a Prometheus and an Alertmanager: generated, and checked by promtool before anything uses it."""

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_helpers.errors import ObjectiveError, ParameterError
from mlops_helpers.observe.burnrate import words
from mlops_helpers.workspace import atomic_folder

__all__ = ["Configuration", "Rules", "Targets"]

Targets = Mapping[str, str | Sequence[str]]
"""Addresses (``host:port``, one or several) by job."""
Rules = str | Path | Sequence[str | Path]
"""Prometheus rules: a ``Path`` names a file, a ``str`` is the text itself."""

_TARGET = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}")
_MOST_SCRAPE_SECONDS = 10.0
_CHECK_SECONDS = 60.0


@dataclass(frozen=True)
class Configuration:
    """What to scrape every ``interval`` seconds, which rules to evaluate as often, and where alerts go.

    ``alertmanager`` is the address that Prometheus sends alerts to, ``receiver`` the webhook that it passes them on to
    (None: none).

    Raises ``ParameterError`` for targets, times or a receiver that make no sense.
    """

    targets: Targets
    rules: Rules
    interval: float
    alertmanager: str
    receiver: str | None = None

    def __post_init__(self) -> None:
        if not 0.01 <= self.interval < float("inf"):
            raise ParameterError(f"scrape_interval is {self.interval}; accepted: seconds, 0.01 or more")
        if self.receiver is not None and not self.receiver.startswith(("http://", "https://")):
            raise ParameterError(f"alert_receiver is {self.receiver!r}; accepted: a URL, as http://127.0.0.1:9000/")
        if not self.targets:
            raise ParameterError("no target is given; accepted: at least one, such as {'filter': '127.0.0.1:9001'}")
        for job, addresses in self.addresses.items():
            for address in addresses:
                if not job or not _TARGET.fullmatch(address):
                    raise ParameterError(f"target {job!r} is {address!r}; accepted: host:port, such as 127.0.0.1:9001")

    @property
    def addresses(self) -> dict[str, list[str]]:
        """Each job's addresses as a list."""
        return {job: [one] if isinstance(one, str) else list(one) for job, one in self.targets.items()}

    def write(self, folder: Path, promtool: str) -> None:
        """Write ``alertmanager.json`` and ``config/prometheus.json`` with its rules; replace what is there.

        Raises ``ObjectiveError`` with the words of ``promtool`` (a path) when it refuses the rules, ``ParameterError``
        when a file of rules cannot be read: then nothing has changed.
        """
        with atomic_folder(folder / "config") as fresh:
            (fresh / "rules").mkdir()
            _write(fresh / "prometheus.json", self._prometheus())
            for number, rules in enumerate([self.rules] if isinstance(self.rules, str | Path) else self.rules):
                (fresh / "rules" / f"{number}.yml").write_text(_text(rules), encoding="utf-8")
            command = [promtool, "check", "config", "prometheus.json"]  # checks the rules, too
            done = subprocess.run(
                command, cwd=fresh, capture_output=True, text=True, errors="replace", timeout=_CHECK_SECONDS
            )
            if done.returncode:
                raise ObjectiveError(f"promtool check config refuses the rules: {done.stderr.strip() or done.stdout}")
            _write(folder / "alertmanager.json", self._alertmanager())

    def _prometheus(self) -> dict[str, Any]:
        interval, timeout = words(self.interval), words(min(self.interval, _MOST_SCRAPE_SECONDS))
        return {
            "global": {"scrape_interval": interval, "scrape_timeout": timeout, "evaluation_interval": interval},
            "rule_files": ["rules/*.yml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [self.alertmanager]}]}]},
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": addresses}]}
                for job, addresses in self.addresses.items()
            ],
        }

    def _alertmanager(self) -> dict[str, Any]:
        webhooks = [{"url": self.receiver, "send_resolved": True}] if self.receiver else []
        # What fires together is one page. Where people are paged, group_wait and group_interval are 30 s and 5 min.
        route = {"receiver": "page", "group_by": ["alertname"], "group_wait": "100ms", "group_interval": "1s"}
        return {"route": route, "receivers": [{"name": "page", "webhook_configs": webhooks}]}


def _text(rules: str | Path) -> str:
    if isinstance(rules, str):
        return rules
    try:
        return rules.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(f"the rules in {rules} cannot be read: {error}. Next: name a file of rules") from error


def _write(path: Path, configuration: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(configuration, indent=2), encoding="utf-8")  # JSON is YAML, too
