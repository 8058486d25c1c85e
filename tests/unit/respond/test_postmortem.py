"""Postmortems: what the journal knows is in the draft, and nothing unfinished or blaming is final."""

from dataclasses import replace

import pytest

from mlops_helpers.errors import ParameterError
from mlops_helpers.respond.postmortem import TO_WRITE, ActionItem, Entry, draft, times
from mlops_helpers.respond.postmortem_review import judge_replay, review
from mlops_helpers.respond.review import wording

JOURNAL = [
    {
        "at": 100.0,
        "kind": "opened",
        "scenario": "filter-stopped",
        "title": "No verdicts",
        "seed": 7,
        "time_lapse": 60.0,
    },
    {"at": 101.0, "kind": "injected", "fault": "stopped", "arguments": {"name": "filter-v1-0"}},
    {"at": 103.0, "kind": "alert", "status": "firing", "objective": "comments-judged", "severity": "page"},
    {"at": 104.0, "kind": "acknowledged", "by": "operations"},
    {"at": 105.0, "kind": "diagnosed", "by": "operations", "cause": "release"},
    {"at": 106.0, "kind": "diagnosed", "by": "operations", "cause": "filter stopped"},
    {"at": 107.0, "kind": "acted", "by": "operations", "action": "start", "ok": True, "detail": "filter-v1-0"},
    {"at": 108.0, "kind": "mitigated", "sli": "judged"},
    {"at": 112.0, "kind": "alert", "status": "resolved", "objective": "comments-judged", "severity": "page"},
    {"at": 113.0, "kind": "resolved", "by": "commander"},
    {"at": 114.0, "kind": "closed", "outcome": "passed", "spent": {"judged": 120}, "lost": 0},
    {"at": 102.0, "kind": "breached", "sli": "judged"},  # dated back: journals are written as things become known
]
ITEM = ActionItem("a second replica", "prevent", "owner of the filter", "issue 12")


@pytest.fixture
def final():
    """A postmortem that has no finding."""
    return replace(
        draft(JOURNAL, authors=["operations lead"]),
        status="final",
        summary="For six minutes comments got no verdict in time; none was lost.",
        root_causes="One process judged all comments, and nothing started it again.",
        action_items=[ITEM],
        went_well=["the page came within two minutes"],
        went_wrong=["the first diagnosis was another one"],
        got_lucky=["it was noon"],
    )


def test_times_count_from_what_readers_met_and_in_the_time_of_the_incident() -> None:
    took = times(JOURNAL)
    assert (took.detected, took.acknowledged, took.diagnosed) == (60.0, 120.0, 240.0)
    assert (took.mitigated, took.resolved) == (360.0, 660.0)
    assert "detected after 60 s" in str(took)


def test_event_that_did_not_happen_took_no_time() -> None:
    quiet = [one for one in JOURNAL if one["kind"] not in ("alert", "mitigated", "resolved")]
    took = times(quiet)
    assert (took.detected, took.mitigated, took.resolved) == (None, None, None)
    assert "No alert fired" in draft(quiet, authors=["x"]).detection
    assert "it was not mitigated" in draft(quiet, authors=["x"]).impact


def test_incomplete_journal_is_refused() -> None:
    with pytest.raises(ParameterError, match="no indicator was breached"):
        times(JOURNAL[:-1])
    for part in ([], JOURNAL[1:]):
        with pytest.raises(ParameterError, match="accepted: all records of one incident"):
            draft(part, authors=["x"])


def test_the_draft_has_what_the_journal_knows_and_says_what_it_does_not(final) -> None:
    made = draft(JOURNAL, authors=["operations lead"])
    assert (made.title, made.status, made.date) == ("No verdicts", "draft", "1970-01-01")
    assert "120 bad events of judged" in made.impact
    assert "Accepted and lost: 0" in made.impact
    assert [entry.at for entry in made.timeline] == sorted(entry.at for entry in made.timeline)
    unwritten = {one.section for one in review(made)}
    assert unwritten == {"summary", "root_causes", "action_items", "went_well", "went_wrong", "got_lucky"}
    assert made.summary == TO_WRITE


