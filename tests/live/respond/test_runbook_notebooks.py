"""The runbooks as they are: on a service that knows nothing of this project, and on a disk that fills."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from mlops_helpers.errors import MetricsError, ParameterError, ServiceError
from mlops_helpers.respond.runbook_changes import HttpValue
from mlops_helpers.respond.runbook_signals import Signals, series
from mlops_helpers.teach import documents, parameters
from tests.support.other_service import BEARER, OtherService

RUNBOOKS = Path(__file__).parents[3] / "notebooks" / "runbooks"
ALL = sorted(path.name for path in RUNBOOKS.glob("*.ipynb"))
ERRORS = {
    "all_events": "spamfilter_comments_total",
    "bad_events": "spamfilter_comments_total",
    "bad_labels": {"result": "error"},
}


@pytest.fixture(autouse=True)
def bearer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_BEARER", BEARER)


def other_parameters(other: OtherService, audit: Path, runbook: str) -> dict[str, Any]:
    """Return what a runbook has to know of the other service, to act on it for real."""
    return {
        "service": "the other filter",
        "metrics_pages": [other.address],
        "window": 1.0,
        "within": 30.0,
        "change": {
            "wanted": "old",
            "state_url": f"http://{other.address}/settings",
            "state_field": "serving.model",
            "change_url": f"http://{other.address}/settings",
            "method": "POST",
            "body_field": "model",
        },
        "audit": str(audit),
        "who": "on call",
        "dry_run": False,
        "confirmation": f"{runbook} on the other filter",
    }


def execute(name: str, values: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a runbook's cells as they are, in this process, with these parameters; return what they printed."""
    document = documents.read(RUNBOOKS / name)
    names: dict[str, Any] = {}
    assert values.keys() <= parameters.declared(document).keys()
    try:
        for cell in document.code:
            exec(compile(cell.source, f"{name}:{cell.id}", "exec"), names)
            if "parameters" in cell.tags:
                names.update(values)
    finally:
        if "signals" in names:
            names["signals"].close()
    return capsys.readouterr().out


def test_high_error_rate_on_another_service_without_an_edit(tmp_path, capsys) -> None:
    name = "01_high_error_rate.ipynb"
    with OtherService() as other:
        values = other_parameters(other, tmp_path, "high error rate") | ERRORS
        printed = execute(name, values | {"dry_run": True, "confirmation": ""}, capsys)
        assert "would change routing of the other filter: 'new' -> 'old'" in printed
        assert other.sent == []

        printed = execute(name, values, capsys)
        assert "changed routing" in printed
        assert "verified after" in printed
        assert "leave everything as it is" in execute(name, values, capsys)
        assert other.sent == [{"model": "old"}]

        other.always = True  # the version that was known to work fails as well
        with pytest.raises(ServiceError, match="not so within 1 s"):
            execute(name, values | {"within": 1.0}, capsys)
        assert "rolled back" in execute(name, values | {"undo": True}, capsys)
        assert other.sent[1:] == [{"model": "new"}]
    assert BEARER not in (tmp_path / "audit.jsonl").read_text()


def test_bad_release_is_rolled_back_on_another_service_without_an_edit(tmp_path, capsys) -> None:
    metrics = {
        "all_events": "spamfilter_models_total",
        "bad_labels": {"result": "spam"},
        "version_label": "model",
        "versions": ["old", "new"],
    }
    with OtherService("both") as other:
        printed = execute(
            "05_roll_back_a_release.ipynb", other_parameters(other, tmp_path, "roll back a release") | metrics, capsys
        )
    assert "changed routing of the other filter" in printed
    assert "verified after" in printed
    assert other.sent == [{"model": "old"}]


def test_service_or_metric_that_is_missing_is_named_and_nothing_is_sent(tmp_path, capsys) -> None:
    with OtherService() as other:
        values = other_parameters(other, tmp_path, "high error rate") | ERRORS
        with pytest.raises(MetricsError, match="the nearest: spamfilter_comments_total"):
            execute("01_high_error_rate.ipynb", values | {"all_events": "spamfilter_comment_total"}, capsys)
        with pytest.raises(MetricsError, match=r"127.0.0.1:1 cannot be read.*Nothing was changed"):
            execute("01_high_error_rate.ipynb", values | {"metrics_pages": ["127.0.0.1:1"]}, capsys)
        assert other.sent == []


