"""Drills that the grader runs: what a student says is only data, and a journal is only worth its signature."""

import json
import stat

import pytest

from mlops_helpers.errors import DrillError
from mlops_helpers.respond import scenario
from mlops_helpers.respond.operator import ACTIONS
from mlops_helpers.teach import grading_drill, grading_steps
from mlops_helpers.teach.grading_steps import answer_of, steps_of

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
JOURNAL = [
    {"at": 1.5, "kind": "opened", "scenario": "gateway-stopped", "roles": {"commander": "commander"}},
    {"at": 31.0, "kind": "closed", "outcome": "passed", "points": 61.0},
]


@pytest.fixture
def brought():
    """A signed journal, as it comes back from a student: as JSON data."""
    return json.loads(json.dumps(grading_drill.signed(JOURNAL, KEY, student="student-01")))


def test_a_signed_journal_is_verified(brought):
    assert grading_drill.verified(brought, KEY, student="student-01") == JOURNAL


def test_a_journal_of_another_student_is_refused(brought):
    with pytest.raises(DrillError, match="somebody else"):
        grading_drill.verified(brought, KEY, student="student-02")
    with pytest.raises(DrillError, match="does not fit"):
        grading_drill.verified(brought | {"student": "student-02"}, KEY, student="student-02")


def test_a_journal_of_another_grader_is_refused(brought):
    with pytest.raises(DrillError, match="does not fit"):
        grading_drill.verified(brought, OTHER_KEY, student="student-01")


@pytest.mark.parametrize(
    "alter",
    [
        lambda journal: journal[1].update(points=100.0),
        lambda journal: journal[0].update(scenario="load-spike"),
        lambda journal: journal[0]["roles"].update(commander="student-02"),
        lambda journal: journal.pop(),
        lambda journal: journal.reverse(),
        lambda journal: journal.append({"at": 32.0, "kind": "resolved"}),
    ],
)
def test_an_altered_journal_is_refused(brought, alter):
    alter(brought["journal"])
    with pytest.raises(DrillError, match="does not fit"):
        grading_drill.verified(brought, KEY, student="student-01")


@pytest.mark.parametrize(
    "forged",
    [
        None,
        [],
        "passed",
        {"outcome": "passed"},
        {"student": "student-01", "journal": JOURNAL, "signature": None},
        {"student": "student-01", "journal": JOURNAL, "signature": ""},
        {"student": "student-01", "journal": JOURNAL, "signature": "ü" * 64},
        {"student": "student-01", "journal": JOURNAL, "signature": "0" * 64},
        {"student": "student-01", "journal": {"points": 100}, "signature": "0" * 64},
        {"student": "student-01", "journal": [{1: 2, "b": 3}], "signature": "0" * 64},
        {"student": "student-01", "journal": JOURNAL, "signature": "0" * 64, "trusted": True},
    ],
)
def test_a_forged_journal_is_refused(forged):
    with pytest.raises(DrillError):
        grading_drill.verified(forged, KEY, student="student-01")


def test_a_key_is_made_once_and_is_private(workspace_folder):
    key = grading_drill.grader_key()
    assert len(key) == 32
    assert grading_drill.grader_key() == key
    assert stat.S_IMODE((workspace_folder / "grading" / "drill.key").stat().st_mode) == 0o600
    assert len(list((workspace_folder / "grading").iterdir())) == 1


def test_a_damaged_key_signs_nothing(workspace_folder):
    grading_drill.grader_key()
    (workspace_folder / "grading" / "drill.key").write_bytes(b"")
    with pytest.raises(DrillError, match="0 bytes"):
        grading_drill.grader_key()


def test_steps_are_actions_with_their_arguments():
    said = [{"do": "restart", "name": "gateway"}, {"do": "wait", "seconds": 2}, {"do": "replace_filter"}]
    assert steps_of(said) == (("restart", {"name": "gateway"}), ("wait", {"seconds": 2}), ("replace_filter", {}))
    assert steps_of([]) == ()


def test_every_action_and_every_reference_solution_can_be_written_as_steps():
    assert set(grading_steps.ARGUMENTS) == set(ACTIONS)
    for one in map(scenario.load, scenario.names()):
        for responder in (*one.solutions, *one.not_solutions):
            said = [{"do": action, **arguments} for action, arguments in responder.steps]
            assert steps_of(said) == responder.steps


class Text(str):
    """What only looks like text."""


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (None, "a list"),
        ("restart", "a list"),
        (({"do": "replace_filter"},), "a list"),
        ([{"do": "replace_filter"}] * (grading_steps.MOST_STEPS + 1), "at most"),
        (["replace_filter"], "step 1"),
        ([{"do": None}], "step 1"),
        ([{"do": Text("replace_filter")}], "step 1"),
        ([{"do": "replace_filter"}, {"do": "win"}], "step 2"),
        ([{"do": "restart"}], "no argument|has \\[\\]"),
        ([{"do": "restart", "name": "../../etc"}], "name is"),
        ([{"do": "restart", "name": Text("blog")}], "name is"),
        ([{"do": "restart", "name": ["blog"]}], "name is"),
        ([{"do": "restart", "name": "blog", "stage": 1}], "accepted: name"),
        ([{"do": "replace_filter", 1: 2}], "no argument"),
        ([{"do": "wait", "seconds": 1e9}], "seconds is"),
        ([{"do": "wait", "seconds": float("nan")}], "seconds is"),
        ([{"do": "wait", "seconds": True}], "seconds is"),
        ([{"do": "wait", "seconds": -1}], "seconds is"),
    ],
)
def test_steps_that_are_none_are_refused(said, why):
    with pytest.raises(DrillError, match=why):
        steps_of(said)


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        {"diagnosis": "it ended"},
        {"diagnosis": "something else", "steps": []},
        {"diagnosis": ["it ended"], "steps": []},
        {"diagnosis": Text("it ended"), "steps": []},
        {"diagnosis": "it ended", "steps": {}},
        {"diagnosis": "it ended", "steps": [], "points": 100},
    ],
)
def test_an_answer_is_a_diagnosis_and_steps(said):
    assert answer_of({"diagnosis": "it ended", "steps": []}, ("it ended",)) == ("it ended", ())
    with pytest.raises(DrillError):
        answer_of(said, ("it ended",))


def test_drills_take_turns(workspace_folder, monkeypatch):
    monkeypatch.setattr(grading_drill, "_TURN_SECONDS", 0.0)
    with grading_drill._alone(), pytest.raises(DrillError, match="other drills"), grading_drill._alone():
        pass
    with grading_drill._alone():
        pass


def test_messages_are_short_whatever_was_answered():
    with pytest.raises(DrillError) as caught:
        steps_of("x" * 100_000)
    assert len(str(caught.value)) < 300
