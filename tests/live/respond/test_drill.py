"""Two fixed drills on a real stage: a rescue, and the replay that proves its fix. All scenarios: ``make drills``."""

import dataclasses

import pytest

from mlops_helpers.respond import drill, scenario, steady
from mlops_helpers.respond.postmortem_review import judge_replay

# the fault takes every comment's verdict; a machine that four tests share may be late for some of them
STOPPED = dataclasses.replace(
    scenario.load("filter-stopped"), steady_state={"availability": 0.5, "honest_published": 0.3}, seconds=60.0
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder for the drills, with a workspace of their own and less time to look at readers."""
    folder = tmp_path_factory.mktemp("drills")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPSLAB_WORKSPACE", str(folder / "workspace"))
        patch.setattr(steady, "STEADY_SECONDS", 1.5)
        patch.setattr(drill, "SUSTAINED_SECONDS", 1.5)
        patch.setattr(drill, "_CALM_SECONDS", 3.0)
        yield folder


@pytest.fixture(scope="module")
def rescued(folder):
    """A drill whose reference solution was done."""
    return drill.run(STOPPED, folder=folder / "rescued")


def test_rescue_passes_and_its_clock_runs_in_order(rescued):
    assert rescued.outcome == "passed", rescued.reason
    first = {record["kind"]: record["at"] for record in reversed(rescued.journal) if record["kind"] != "alert"}
    pages = [record["at"] for record in rescued.journal if record["kind"] == "alert"]
    assert any(first["injected"] <= at <= first["acknowledged"] for at in pages)
    order = ["opened", "injected", "acknowledged", "acted", "reverted", "closed"]
    assert [first[kind] for kind in order] == sorted(first[kind] for kind in order)
    assert first["injected"] <= first["mitigated"]


def test_replay_proves_the_fix_of_the_same_incident_and_nothing_is_left(rescued, folder):
    replayed = drill.run(STOPPED, fix="second filter", folder=folder / "replayed")
    assert (replayed.outcome, replayed.reason) == ("prevented", "")
    assert "judged" in next(record["did"] for record in replayed.journal if record["kind"] == "guarded")
    assert judge_replay(rescued.journal, replayed.journal).verdict == "proved"
    assert judge_replay(rescued.journal, rescued.journal).verdict == "refuted"
    assert not list((folder / "workspace" / "platforms").glob("*"))
