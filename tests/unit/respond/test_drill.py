"""The course of a drill, on a stage whose readers are a rule and whose clock is a number."""

import dataclasses
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from mlops_helpers.errors import DrillError, GateRefused
from mlops_helpers.observe.webhook import Page
from mlops_helpers.respond import drill, journal, operator, responders, scenario, steady

STOPPED = scenario.load("filter-stopped")
RATE = 20.0


class Clock:
    """A clock that sleeping sets forward."""

    def __init__(self):
        self.now = 1_700_000_000.0
        self.strftime, self.time_ns = time.strftime, time.time_ns

    def time(self):
        return self.now

    monotonic = time

    def sleep(self, seconds):
        self.now += seconds


class Stage:
    """Comments of readers are held while ``filter-v1-0`` is stopped, unless a guard made them ``immune``."""

    def __init__(self, clock, notify):
        self.clock, self.began, self._notify = clock, clock.now, notify
        self.immune, self.noticed, self.busy, self.missing = False, True, 0.0, 0
        self.bad: list[list[float]] = []
        self.gates: list = []
        self.platform = SimpleNamespace(
            stop=self.stop, start=self.start, kill=lambda name: None, wait_ready=lambda *_: None, status=self.services
        )
        self.watch = SimpleNamespace(unknown=lambda: False, muted=False)
        self.watchdog = SimpleNamespace(promise=lambda entry: 1, keep=lambda number: None)
        self.control = SimpleNamespace(stalled=lambda start, end: self.busy)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def come(self):
        self.began = self.clock.now

    def stop(self, name):
        if self.noticed and not self.immune:
            self.bad.append([self.clock.now, float("inf")])
            self._notify([Page("ErrorBudgetBurn", "firing", self.clock.now, labels={"slo": "honest-published"})])

    def start(self, name):
        for period in self.bad:
            period[1] = min(period[1], self.clock.now)

    def services(self):
        return [self.status("filter-v1-0"), self.status("blog")]

    def status(self, name):
        stopped = name == "filter-v1-0" and any(end == float("inf") for _, end in self.bad)
        return SimpleNamespace(name=name, state="stopped" if stopped else "ready")

    def frame(self):
        at = np.arange(self.began, self.clock.now, 1 / RATE)
        held = np.zeros(len(at), bool)
        for start, end in self.bad:
            held |= (at >= start) & (at < end)
        return pd.DataFrame(
            {"at": at, "kind": "comment", "outcome": "ok", "status": 201, "label": pd.array([0] * len(at), "Int8"),
             "latency": 0.01, "state": np.where(held, "pending", "published")}
        )  # fmt: skip

    def settled(self):
        return self.clock.now

    def lost(self):
        return self.missing


@dataclasses.dataclass(frozen=True)
class Guard:
    """Keeps readers from noticing, if it ``works``, and says so, if it ``tells``."""

    works: bool = True
    tells: bool = True

    def begin(self, stage, guarding):
        stage.immune = self.works
        if self.tells:
            guarding.later(lambda since: "the other filter judged 9 comments")


@pytest.fixture
def play(monkeypatch, tmp_path):
    """Return a function that runs a drill on such a stage; keywords with these names change the stage."""

    def run(responder="restart the filter", *, guard=None, bad_before=False, load=0.0, **state):
        clock, stages = Clock(), []

        def stage(folder, *, seed, time_lapse, notify):
            stages.append(Stage(clock, notify))
            vars(stages[0]).update(state)
            if bad_before:
                stages[0].bad.append([0.0, float("inf")])
            return stages[0]

        for module in (drill, steady, journal, operator):
            monkeypatch.setattr(module, "time", clock)
        for module in (drill, steady):
            monkeypatch.setattr(module, "LOOK_SECONDS", 1.0)
        monkeypatch.setattr(drill, "Stage", stage)
        monkeypatch.setattr(drill, "os", SimpleNamespace(getloadavg=lambda: (load, 0, 0), cpu_count=lambda: 1))
        if guard:
            fixed = dataclasses.replace(STOPPED, fixes={"it": scenario.Fix("it", (("replicas", guard),))})
            return drill.run(fixed, fix="it", folder=tmp_path / "drill")
        respond = responders.NOTHING if responder == "do nothing" else STOPPED.responder(responder)
        return drill.run(STOPPED, respond, folder=tmp_path / "drill")

    return run


