"""Steady state: what readers meet while nothing is wrong. A drill needs it before, and has to leave it behind."""

import time
from collections.abc import Mapping

from mlops_helpers.respond import judge
from mlops_helpers.respond.journal import Journal
from mlops_helpers.respond.stage import Stage

__all__ = ["LOOK_SECONDS", "STEADY_SECONDS", "steady"]

STEADY_SECONDS = 3.0
LOOK_SECONDS = 0.25
_SETTLE_SECONDS = 0.5
_TRIES = 3


def steady(stage: Stage, tolerances: Mapping[str, float], journal: Journal, moment: str) -> bool:
    """Return whether steady state holds, soon: what has just started needs a while, and so does a backlog."""
    for _ in range(_TRIES):
        begin = time.time() + _SETTLE_SECONDS
        while stage.settled() < begin + STEADY_SECONDS:  # all that was intended by then has its answer, or none
            time.sleep(LOOK_SECONDS)
        found = judge.shares(stage.frame(), begin, begin + STEADY_SECONDS)
        good = judge.holds(found, tolerances) and found["availability"].total > 0
        if good:
            break
    probes = [
        {"sli": name, "good": found[name].good, "total": found[name].total, "at_least": least}
        for name, least in tolerances.items()
    ]
    journal.note("steady_state", moment=moment, holds=good, probes=probes)
    return good
