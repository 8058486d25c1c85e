"""The runbooks as they are: on a service that knows nothing of this project, and on what they bring to practise on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from other_service import BEARER, OtherService
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from mlops_helpers.errors import MetricsError, ParameterError, ServiceError
from mlops_helpers.teach import documents, parameters

pytestmark = pytest.mark.drill  # live services, judged by how fast they answer

RUNBOOKS = Path(__file__).parents[2] / "notebooks" / "runbooks"
ALL = sorted(path.name for path in RUNBOOKS.glob("*.ipynb"))


def other_parameters(other: OtherService, audit: Path) -> dict[str, Any]:
    return {
        "service": "the other filter",
        "metrics_pages": [other.address],
        "window": 1.0,
        "within": 15.0,
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
    }


def execute(name: str, given: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a runbook's cells as they are, in this process, with these parameters; return what they printed."""
    document = documents.read(RUNBOOKS / name)
    names: dict[str, Any] = {}
    assert given.keys() <= parameters.declared(document).keys()
    try:
        for cell in document.code:
            exec(compile(cell.source, f"{name}:{cell.id}", "exec"), names)
            if "parameters" in cell.tags:
                names.update(given)
    finally:
        if "signals" in names:
            names["signals"].close()
    return capsys.readouterr().out


ERRORS = {
    "all_events": "spamfilter_comments_total",
    "bad_events": "spamfilter_comments_total",
    "bad_labels": {"result": "error"},
}


def test_high_error_rate_on_another_service_without_an_edit(tmp_path, monkeypatch, capsys) -> None:
    name, phrase = "01_high_error_rate.ipynb", "high error rate on the other filter"
    monkeypatch.setenv("RUNBOOK_BEARER", BEARER)
    with OtherService() as other:
        given = other_parameters(other, tmp_path) | ERRORS
        assert "would change routing of the other filter: 'new' -> 'old'" in execute(name, given, capsys)
        given["dry_run"] = False
        with pytest.raises(ParameterError, match=f'accepted for dry_run=False: "{phrase}"'):
            execute(name, given, capsys)
        assert other.sent == []

        given["confirmation"] = phrase
        printed = execute(name, given, capsys)
        assert "changed routing" in printed
        assert "verified after" in printed
        assert "leave everything as it is" in execute(name, given, capsys)
        assert other.sent == [{"model": "old"}]

        other.always = True  # the version that was known to work fails as well
        with pytest.raises(ServiceError, match="not so within 2 s"):
            execute(name, given | {"within": 2.0}, capsys)
        assert "rolled back" in execute(name, given | {"undo": True}, capsys)
    assert BEARER not in (tmp_path / "audit.jsonl").read_text()


