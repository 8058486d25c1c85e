"""Runbooks: nothing is changed unasked, everything is on record, and any service will do."""

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlops_helpers.errors import MetricsError, ParameterError, ServiceError, WorkspaceError
from mlops_helpers.respond import runbook, runbook_audit
from mlops_helpers.respond.runbook import Runbook, same
from mlops_helpers.respond.runbook_changes import FilesInFolder, FileText, HttpValue
from mlops_helpers.respond.runbook_signals import Signals


@dataclass
class Value:
    """A change of a value in this process."""

    value: Any = "new"
    wanted: Any = "old"
    what: str = "model"
    written: list[Any] = field(default_factory=list)

    def read(self) -> Any:
        return self.value

    def write(self, value: Any) -> None:
        self.value = value
        self.written.append(value)


@pytest.fixture
def clock(monkeypatch):
    """A clock that sleeping sets forward."""
    clock = SimpleNamespace(now=1000.0, time=time.time)
    clock.monotonic = lambda: clock.now
    clock.sleep = lambda seconds: setattr(clock, "now", clock.now + seconds)
    monkeypatch.setattr(runbook, "time", clock)
    return clock


@pytest.fixture
def book(tmp_path, clock):
    """Make runs of one runbook, confirmed unless another confirmation is given."""

    def make(**settings: Any) -> Runbook:
        given = {"dry_run": False, "confirmation": "mend on shop", "who": "on call", "audit": tmp_path} | settings
        return Runbook("mend", "shop", **given)

    return make


def kinds(folder: Path) -> list[str]:
    return [record["kind"] for record in runbook_audit.read(folder / runbook_audit.FILE)]


def decided(run: Runbook, value: float = 0.5) -> Runbook:
    run.decide("share", value, ">", 0.1)
    return run


@pytest.mark.parametrize("confirmation", ["", "mend", "mend on Shop", "mend on shop ", "yes"])
def test_without_the_typed_confirmation_nothing_begins(book, confirmation, tmp_path) -> None:
    with pytest.raises(ParameterError, match='accepted for dry_run=False: "mend on shop"'):
        book(confirmation=confirmation)
    with pytest.raises(ParameterError, match="who is empty"):
        book(who=" ")
    assert kinds(tmp_path) == []


def test_dry_run_says_what_it_would_do_and_does_nothing(book, tmp_path) -> None:
    run, value = decided(book(dry_run=True, confirmation="")), Value()
    assert run.act(value) == "would change model: 'new' -> 'old'"
    assert run.verify("mended", lambda: pytest.fail("asked"), 1).startswith("not verified")
    assert run.roll_back(value) == "model: nothing to roll back"
    assert value.written == []
    assert kinds(tmp_path) == ["opened", "decided", "planned", "not verified", "nothing to roll back"]


def test_value_at_the_threshold_is_left(book) -> None:
    value = Value()
    assert "left" in decided(book(), 0.1).act(value)  # at the threshold is not above it
    assert value.written == []


def test_unknown_value_decides_nothing(book) -> None:
    with pytest.raises(MetricsError, match="nothing is decided"):
        book().decide("share", math.nan, ">", 0.1)
    with pytest.raises(ParameterError, match="nothing was decided yet"):
        book().act(Value())
    with pytest.raises(ParameterError, match="accepted: > >= < <="):
        book().decide("share", 1.0, "above", 0.1)


def test_acting_is_on_record_before_it_is_done_and_a_second_run_changes_nothing(book, tmp_path) -> None:
    value = Value()

    def write(wanted: Any) -> None:
        assert kinds(tmp_path)[-1] == "changing"
        Value.write(value, wanted)

    value.write = write  # type: ignore[method-assign]
    run = decided(book())
    assert run.act(value) == "changed model: 'new' -> 'old'"
    assert run.verify("mended", lambda: value.value == "old", 5).startswith("verified")
    assert "nothing to do" in decided(book()).act(value)
    assert value.written == ["old"]
    (changed,) = (r for r in runbook_audit.read(tmp_path / "audit.jsonl") if r["kind"] == "changed")
    record = {"who": "on call", "before": "new", "after": "old", "service": "shop"}
    assert record.items() <= changed.items()
    assert changed["at"] == pytest.approx(time.time(), abs=60)
    note = run.hand_over("mend the model")
    assert note.startswith("mend on shop (for real)")
    assert "changed model: 'new' -> 'old'" in note
    assert note.endswith("next      mend the model")


def test_post_condition_that_fails_takes_the_change_back(book, tmp_path) -> None:
    run, value = decided(book()), Value()
    run.act(value)
    with pytest.raises(ServiceError, match=r"not so within 0.2 s: mended.*rolled back model: 'old' -> 'new'"):
        run.verify("mended", lambda: False, 0.2)
    assert value.value == "new"
    assert kinds(tmp_path)[-2:] == ["failed", "rolled back"]
    decided(book()).act(value)
    later = decided(book())
    later.act(value)
    with pytest.raises(ServiceError, match="This run changed nothing"):
        later.verify("mended", lambda: False, 0.2)
    assert value.value == "old", "an earlier run's change stays"