def test_complete_postmortem_has_no_finding_and_every_section_is_in_the_document(final) -> None:
    assert review(final, JOURNAL) == []
    text = final.markdown()
    for heading in (
        "Summary", "Impact", "Root causes", "Trigger", "Resolution", "Detection", "Action items", "Lessons",
        "Went well", "Went wrong", "Got lucky", "Timeline (UTC)", "Supporting information",
    ):  # fmt: skip
        assert f"# {heading}\n" in text
    assert "| a second replica | prevent | owner of the filter | issue 12 |" in text
    assert "- status: final" in text
    assert "00:01:42 left its tolerance: judged" in text


@pytest.mark.parametrize(
    ("change", "section", "said"),
    [
        ({"status": "done"}, "status", "draft, in review, final"),
        ({"summary": " "}, "summary", "is not written"),
        ({"action_items": []}, "action_items", "is not written"),
        ({"action_items": [replace(ITEM, owner="Everybody ")]}, "action_items", "name one who answers for it"),
        ({"action_items": [replace(ITEM, tracking=" ")]}, "action_items", "tracked nowhere"),
        ({"action_items": [replace(ITEM, kind="hope")]}, "action_items", "prevent, detect, mitigate, process"),
        ({"action_items": [replace(ITEM, kind="process")]}, "action_items", "none prevents or mitigates"),
        ({"root_causes": "She forgot to restart it."}, "root_causes", '"forgot to" blames'),
        ({"timeline": [Entry(2, "acted", "b"), Entry(1, "acted", "a")]}, "timeline", "not in order of time"),
    ],
)
def test_what_keeps_it_from_being_final(final, change, section, said) -> None:
    assert any(one.section == section and said in str(one) for one in review(replace(final, **change)))


@pytest.mark.parametrize("kind", ["breached", "alert", "acknowledged", "acted", "mitigated", "resolved"])
def test_the_timeline_leaves_nothing_out_and_moves_nothing(final, kind) -> None:
    without = replace(final, timeline=[entry for entry in final.timeline if entry.kind != kind])
    assert any(f"{kind} is missing" in one.found for one in review(without, JOURNAL))
    moved = [replace(entry, at=entry.at + 2 * (entry.kind == kind)) for entry in final.timeline]
    assert any(f"{kind} is missing" in one.found for one in review(replace(final, timeline=moved), JOURNAL))


@pytest.mark.parametrize(
    ("text", "blames"),
    [
        ("This was human error.", True),
        ("It should have been noticed.", True),
        ("It was obviously wrong.", True),
        ("The author is to blame.", True),
        ("The fault was injected at noon.", False),
        ("A mistake in the configuration passed the review, which looks at code only.", False),
    ],
)
def test_words_that_blame_are_found_and_others_not(text, blames) -> None:
    assert bool(list(wording("summary", text))) is blames


GUARDED = {"at": 101.5, "kind": "guarded", "guard": "replicas", "did": "the other filter judged 9 comments"}


def fixed(*more: dict) -> list[dict]:
    return [one for one in JOURNAL if one["kind"] not in ("breached", "visible")] + list(more)


def closed(**facts) -> list[dict]:
    return [record | facts if record["kind"] == "closed" else record for record in fixed(GUARDED)]


@pytest.mark.parametrize(
    ("replay", "verdict", "reason"),
    [
        (fixed(GUARDED), "proved", "the other filter judged 9 comments"),
        ([*JOURNAL, GUARDED], "refuted", "judged"),
        (fixed(), "refuted", "did nothing"),
        (fixed(GUARDED | {"at": 100.5}), "refuted", "did nothing"),
        (closed(outcome="refuted", reason="3 comments are lost"), "refuted", "with the fix on: 3 comments are lost"),
        (closed(outcome="void", reason="no steady state"), "unknown", "no steady state"),
        ([record for record in fixed() if record["kind"] != "closed"], "unknown", ""),
    ],
)
def test_replay_proves_a_fix_that_acted_and_kept_readers_from_harm(replay, verdict, reason) -> None:
    judged = judge_replay(JOURNAL, replay)
    assert judged.verdict == verdict
    assert reason in judged.reason
    assert judge_replay(fixed(), replay).verdict == "unknown"  # of an incident that no reader met


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("opened", {"seed": 8}),
        ("opened", {"scenario": "other"}),
        ("injected", {"arguments": {"name": "gateway"}}),
        ("injected", {"kind": "hint"}),
    ],
)
def test_another_incident_proves_nothing(kind, change) -> None:
    other = [record | change if record["kind"] == kind else record for record in fixed()]
    with pytest.raises(ParameterError, match="the same incident twice"):
        judge_replay(JOURNAL, other)
