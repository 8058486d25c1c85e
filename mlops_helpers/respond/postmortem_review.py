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
    """``proved``: the fault was there, and with the fix on readers met nothing; ``refuted``: they did.

    ``assumed``: the replay left out a fault that the fix is said to prevent; ``unknown``: it cannot be told.
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

    Raises ``ParameterError`` when scenario or seed differ, or the replay had other faults: that proves nothing.
    """
    before, after = list(incident), list(replay)
    there, again = _faults(before), _faults(after)
    if _identity(before) != _identity(after) or any(fault not in there for fault in again):
        found = f"{_identity(before)} with {there}, and {_identity(after)} with {again}"
        raise ParameterError(f"found {found}; accepted: the same incident twice (scenario, seed, faults)")
    closed = next((one for one in after if one["kind"] == "closed"), None)
    if not any(one["kind"] == "breached" for one in before):
        return Replay("unknown", "nothing was breached without the fix either")
    if any(one["kind"] == "breached" for one in after):
        return Replay("refuted", "with the fix on, readers met the incident again")
    if closed is None or closed.get("outcome") == "void":
        return Replay("unknown", f"the replay tells nothing: {closed.get('reason') if closed else 'it has no end'}")
    if len(again) < len(there):
        left_out = ", ".join(name for name, _ in there if name not in {name for name, _ in again})
        return Replay("assumed", f"no breach without {left_out}; that the fix prevents it has yet to be shown")
    return Replay("proved", "same seed, same fault: with the fix on, no indicator of the readers was breached")


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
