"""The score of a drill, with reasons: from its journal and the readers' record, never from the state of processes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["POINTS", "Facts", "Part", "Result", "score"]

POINTS = {"detection": 10, "diagnosis": 20, "mitigation": 40, "budget": 10, "collateral": 10, "communication": 10}
ACKNOWLEDGE_SECONDS = 5.0  # from the page, for all points; none after three times as long


@dataclass(frozen=True)
class Part:
    """``points`` of ``of``, and why."""

    part: str
    points: float
    of: float
    reason: str


@dataclass(frozen=True)
class Facts:
    """What a score is made of. Times are epoch seconds, None: it did not happen.

    ``began`` is the fault, ``mitigated`` since when readers were served again, for a sustained time; ``allowed`` the
    seconds between these that still earn half of the points. ``breached`` has the begin of a breach by SLI,
    ``expected`` the one that was to happen (empty: none). ``bad`` counts bad events of that SLI since the fault,
    ``total`` all of them. ``lost`` comments were accepted and are not stored. ``blind``: nobody watches at the end.
    ``steady``: steady state held after the drill. ``replay``: a fix was on.
    """

    began: float
    mitigated: float | None
    allowed: float
    breached: Mapping[str, float]
    expected: str
    bad: int
    total: int
    lost: int
    blind: bool
    steady: bool
    cause: str
    records: tuple[Mapping[str, Any], ...]
    replay: bool = False


@dataclass(frozen=True)
class Result:
    """``outcome`` is passed, failed or void, that of a replay prevented, refuted or void; ``reason`` says why it is not
    the first; ``parts`` say why ``points`` of 100 were given.
    """

    outcome: str
    points: float
    parts: tuple[Part, ...]
    reason: str
    breached: bool
    seconds: float
    folder: Path
    journal: tuple[Mapping[str, Any], ...]

    @property
    def passed(self) -> bool:
        """Whether readers were served again, or all the time, and nothing was lost."""
        return self.outcome in ("passed", "prevented")


def score(facts: Facts) -> tuple[bool, list[Part]]:
    """Return whether the drill is passed, and the parts of the score.

    It is passed when readers are served again, nothing was lost, somebody watches, and steady state holds afterwards;
    in a drill without a breach, when there was none. Who does not pass earns nothing.
    """
    failures = _failures(facts)
    if failures:
        reason = "; ".join(failures)
        return False, [Part(name, 0.0, of, reason) for name, of in POINTS.items()]
    parts = [_detection(facts), _diagnosis(facts), _mitigation(facts), _budget(facts), _collateral(facts), _told(facts)]
    cost = sum(float(one["cost"]) for one in facts.records if one["kind"] == "hint")
    if cost:
        parts.append(Part("hints", -cost, 0.0, "hints that were taken"))
    return True, parts


def _failures(facts: Facts) -> list[str]:
    found = []
    if facts.expected and facts.mitigated is None:
        found.append(f"readers' {facts.expected} did not come back to its tolerance")
    if not facts.expected and facts.breached:
        when = "with the fix on" if facts.replay else "readers were served well, until something was done"
        found.append(f"{when}: {', '.join(facts.breached)} left its tolerance")
    if facts.lost:
        found.append(f"{facts.lost} comments were accepted and are lost")
    if facts.blind:
        found.append("nobody watches: telemetry was not restored")
    if not facts.steady:
        found.append("steady state does not hold after the drill")
    return found


def _first(facts: Facts, kind: str) -> Mapping[str, Any] | None:
    return next((one for one in facts.records if one["kind"] == kind), None)


def _detection(facts: Facts) -> Part:
    of = POINTS["detection"]
    seen = _first(facts, "acknowledged")
    if seen is None:
        return Part("detection", 0.0, of, "nobody acknowledged")
    pages = [one for one in facts.records if one["kind"] == "alert" and one.get("status") == "firing"]
    before = [one for one in pages if float(one["at"]) <= float(seen["at"])]
    page = next((one for one in before if float(one["at"]) >= facts.began), before[-1] if before else None)
    since = facts.began if page is None else float(page["at"])
    late = max(0.0, float(seen["at"]) - since)
    share = 1.0 if page is None else min(1.0, max(0.0, 1 - (late - ACKNOWLEDGE_SECONDS) / (2 * ACKNOWLEDGE_SECONDS)))
    what = "the report" if page is None else "the page"
    return Part("detection", round(of * share, 1), of, f"acknowledged {late:.1f} s after {what}")


def _diagnosis(facts: Facts) -> Part:
    said = [one["cause"] for one in facts.records if one["kind"] == "diagnosed"]
    right = bool(said) and said[-1] == facts.cause
    reason = f"said {said[-1]!r}, it was {facts.cause!r}" if said else f"no diagnosis; it was {facts.cause!r}"
    return Part("diagnosis", POINTS["diagnosis"] * right, POINTS["diagnosis"], reason)


def _mitigation(facts: Facts) -> Part:
    of = POINTS["mitigation"]
    if not facts.expected:
        return Part("mitigation", of, of, "readers were served well throughout: there was nothing to mitigate")
    assert facts.mitigated is not None
    took = facts.mitigated - facts.began
    share = min(1.0, max(0.0, 1.5 - took / facts.allowed))
    return Part("mitigation", round(of * share, 1), of, f"readers are served again {took:.1f} s after the fault")


def _budget(facts: Facts) -> Part:
    of, share = POINTS["budget"], 1 - facts.bad / max(1, facts.total)
    what = f"{facts.bad} of {facts.total} events were bad"
    return Part("budget", round(of * max(0.0, share), 1), of, what)


def _collateral(facts: Facts) -> Part:
    of = POINTS["collateral"]
    others = sorted(set(facts.breached) - {facts.expected})
    failed = [str(one["action"]) for one in facts.records if one["kind"] == "acted" and not one["ok"]]
    harmful = [str(one["action"]) for one in facts.records if one["kind"] == "acted" and one["action"] in _HARMFUL]
    points = max(0.0, of - 3.0 * len(others) - 2.0 * len(failed) - float(of) * bool(harmful))
    reasons = [f"{name} left its tolerance, too" for name in others] + [f"{name} did not work" for name in failed]
    return Part("collateral", points, of, "; ".join(reasons + [f"{name} helps nobody" for name in harmful]) or "none")


def _told(facts: Facts) -> Part:
    of = POINTS["communication"]
    public = any(one["kind"] == "update" and one["audience"] == "public" for one in facts.records)
    over = _first(facts, "resolved") is not None
    reason = f"the public was {'' if public else 'not '}told, the end was {'' if over else 'not '}declared"
    return Part("communication", of * (public + over) / 2, of, reason)


_HARMFUL = {"delete_service", "scale_to_zero", "mute_alerts", "raise_threshold"}
