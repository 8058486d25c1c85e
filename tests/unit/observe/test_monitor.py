"""Pages that cannot be read, and monitors that make no sense, are refused before anything is started."""

import argparse
import json

import pytest

from mlops_helpers.errors import MetricsError, OpsLabError, ParameterError, ServiceError
from mlops_helpers.observe import commands
from mlops_helpers.observe.monitor import Monitor
from mlops_helpers.observe.webhook import parse

ALERT = {"status": "firing", "labels": {"alertname": "A"}, "startsAt": "2026-01-01T00:00:00.123456789Z"}


def call(alert: object, version: str = "4") -> bytes:
    return json.dumps({"version": version, "alerts": [alert]}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[" * 100_000,
        call(ALERT, version="3"),
        call(ALERT | {"status": "broken"}),
        call(ALERT | {"labels": {"alertname": 1}}),
        call(ALERT | {"labels": {}}),
        call(ALERT | {"startsAt": "yesterday"}),
        call(ALERT | {"startsAt": "9999-12-31T23:59:59-14:00"}),
    ],
)
def test_garbage_is_no_page(body: bytes) -> None:
    with pytest.raises(MetricsError):
        parse(body)
    assert [page.alert for page in parse(call(ALERT))] == ["A"]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"targets": {}}, "no target"),
        ({"targets": {"blog": "http://127.0.0.1:80"}}, "host:port"),
        ({"scrape_interval": float("nan")}, "scrape_interval"),
        ({"alert_receiver": "127.0.0.1:9000"}, "a URL"),
    ],
)
def test_a_monitor_refuses_what_makes_no_sense(options: dict, field: str) -> None:
    with pytest.raises(ParameterError, match=field):
        Monitor(**{"targets": {"blog": "127.0.0.1:80"}, **options})


def test_a_missing_program_is_named_with_the_command_that_installs_it(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceError, match=r"prometheus is not on the PATH.*apt-get install prometheus prometheus-al"):
        Monitor({"blog": "127.0.0.1:1"})


@pytest.mark.parametrize(
    ("arguments", "next_step"),
    [
        ([], "--target filter="),
        (["--target", "blog"], "JOB=HOST:PORT"),
        (["--target", "blog=127.0.0.1:1", "--engine", "embedded", "--rules", "x.yml"], "--slo FILE"),
        (["--target", "blog=127.0.0.1:1", "--slo", "nowhere.yaml"], "name a file of objectives"),
        (["--platform"], "Next: opslab platform up"),
    ],
)
def test_the_monitor_command_refuses_what_it_cannot_do(arguments: list[str], next_step: str) -> None:
    parser = argparse.ArgumentParser()
    commands.monitor_arguments(parser)
    with pytest.raises(OpsLabError, match=next_step):
        commands.monitor(parser.parse_args(["up", *arguments]))