def test_verifying_waits_as_long_as_it_may_and_no_longer(book, clock) -> None:
    run, began = decided(book()), clock.now
    run.act(Value())

    def mended() -> bool:
        if clock.now < began + 2:
            raise MetricsError("no metrics")
        return clock.now >= began + 4

    assert run.verify("mended", mended, within=5) == "verified after 4.0 s: mended"
    began = clock.now
    with pytest.raises(ServiceError, match=r"not so within 1 s.*no metrics"):
        run.verify("mended", mended, within=1)


def test_change_is_taken_back_later_once(book) -> None:
    value = Value()
    decided(book()).act(value)
    assert book(dry_run=True, confirmation="").roll_back(value) == "would roll back model: 'old' -> 'new'"
    assert value.value == "old"
    assert book().roll_back(value) == "rolled back model: 'old' -> 'new'"
    assert book().roll_back(value) == "model: nothing to roll back"
    assert value.written == ["old", "new"]


def test_run_that_was_killed_while_it_changed_something_can_be_taken_back(book) -> None:
    value = Value()

    def killed(wanted: Any) -> None:
        value.value = "half"
        raise KeyboardInterrupt

    value.write = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        decided(book()).act(value)
    del value.write
    book().roll_back(value)
    assert value.value == "new"


def test_value_that_does_not_stay_is_named(book) -> None:
    value = Value()
    value.write = lambda wanted: None  # type: ignore[method-assign]
    with pytest.raises(ServiceError, match="is 'new' after it was set to 'old'"):
        decided(book()).act(value)


def test_acting_without_a_record_is_refused(book, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="-p audit FOLDER"):
        book(audit=tmp_path / "file")
    (tmp_path / "audit.jsonl").write_text('{"at": 1, "kind": "changing"}\n{"at": 2, "ki')
    assert kinds(tmp_path) == ["changing"]


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ({"v1": 1.0, "v2": 0.0}, {"v1": 1}, True),
        ({"v1": 0.9, "v2": 0.1}, {"v1": 1}, False),
        ({"a": {"b": 1, "c": 0}}, {"a": {"b": 1}}, True),
        ({"a": "x"}, {"a": "x", "b": "y"}, False),
        ("old", "old", True),
        (["a"], [], False),
    ],
)
def test_zero_is_as_good_as_not_named(one, other, equal) -> None:
    assert same(one, other) is equal


def test_files_are_moved_never_deleted_and_back_again(tmp_path) -> None:
    folder, archive = tmp_path / "logs", tmp_path / "elsewhere"
    folder.mkdir()
    for name in ("a-1.log", "a-2.log", "keep.txt"):
        (folder / name).write_text(name)
    change = FilesInFolder("logs", ["a-2.log"], folder, "a-*.log", archive)
    assert change.read() == ["a-1.log", "a-2.log"]
    change.write(change.wanted)
    assert change.read() == ["a-2.log"]
    assert (archive / "a-1.log").read_text() == "a-1.log"
    (folder / "a-1.log").symlink_to("nowhere")  # somebody else's, and no file: it stays
    with pytest.raises(WorkspaceError, match=r"a-1\.log is there already"):
        change.write(["a-1.log", "a-2.log"])
    (folder / "a-1.log").unlink()
    change.write(["a-1.log", "a-2.log"])
    assert change.read() == ["a-1.log", "a-2.log"]
    assert (folder / "keep.txt").exists()
    for pattern in ("*", "../*.log", "*.*"):
        with pytest.raises(ParameterError, match="accepted: names in one folder"):
            FilesInFolder("logs", [], folder, pattern, archive)


def test_text_is_written_and_taken_away_again(tmp_path) -> None:
    change = FileText("freeze", "frozen", tmp_path / "freeze")
    assert change.read() is None
    change.write("frozen")
    assert change.read() == "frozen"
    change.write(None)
    assert change.read() is None
    change.path.write_text("frozen, by somebody else")
    with pytest.raises(WorkspaceError, match=r"nothing was removed\. Next: read it"):
        change.write(None)
    assert change.read() == "frozen, by somebody else"


def test_impossible_address_is_refused() -> None:
    with pytest.raises(ParameterError, match="needed: change_url, state_url, wanted; accepted as well: body_field"):
        HttpValue.of("x", {"wanted": 1, "token": "secret"})
    with pytest.raises(ParameterError, match="accepted: PUT, POST"):
        HttpValue("x", 1, "http://a", "http://a", method="DELETE")
    with pytest.raises(ParameterError, match="accepted: a URL"):
        HttpValue("x", 1, "127.0.0.1:1", "http://127.0.0.1:1")
    with pytest.raises(MetricsError, match="accepted: host:port"):
        Signals([])
