"""A drill is judged by what readers saw, dated by their record: each failure and each part of the score."""

import numpy as np
import pandas as pd
import pytest

from mlops_helpers.respond import judge, score

T0 = 1_000_000.0
TOLERANCES = {"availability": 0.9}


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


def mitigated(frame):
    return judge.mitigated_at(frame, TOLERANCES, T0 + 4, T0 + 20, sustained=3)


def facts(**changed):
    good = {
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
    return score.Facts(**{**good, **changed})


def points(**changed):
    return {part.part: part.points for part in score.score(facts(**changed))[1]}


def test_breach_and_mitigation_are_dated_by_the_record():
    frame = record(bad_from=4, bad_to=9)
    breached = judge.breaches(frame, TOLERANCES, T0, T0 + 20)["availability"]
    assert abs(breached - (T0 + 4)) < 1 / 20
    assert abs(mitigated(frame) - (T0 + 9)) <= judge.STEP


def test_recovery_that_does_not_last_is_none():
    frame = record(bad_from=4, bad_to=9)
    frame.loc[frame["at"].ge(T0 + 17), "outcome"] = "refused"
    assert mitigated(frame) is None
    assert mitigated(record(4, 16)) is not None  # for four seconds; three are asked for
    assert mitigated(record(4, 18)) is None
    silent = record(4, 9)
    assert mitigated(silent[silent["at"].lt(T0 + 9)]) is None, "nobody came"


def test_good_response_has_all_parts_with_reasons():
    passed, parts = score.score(facts())
    assert passed
    assert {part.part for part in parts} == set(score.POINTS)
    assert all(part.reason for part in parts)
    assert sum(part.points for part in parts) == 95


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"mitigated": None}, "did not come back"),
        ({"lost": 3}, "3 comments"),
        ({"blind": True}, "nobody watches"),
        ({"steady": False}, "steady state"),
        ({"expected": "", "breached": {"fast": T0}}, "until something was done"),
        ({"expected": "", "breached": {"fast": T0}, "replay": True}, "with the fix on: fast"),
    ],
)
def test_score_is_zero_when_readers_stay_hurt(changed, reason):
    passed, parts = score.score(facts(**changed))
    assert not passed
    assert sum(part.points for part in parts) == 0
    assert reason in parts[0].reason


@pytest.mark.parametrize(
    ("part", "changed", "left"),
    [
        ("detection", {"records": ()}, 0),
        ("diagnosis", {"cause": "something else"}, 0),
        ("mitigation", {"mitigated": T0 + 15}, 20),
        ("budget", {"bad": 100}, 0),
        ("collateral", {"breached": {"availability": T0, "fast": T0}}, 7),
        ("collateral", {"records": ({"kind": "acted", "action": "mute_alerts", "ok": True},)}, 0),
        ("communication", {"records": ()}, 0),
    ],
)
def test_each_part_falls_for_its_own_reason(part, changed, left):
    assert points(**changed)[part] == left < points()[part]


def test_hints_cost_points():
    with_hint = points(records=(*facts().records, {"kind": "hint", "at": T0, "cost": 5}))
    assert sum(with_hint.values()) == sum(points().values()) - 5