@pytest.mark.parametrize("name", ALL)
def test_no_runbook_acts_without_its_phrase(name, tmp_path, capsys) -> None:
    known = parameters.declared(documents.read(RUNBOOKS / name))
    address = "http://127.0.0.1:1/"
    values: dict[str, Any] = {
        "metrics_pages": ["127.0.0.1:1"],
        "folder": str(tmp_path),
        "archive": str(tmp_path / "archive"),
        "targets_file": str(tmp_path / "targets.json"),
        "wanted_targets": ["127.0.0.1:1"],
        "records": str(tmp_path),
    }
    if isinstance(known.get("change") and known["change"].default, dict):
        values["change"] = {"wanted": 1, "state_url": address, "change_url": address}
    values = {key: value for key, value in values.items() if key in known}
    values |= {"dry_run": False, "confirmation": "yes", "who": "on call", "audit": str(tmp_path / "audit")}
    with pytest.raises(ParameterError, match=r'accepted for dry_run=False: ".+ on blog". Nothing was changed'):
        execute(name, values, capsys)
    assert not (tmp_path / "audit" / "audit.jsonl").exists()


@pytest.fixture
def disk(tmp_path) -> Iterator[dict[str, Any]]:
    """A disk of 1,000 bytes with five logs of 190 bytes, and what the runbook has to know of it."""
    logs = tmp_path / "logs"
    logs.mkdir()
    for number in range(5):
        (logs / f"a-{number}.log").write_bytes(b"x" * 190)
    registry = CollectorRegistry()
    Gauge("size", "All.", registry=registry).set(1000)
    used = Gauge("free", "Free.", registry=registry)
    used.set_function(lambda: 1000 - sum(path.stat().st_size for path in logs.iterdir()))
    server, thread = start_http_server(0, "127.0.0.1", registry)
    yield {
        "service": "host",
        "metrics_pages": [f"127.0.0.1:{server.server_port}"],
        "free_bytes": "free",
        "all_bytes": "size",
        "folder": str(logs),
        "archive": str(tmp_path / "archive"),
        "pattern": "a-*.log",
        "audit": str(tmp_path / "audit"),
        "who": "on call",
        "dry_run": False,
        "confirmation": "disk filling on host",
    }
    server.shutdown()
    server.server_close()
    thread.join()


def test_disk_gets_room_and_everything_can_come_back(disk, capsys) -> None:
    name, logs, archive = "06_disk_filling.ipynb", Path(disk["folder"]), Path(disk["archive"])
    assert "verified after" in execute(name, disk, capsys)
    assert sorted(path.name for path in logs.iterdir()) == ["a-3.log", "a-4.log"]
    assert len(list(archive.iterdir())) == 3
    execute(name, disk | {"undo": True}, capsys)
    assert len(list(logs.iterdir())) == 5
    assert list(archive.iterdir()) == []


@pytest.mark.parametrize(("name", "phrase"), [(ALL[7], "error budget review on blog"), (ALL[8], "hand over on blog")])
def test_second_run_of_what_writes_a_note_changes_nothing(name, phrase, tmp_path, capsys) -> None:
    values = {"dry_run": False, "confirmation": phrase, "who": "on call", "audit": str(tmp_path)}
    assert "changed " in execute(name, values, capsys)
    again = execute(name, values, capsys)
    assert "already, nothing to do" in again
    assert "done      changed" not in again
    execute(name, values | {"undo": True}, capsys)
    assert not [path for path in (tmp_path / "workspace" / "runbooks").iterdir() if path.suffix == ".txt"]


def test_signals_of_another_service() -> None:
    with OtherService() as other, Signals([other.address], interval=0.1) as signals:
        signals.watch(0.5)
        everything = series("spamfilter_comments_total")
        assert signals.share(series("spamfilter_comments_total", {"result": "error"}), everything, 0.5) > 0.9
        assert signals.share(series("spamfilter_comments_total", {"result": "lost"}), everything, 0.5) == 0.0
        assert 0 < signals.quantile(0.5, series("spamfilter_inference_seconds"), 0.5) < 0.1
        assert math.isnan(signals.share(everything, series("spamfilter_comments_total", {"result": "x"}), 0.5))
        assert math.isnan(signals.value(series("spamfilter_comments_total", {"result": "x"})))
        with pytest.raises(MetricsError, match="no metric 'spamfilter_coments_total'"):
            signals.growth(series("spamfilter_coments_total"), 0.5)
        with pytest.raises(ServiceError, match="tells no 'model'; there is: serving"):
            HttpValue("x", 1, f"http://{other.address}/settings", f"http://{other.address}/x", "model").read()
        with pytest.raises(ServiceError, match="does it answer from here"):
            HttpValue("x", 1, "http://127.0.0.1:1/state", "http://127.0.0.1:1/state").read()
