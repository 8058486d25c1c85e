"""Whether a postmortem may be called final, and whether the fix that it proposes would have helped."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mlops_helpers.errors import ParameterError
from mlops_helpers.respond.postmortem import KINDS_OF_ACTION, TO_WRITE, Postmortem
from mlops_helpers.respond.review import Finding, wording

__all__ = ["STATUSES", "Replay", "judge_replay", "review"]

STATUSES = ("draft", "in review", "final")
_NOBODY = {
    "",
    "all",
    "anybody",
    "everybody",
    "everyone",
    "nobody",
    "somebody",
    "someone",
    "tbd",
    "the team",
    "us",
    "we",
}
_ON_THE_TIMELINE = ("breached", "alert", "acknowledged", "acted", "mitigated", "resolved")
_SAME = 1.0  # seconds by which the timeline and the journal may differ: people write whole seconds


@dataclass(frozen=True)
class Replay:
    """``proved``: the faults were there, the fix acted, and readers met nothing; ``refuted``: one of these is not so.

    ``unknown``: it cannot be told.
    """

    verdict: str
    reason: str


def review(postmortem: Postmortem, journal: Iterable[Mapping[str, Any]] = ()) -> list[Finding]:
    """Return everything that keeps a postmortem from being final; with the ``journal``, also what it leaves out."""
    found = [*_sections(postmortem), *_actions(postmortem), *_timeline(postmortem, journal)]
    for name, text in postmortem.texts().items():
        found += wording(name, text)
    return found


def judge_replay(incident: Iterable[Mapping[str, Any]], replay: Iterable[Mapping[str, Any]]) -> Replay:
    """Compare an incident's journal with that of the same incident with the proposed fix on.

    Raises ``ParameterError`` when scenario, seed or faults differ: that proves nothing.
    """
    before, after = list(incident), list(replay)
    there, again = _faults(before), _faults(after)
    if _identity(before) != _identity(after) or there != again:
        found = f"{_identity(before)} with {there}, and {_identity(after)} with {again}"
        raise ParameterError(f"found {found}; accepted: the same incident twice (scenario, seed, faults)")
    closed = next((one for one in after if one["kind"] == "closed"), {"reason": "it has no end", "outcome": "void"})
    harmed = any(one["kind"] == "breached" or one.get("outcome") in ("failed", "refuted") for one in before)
    if closed["outcome"] == "void":
        return Replay("unknown", f"the replay tells nothing: {closed.get('reason')}")
    if not harmed:
        return Replay("unknown", "nothing was breached without the fix either")
    if left := sorted({one["sli"] for one in after if one["kind"] == "breached"}):
        return Replay("refuted", f"with the fix on, readers met the incident again: {', '.join(left)}")
    if closed["outcome"] in ("failed", "refuted"):
        return Replay("refuted", f"with the fix on: {closed.get('reason')}")
    began = min((one["at"] for one in after if one["kind"] == "injected"), default=0.0)
    acted = [one for one in after if one["kind"] == "guarded" and one["at"] >= began]
    if not acted:
        return Replay("refuted", "no indicator was breached, but the fix did nothing about it")
    did = "; ".join(f"{one['guard']}: {one['did']}" for one in acted)
    return Replay("proved", f"same seed, same fault, and no indicator of the readers was breached. {did}")


def _identity(records: list[Mapping[str, Any]]) -> tuple[Any, Any]:
    opened = next((one for one in records if one["kind"] == "opened"), {})
    return opened.get("scenario"), opened.get("seed")


def _faults(records: list[Mapping[str, Any]]) -> list[tuple[Any, Any]]:
    return [(one["fault"], one.get("arguments")) for one in records if one["kind"] == "injected"]


def _sections(postmortem: Postmortem) -> Iterable[Finding]:
    if postmortem.status not in STATUSES:
        yield Finding("status", f"is {postmortem.status!r}", f"one of: {', '.join(STATUSES)}")
    for name, text in postmortem.texts().items():
        if not text.strip() or TO_WRITE in text:
            yield Finding(name, "is not written", "write it, or say why there is nothing to say")


def _actions(postmortem: Postmortem) -> Iterable[Finding]:
    kinds = {one.kind for one in postmortem.action_items}
    for item in postmortem.action_items:
        if item.kind not in KINDS_OF_ACTION:
            yield Finding("action_items", f"{item.what!r} is of type {item.kind!r}", ", ".join(KINDS_OF_ACTION))
        if item.owner.strip().lower() in _NOBODY:
            yield Finding("action_items", f"{item.what!r} is owned by {item.owner!r}", "name one who answers for it")
        if not item.tracking.strip():
            yield Finding("action_items", f"{item.what!r} is tracked nowhere", "give it a place, such as an issue")
    if kinds and not kinds & {"prevent", "mitigate"}:
        yield Finding("action_items", "none prevents or mitigates", "add one that makes the next time less bad")


def _timeline(postmortem: Postmortem, journal: Iterable[Mapping[str, Any]]) -> Iterable[Finding]:
    moments = [entry.at for entry in postmortem.timeline]
    if moments != sorted(moments):
        yield Finding("timeline", "is not in order of time", "sort it")
    for record in journal:
        if record["kind"] in _ON_THE_TIMELINE and not any(
            entry.kind == record["kind"] and abs(entry.at - record["at"]) <= _SAME for entry in postmortem.timeline
        ):
            yield Finding("timeline", f"{record['kind']} is missing, or at another time", "take it from the journal")