def test_slow_answers_on_another_service_without_an_edit(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("RUNBOOK_BEARER", BEARER)
    with OtherService("slow") as other:
        given = other_parameters(other, tmp_path) | {"histogram": "spamfilter_inference_seconds", "labels": {}}
        given |= {"window": 2.0, "dry_run": False, "confirmation": "slow answers on the other filter"}
        printed = execute("02_slow_answers.ipynb", given, capsys)
        assert "changed routing of the other filter: 'new' -> 'old'" in printed
        assert "verified after" in printed
        assert other.sent == [{"model": "old"}]


CALLED = {
    "03_spam_campaign.ipynb": (
        "spam campaign",
        "ham",
        {"published_events": "spamfilter_comments_total", "published_labels": {"result": "ham"}, "usual": 10.0},
    ),
    "04_drifted_model.ipynb": (
        "drifted model",
        "spam",
        {"all_events": "spamfilter_comments_total", "some_labels": {"result": "spam"}, "usual": 0.05},
    ),
    "05_roll_back_a_release.ipynb": (
        "roll back a release",
        "both",
        {
            "all_events": "spamfilter_models_total",
            "bad_labels": {"result": "spam"},
            "version_label": "model",
            "versions": ["old", "new"],
        },
    ),
}


@pytest.mark.parametrize("name", CALLED)
def test_what_a_model_does_is_taken_back_on_another_service_without_an_edit(
    name, tmp_path, monkeypatch, capsys
) -> None:
    called, bad, metrics = CALLED[name]
    monkeypatch.setenv("RUNBOOK_BEARER", BEARER)
    with OtherService(bad) as other:
        given = other_parameters(other, tmp_path) | metrics | {"confirmation": f"{called} on the other filter"}
        assert "would change routing of the other filter" in execute(name, given, capsys)
        assert other.sent == []
        given["dry_run"] = False
        printed = execute(name, given, capsys)
        assert "changed routing of the other filter" in printed
        assert "verified after" in printed
        if bad != "both":  # with one version only there is nothing to compare: the second run ends there
            assert "leave everything as it is" in execute(name, given, capsys)
        assert other.sent == [{"model": "old"}]
        execute(name, given | {"undo": True}, capsys)
        assert other.sent[1:] == [{"model": "both" if bad == "both" else "new"}]


def test_a_service_that_is_not_there_is_told_in_time_and_nothing_is_sent(tmp_path, capsys) -> None:
    with OtherService() as other:
        given = other_parameters(other, tmp_path) | {"metrics_pages": ["127.0.0.1:1"]}
        with pytest.raises(MetricsError, match=r"127.0.0.1:1 cannot be read.*Nothing was changed"):
            execute("04_drifted_model.ipynb", given, capsys)
        assert other.sent == []


def test_metrics_that_are_not_there_are_told_with_those_that_are(tmp_path, capsys) -> None:
    with OtherService() as other:
        given = other_parameters(other, tmp_path) | ERRORS | {"all_events": "spamfilter_comment_total"}
        with pytest.raises(MetricsError, match="the nearest: spamfilter_comments_total"):
            execute("01_high_error_rate.ipynb", given, capsys)


@pytest.mark.parametrize("name", ALL)
def test_no_runbook_acts_without_its_phrase(name, tmp_path, capsys) -> None:
    known = parameters.declared(documents.read(RUNBOOKS / name))
    address = "http://127.0.0.1:1/"
    given: dict[str, Any] = {
        "metrics_pages": ["127.0.0.1:1"],
        "folder": str(tmp_path),
        "archive": str(tmp_path / "archive"),
        "targets_file": str(tmp_path / "targets.json"),
        "wanted_targets": ["127.0.0.1:1"],
        "records": str(tmp_path),
    }
    if isinstance(known.get("change") and known["change"].default, dict):
        given["change"] = {"wanted": 1, "state_url": address, "change_url": address}
    given = {key: value for key, value in given.items() if key in known}
    given |= {"dry_run": False, "confirmation": "yes", "who": "on call", "audit": str(tmp_path / "audit")}
    with pytest.raises(ParameterError, match=r'accepted for dry_run=False: ".+ on blog". Nothing was changed'):
        execute(name, given, capsys)
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


def test_a_disk_gets_room_once_and_everything_can_come_back(disk, capsys) -> None:
    name, logs, archive = "06_disk_filling.ipynb", Path(disk["folder"]), Path(disk["archive"])
    execute(name, disk | {"dry_run": True, "confirmation": ""}, capsys)
    assert len(list(logs.iterdir())) == 5

    assert "verified after" in execute(name, disk, capsys)
    assert sorted(path.name for path in logs.iterdir()) == ["a-3.log", "a-4.log"]
    assert len(list(archive.iterdir())) == 3
    assert "leave everything as it is" in execute(name, disk, capsys)

    execute(name, disk | {"undo": True}, capsys)
    assert len(list(logs.iterdir())) == 5
    assert list(archive.iterdir()) == []


@pytest.mark.parametrize(("name", "phrase"), [(ALL[7], "error budget review on blog"), (ALL[8], "hand over on blog")])
def test_a_second_run_of_what_writes_a_note_changes_nothing(name, phrase, tmp_path, capsys) -> None:
    given = {"dry_run": False, "confirmation": phrase, "who": "on call", "audit": str(tmp_path)}
    assert "changed " in execute(name, given, capsys)
    again = execute(name, given, capsys)
    assert "already, nothing to do" in again
    assert "done      changed" not in again
