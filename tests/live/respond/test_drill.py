"""Two fixed drills on a real stage: a rescue, and the replay that proves its fix. All scenarios: ``make drills``."""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mlops_helpers.errors import ServiceError
from mlops_helpers.respond import drill, scenario, steady, trials
from mlops_helpers.respond.postmortem_review import judge_replay
from tests.support.leaks import ended
from tests.support.waiting import until

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


MAKER = """
import sys, time
from pathlib import Path
from mlops_helpers.respond import faults, stage
with stage.Stage(Path(sys.argv[1]), seed=0, time_lapse=360.0, notify=print) as held:
    with faults.injected(held, faults.fault("process_frozen", name="filter-v1-0")):
        print("under way", flush=True)
        time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_stage_leaves_nothing(number, tmp_path):
    command = [sys.executable, "-c", MAKER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as maker:
        assert maker.stdout.readline() == "under way\n"
        started = [process.pid for process in psutil.Process(maker.pid).children(recursive=True)]
        assert len(started) >= 5, "blog, gateway, filter, wires and watchdog"
        maker.send_signal(number)
        maker.wait(60)
    until(lambda: all(map(ended, started)), "every process of the stage has ended")
    platforms = Path(os.environ["OPSLAB_WORKSPACE"]) / "platforms"
    until(lambda: not list(platforms.glob("*")), "the platform's folder is removed")


def test_process_of_the_trials_says_what_cannot_be_drilled(tmp_path):
    with pytest.raises(ServiceError, match="has no responder 'pray'"):
        trials.trials([trials.Job("filter-stopped", "pray", "passed")], tmp_path, at_once=1)