def test_rescue_passes_and_its_journal_is_in_order(play):
    result = play("restart the filter")
    assert (result.outcome, result.reason) == ("passed", "")
    assert result.points > 90
    first = {record["kind"]: record["at"] for record in reversed(result.journal)}
    order = ["opened", "injected", "alert", "acknowledged", "acted", "reverted", "closed"]
    assert [first[kind] for kind in order] == sorted(first[kind] for kind in order)
    assert first["mitigated"] >= first["injected"]
    assert journal.read(result.folder / "journal.jsonl") == list(result.journal)


@pytest.mark.parametrize("responder", ["do nothing", "mute the alert", "restart the blog"])
def test_who_does_not_help_readers_earns_nothing(play, responder):
    result = play(responder)
    assert (result.outcome, result.points) == ("failed", 0)
    assert "honest_published did not come back" in result.reason


def test_lost_comments_fail_a_drill_that_readers_would_pass(play):
    result = play("restart the filter", missing=3)
    assert (result.outcome, result.points) == ("failed", 0)
    assert "3 comments" in result.reason


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"bad_before": True}, "steady state does not hold before"),
        ({"noticed": False}, "readers did not meet the fault"),
        ({"responder": "do nothing", "busy": 5.0}, "too busy: a write of one byte was overdue for 5.0 s"),
    ],
)
def test_drill_is_void_and_says_why_when_it_says_nothing_about_anybody(play, state, reason):
    result = play(**state)
    assert (result.outcome, result.points) == ("void", 0)
    assert reason in result.reason
    assert result.journal[-1]["reason"] == result.reason


def test_busy_machine_takes_nothing_from_who_passes(play):
    assert play("restart the filter", busy=5.0).outcome == "passed"


@pytest.mark.parametrize(
    ("guard", "outcome", "reason"),
    [
        (Guard(), "prevented", ""),
        (Guard(tells=False), "refuted", "it did nothing"),
        (Guard(works=False), "refuted", "with the fix on: honest_published left its tolerance"),
    ],
)
def test_fix_is_proved_only_when_it_acted_and_no_reader_noticed(play, guard, outcome, reason):
    result = play(guard=guard)
    assert (result.outcome, result.reason) == (outcome, reason)


def test_replay_on_an_overloaded_machine_refutes_nothing(play):
    result = play(guard=Guard(works=False), load=9.0)
    assert result.outcome == "void"
    assert "9.0 processes a processor" in result.reason


def test_gate_that_refuses_the_fault_is_on_record(play, monkeypatch):
    def refuse(self, name):
        raise GateRefused("not on my watch")

    monkeypatch.setattr(Stage, "stop", refuse)
    result = play(guard=Guard())
    assert result.outcome == "prevented"
    (injected,) = (record for record in result.journal if record["kind"] == "injected")
    assert injected["refused"] == "not on my watch"


def test_impossible_drill_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(DrillError, match="second filter"):
        drill.Drill(STOPPED, fix="hope")
    with pytest.raises(DrillError, match="commander"):
        drill.Drill(STOPPED, roles={"boss": "x"})
    with pytest.raises(DrillError, match="no journal"):
        journal.read(tmp_path / "journal.jsonl")
    (tmp_path / "journal.jsonl").write_text("an earlier drill's")
    with pytest.raises(DrillError, match="not empty; accepted: a new folder"):
        drill.Drill(STOPPED, folder=tmp_path)
    assert [path.read_text() for path in tmp_path.glob("*.jsonl")] == ["an earlier drill's"]
