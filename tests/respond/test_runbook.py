"""Runbooks: nothing is changed unasked, everything is on record, and any service will do."""

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from other_service import OtherService

from mlops_helpers.errors import MetricsError, ParameterError, ServiceError, WorkspaceError
from mlops_helpers.respond import runbook_audit
from mlops_helpers.respond.runbook import Runbook, same
from mlops_helpers.respond.runbook_changes import FilesInFolder, FileText, HttpValue
from mlops_helpers.respond.runbook_signals import Signals, series


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
def book(tmp_path):
    """Make runs of one runbook, confirmed unless said otherwise."""

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
    assert kinds(tmp_path) == []


def test_nobody_acts_without_a_name(book) -> None:
    with pytest.raises(ParameterError, match="who is empty"):
        book(who=" ")


def test_a_dry_run_says_what_it_would_do_and_does_nothing(book, tmp_path) -> None:
    run, value = decided(book(dry_run=True, confirmation="")), Value()
    assert run.act(value) == "would change model: 'new' -> 'old'"
    assert run.verify("mended", lambda: pytest.fail("asked"), 1).startswith("not verified")
    assert run.roll_back(value) == "model: nothing to roll back"
    assert value.written == []
    assert kinds(tmp_path) == ["opened", "decided", "planned", "not verified", "nothing to roll back"]


def test_what_nothing_calls_for_is_left(book) -> None:
    value = Value()
    assert "left" in decided(book(), 0.1).act(value)  # at the threshold is not above it
    assert value.written == []


def test_what_is_not_known_decides_nothing(book) -> None:
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
    assert (changed["who"], changed["before"], changed["after"], changed["service"]) == (
        "on call",
        "new",
        "old",
        "shop",
    )
    assert changed["at"] == pytest.approx(time.time(), abs=60)


def test_a_post_condition_that_fails_takes_the_change_back(book, tmp_path) -> None:
    run, value = decided(book()), Value()
    run.act(value)
    with pytest.raises(ServiceError, match=r"not so within 0.2 s: mended.*rolled back model: 'old' -> 'new'"):
        run.verify("mended", lambda: False, 0.2)
    assert value.value == "new"
    assert kinds(tmp_path)[-2:] == ["failed", "rolled back"]


def test_a_post_condition_that_fails_leaves_what_an_earlier_run_changed(book) -> None:
    value = Value()
    decided(book()).act(value)
    run = decided(book())
    run.act(value)
    with pytest.raises(ServiceError, match="This run changed nothing"):
        run.verify("mended", lambda: False, 0.2)
    assert value.value == "old"


def test_a_question_that_fails_is_a_post_condition_that_fails(book) -> None:
    def cannot() -> bool:
        raise MetricsError("no metrics")

    run = decided(book())
    run.act(Value())
    with pytest.raises(ServiceError, match="no metrics"):
        run.verify("mended", cannot, 0.2)


def test_what_was_changed_is_taken_back_later_once(book) -> None:
    value = Value()
    decided(book()).act(value)
    assert book(dry_run=True, confirmation="").roll_back(value) == "would roll back model: 'old' -> 'new'"
    assert value.value == "old"
    assert book().roll_back(value) == "rolled back model: 'old' -> 'new'"
    assert book().roll_back(value) == "model: nothing to roll back"
    assert value.written == ["old", "new"]


def test_a_run_that_was_killed_while_it_changed_something_can_be_taken_back(book) -> None:
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


def test_a_value_that_does_not_stay_is_told(book) -> None:
    value = Value()
    value.write = lambda wanted: None  # type: ignore[method-assign]
    with pytest.raises(ServiceError, match="is 'new' after it was set to 'old'"):
        decided(book()).act(value)


def test_what_cannot_be_recorded_is_not_done(book, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="-p audit FOLDER"):
        book(audit=tmp_path / "file")
    (tmp_path / "audit.jsonl").write_text('{"at": 1, "kind": "changing"}\n{"at": 2, "ki')
    assert kinds(tmp_path) == ["changing"]


def test_handing_over_tells_decision_deeds_and_what_is_next(book) -> None:
    run = decided(book())
    run.act(Value())
    text = run.hand_over("mend the model")
    assert "mend on shop (for real)" in text
    assert "changed model: 'new' -> 'old'" in text
    assert text.endswith("next      mend the model")


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
def test_when_two_values_are_the_same(one, other, equal) -> None:
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
    change.write(["a-1.log", "a-2.log"])
    assert change.read() == ["a-1.log", "a-2.log"]
    assert (folder / "keep.txt").exists()
    for pattern in ("*", "../*.log", "*.*"):
        with pytest.raises(ParameterError, match="accepted: names in one folder"):
            FilesInFolder("logs", [], folder, pattern, archive)


def test_a_text_is_written_and_taken_away_again(tmp_path) -> None:
    change = FileText("freeze", "frozen", tmp_path / "freeze")
    assert change.read() is None
    change.write("frozen")
    assert change.read() == "frozen"
    change.write(None)
    assert change.read() is None


def test_an_address_that_is_none_and_a_service_that_is_not_there_are_told_in_time() -> None:
    began = time.monotonic()
    with pytest.raises(ParameterError, match="needed: change_url, state_url, wanted; accepted as well: body_field"):
        HttpValue.of("x", {"wanted": 1, "token": "secret"})
    with pytest.raises(ParameterError, match="accepted: PUT, POST"):
        HttpValue("x", 1, "http://a", "http://a", method="DELETE")
    with pytest.raises(ParameterError, match="accepted: a URL"):
        HttpValue("x", 1, "127.0.0.1:1", "http://127.0.0.1:1")
    gone = HttpValue("x", 1, "http://127.0.0.1:1/state", "http://127.0.0.1:1/state")
    with pytest.raises(ServiceError, match="does it answer from here"):
        gone.read()
    with pytest.raises(MetricsError, match=r"cannot be read.*Nothing was changed"):
        Signals(["127.0.0.1:1"])
    with pytest.raises(MetricsError, match="accepted: host:port"):
        Signals([])
    assert time.monotonic() - began < 30


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
