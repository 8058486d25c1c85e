"""Trying scenarios out: every responder is asked for, a void drill is repeated, and what is not as promised is told."""

import pytest

from mlops_helpers import cli
from mlops_helpers.respond import scenario, trials
from mlops_helpers.respond.trials import Job

AREAS = {name: scenario.load(name).area for name in scenario.names()}
ANSWER = {"outcome": "passed", "reason": "", "points": 90.0, "seconds": 1.0, "journal": [{"kind": "opened"}]}


@pytest.fixture
def answers(monkeypatch):
    """What the processes of the drills answer, in turn, instead of running any; and what they were asked."""
    given, asked = [], []

    class Process:
        def __init__(self, module, called):
            pass

        def ask(self, line):
            asked.append(line)
            return given.pop(0)

        def close(self, seconds):
            asked.append("closed")

    monkeypatch.setattr(trials, "SideProcess", Process)
    return given, asked


def test_each_responder_and_nobody_is_tried():
    for name in scenario.names():
        chosen, wanted = scenario.load(name), trials.jobs(name)
        by = {(job.responder, job.expected) for job in wanted if not job.fix}
        assert {(each.name, "passed") for each in chosen.solutions} <= by
        assert {(each.name, "failed") for each in chosen.not_solutions} <= by
        assert (("do nothing", "failed") in by) == bool(chosen.breach)
        assert {job.fix for job in wanted if job.fix} == set(chosen.fixes)
        assert [job.expected for job in trials.few(name, 3)] == ["passed", "failed"]


@pytest.mark.parametrize(("share", "seed"), [(0, 0), (0.2, 2), (1, 3)])
def test_share_has_all_areas_and_another_seed_has_others(share, seed):
    chosen = trials.some(share, seed)
    assert len(set(chosen)) == len(chosen) >= round(share * len(scenario.names()))
    assert {AREAS[name] for name in chosen} == set(AREAS.values())
    assert trials.some(share, seed) == chosen
    assert share == 1 or trials.some(share, seed + 1) != chosen


def test_void_drills_are_tried_again_after_the_others_and_results_keep_their_order(answers, tmp_path):
    given, asked = answers
    void = ANSWER | {"outcome": "void"}
    given += [void, void, ANSWER, ANSWER | {"outcome": "failed"}, void, void]
    wanted = [Job("filter-stopped", name, "failed") for name in ("a", "b", "c")]
    told = []
    found = trials.trials(wanted, tmp_path, at_once=1, each=told.append)
    assert [one.job for one in found] == wanted
    assert [(one.outcome, one.tries, one.held) for one in found] == [
        ("failed", 2, True),
        ("void", trials.TRIES, False),
        ("passed", 1, False),
    ]
    assert told == [found[2], found[0], found[1]]
    assert [line["responder"] for line in asked if line != "closed"] == ["a", "b", "c", "a", "b", "b"]
    assert len({line["folder"] for line in asked if line != "closed"}) == 6
    assert asked[-1] == "closed"


def test_interrupt_ends_the_other_drills_and_starts_none(answers, tmp_path):
    given, asked = answers
    given += [ANSWER] * 9

    def tell(trial):
        raise KeyboardInterrupt("enough")

    with pytest.raises(KeyboardInterrupt, match="enough"):
        trials.trials([Job("filter-stopped", name, "passed") for name in "abcdefgh"], tmp_path, at_once=2, each=tell)
    assert sum(line != "closed" for line in asked) <= 2
    assert asked.count("closed") == 4  # each twice: at once, and in the end


@pytest.mark.parametrize(
    ("outcomes", "code", "summary"),
    [
        (["passed", "failed"], 0, "2 as they should be, 0 not, 0 void"),
        (["passed", "passed"], 1, "1 as they should be, 1 not, 0 void"),
        (["passed"] + ["void"] * trials.TRIES, 1, "1 as they should be, 0 not, 1 void"),
    ],
)
def test_command_succeeds_only_when_every_drill_is_as_promised(answers, capsys, outcomes, code, summary):
    given, _ = answers
    given += [ANSWER | {"outcome": outcome, "reason": "because"} for outcome in outcomes]
    assert cli.main(["drill", "check", "filter-stopped", "--few", "--at-once", "1"]) == code
    printed = capsys.readouterr().out
    assert "2 drills of 1 scenarios, 1 at once, --seed 0" in printed
    assert summary in printed
    assert ("because" in printed) == bool(code)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--at-once", "0"], "--at-once of 1 or more"),
        (["--share", "2"], "--share from 0 to 1"),
        (["filter-stopped", "--share", "1"], "scenarios, or a share"),
        (["nowhere"], "no scenario nowhere"),
    ],
)
def test_impossible_check_is_refused(arguments, said, capsys):
    assert cli.main(["drill", "check", *arguments]) in (1, 2)
    assert said in capsys.readouterr().err
