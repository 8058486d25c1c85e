"""A drill is judged by what readers saw: rescued, muted, deleted, interrupted, killed."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from holding import held

from mlops_helpers.errors import DrillError
from mlops_helpers.respond import drill, journal, judge, responders, scenario, score

pytestmark = pytest.mark.drill  # live services, judged by how fast they answer

T0 = 1_000_000.0
TOLERANCES = {"availability": 0.9}


@pytest.fixture(scope="module")
def stopped():
    return scenario.load("filter-stopped")


@pytest.fixture(scope="module")
def earlier():
    """What this process held before the drill."""
    return held()


@pytest.fixture(scope="module")
def rescued(earlier, stopped, tmp_path_factory):
    """A drill whose reference solution was done."""
    folder = tmp_path_factory.mktemp("rescued")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPSLAB_WORKSPACE", str(folder / "workspace"))
        return drill.run(stopped, folder=folder / "drill")


def record(bad_from, bad_to, seconds=20, rate=20):
    """Visits at a steady rate, of which those between two seconds were not answered."""
    at = np.arange(0, seconds, 1 / rate)
    bad = (at >= bad_from) & (at < bad_to)
    return pd.DataFrame(
        {
            "at": T0 + at,
            "kind": "read",
            "outcome": np.where(bad, "refused", "ok"),
            "status": np.where(bad, 0, 200),
            "label": pd.array([pd.NA] * len(at), "Int8"),
            "latency": 0.01,
            "state": "",
        }
    )


def facts(**changed):
    told = {
        "began": T0,
        "mitigated": T0 + 5,
        "allowed": 15.0,
        "breached": {"availability": T0 + 1},
        "expected": "availability",
        "bad": 50,
        "total": 100,
        "lost": 0,
        "blind": False,
        "steady": True,
        "cause": "the filter has ended",
        "records": (
            {"kind": "alert", "at": T0 + 2, "status": "firing"},
            {"kind": "acknowledged", "at": T0 + 3},
            {"kind": "diagnosed", "at": T0 + 3, "cause": "the filter has ended"},
            {"kind": "update", "at": T0 + 3, "audience": "public"},
            {"kind": "resolved", "at": T0 + 6},
        ),
    }
    return score.Facts(**{**told, **changed})


def test_breach_and_mitigation_are_dated_by_the_record():
    frame = record(bad_from=4, bad_to=9)
    begun = judge.breaches(frame, TOLERANCES, T0, T0 + 20)["availability"]
    assert abs(begun - (T0 + 4)) < 1 / 20
    since = judge.mitigated_at(frame, TOLERANCES, begun, T0 + 20, sustained=3)
    assert abs(since - (T0 + 9)) <= judge.STEP


def test_a_recovery_that_does_not_last_is_none():
    frame = record(bad_from=4, bad_to=9)
    frame.loc[frame["at"].ge(T0 + 17), "outcome"] = "refused"
    assert judge.mitigated_at(frame, TOLERANCES, T0 + 4, T0 + 20, sustained=3) is None
    assert judge.mitigated_at(record(4, 18), TOLERANCES, T0 + 4, T0 + 20, sustained=3) is None


def test_a_record_without_visits_is_no_recovery():
    frame = record(bad_from=4, bad_to=9)
    assert judge.mitigated_at(frame[frame["at"].lt(T0 + 9)], TOLERANCES, T0 + 4, T0 + 20, sustained=3) is None


def test_a_good_response_has_all_parts_with_reasons():
    passed, parts = score.score(facts())
    assert passed
    assert {part.part for part in parts} == set(score.POINTS)
    assert all(part.reason for part in parts)
    assert sum(part.points for part in parts) == 95


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"mitigated": None}, "did not come back"),
        ({"lost": 3}, "3 comments"),
        ({"blind": True}, "nobody watches"),
        ({"steady": False}, "steady state"),
        ({"expected": "", "breached": {"fast": T0}}, "until something was done"),
        ({"expected": "", "breached": {"fast": T0}, "replay": True}, "with the fix on: fast"),
    ],
)
def test_who_does_not_help_readers_earns_nothing(changed, said):
    passed, parts = score.score(facts(**changed))
    assert not passed
    assert sum(part.points for part in parts) == 0
    assert said in parts[0].reason


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("detection", {"records": ()}),
        ("diagnosis", {"cause": "something else"}),
        ("mitigation", {"mitigated": T0 + 14}),
        ("budget", {"bad": 100}),
        ("collateral", {"breached": {"availability": T0, "fast": T0}}),
        ("communication", {"records": ()}),
    ],
)
def test_each_part_falls_for_its_own_reason(part, changed):
    full = {one.part: one.points for one in score.score(facts())[1]}
    less = {one.part: one.points for one in score.score(facts(**changed))[1]}
    assert less[part] < full[part]


def test_hints_cost_points():
    with_hint = facts(records=(*facts().records, {"kind": "hint", "at": T0, "cost": 5}))
    full, less = (sum(part.points for part in score.score(one)[1]) for one in (facts(), with_hint))
    assert less == full - 5


def test_a_rescue_passes_and_the_clock_runs_in_its_order(rescued):
    assert rescued.outcome in ("passed", "void"), rescued.reason
    if rescued.outcome == "void":
        pytest.skip(f"the machine is too busy for a steady state: {rescued.reason}")
    first = {}
    begun = next(one["at"] for one in rescued.journal if one["kind"] == "injected")
    for one in rescued.journal:
        if one["kind"] != "alert" or one["at"] >= begun:  # a busy machine may page before
            first.setdefault(one["kind"], one["at"])
    order = ["opened", "injected", "alert", "acknowledged", "acted", "reverted", "closed"]
    assert [first[kind] for kind in order] == sorted(first[kind] for kind in order)
    assert first["mitigated"] >= first["injected"]
    assert journal.read(rescued.folder / "journal.jsonl") == [dict(one) for one in rescued.journal]


def test_a_drill_leaves_nothing(earlier, rescued):
    assert held().children <= earlier.children
    assert not list((rescued.folder.parent / "workspace" / "platforms").glob("*"))


def test_muting_the_alert_earns_nothing(stopped, tmp_path):
    hasty = dataclasses.replace(stopped, seconds=3.0)
    found = drill.run(hasty, hasty.responder("mute the alert"), folder=tmp_path)
    assert found.outcome in ("failed", "void")
    assert found.points == 0


MAKER = """
import sys
from pathlib import Path
from mlops_helpers.respond import drill, scenario
with drill.Drill(scenario.load("filter-frozen"), folder=Path(sys.argv[1])) as one:
    print("under way", flush=True)
    one.hands.wait_for_page(600)
    import time; time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_drill_leaves_nothing(number, tmp_path, until):
    folder = tmp_path / "drill"
    command = [sys.executable, "-c", MAKER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as maker:
        maker.stdout.readline()
        started = psutil.Process(maker.pid).children(recursive=True)
        assert len(started) >= 5, "platform, wires, watchdog and readers"
        maker.send_signal(number)
        maker.wait(60)
    until(lambda: not psutil.wait_procs(started, timeout=0)[1])
    platforms = Path(os.environ["OPSLAB_WORKSPACE"]) / "platforms"
    until(lambda: not list(platforms.glob("*")))


def test_what_cannot_be_drilled_is_refused(stopped):
    with pytest.raises(DrillError, match="second filter"):
        drill.Drill(stopped, fix="hope")
    with pytest.raises(DrillError, match="commander"):
        drill.Drill(stopped, roles={"boss": "x"})
    began = time.monotonic()
    with pytest.raises(DrillError, match="no journal"):
        journal.read(Path("/nowhere/journal.jsonl"))
    assert time.monotonic() - began < 60
    assert responders.NOTHING.steps == ()
