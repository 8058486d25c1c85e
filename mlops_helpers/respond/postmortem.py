"""The postmortem of an incident: drafted from the journal, completed by people, checked before it is final.

The sections are those of The Site Reliability Workbook (2018), chapter 10. A journal knows when, what and
how much; why, and what follows from it, is for those who were there: these parts are ``TO_WRITE`` in a draft.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from mlops_helpers.errors import ParameterError

__all__ = ["KINDS_OF_ACTION", "TO_WRITE", "ActionItem", "Entry", "Postmortem", "Times", "draft", "times"]

TO_WRITE = "(to be written)"
KINDS_OF_ACTION = ("prevent", "detect", "mitigate", "process")
_MILESTONES = {
    "guarded": "a guard acted",
    "visible": "readers met the fault",
    "breached": "left its tolerance",
    "alert": "alert",
    "acknowledged": "acknowledged",
    "diagnosed": "diagnosed",
    "acted": "acted",
    "update": "update",
    "mitigated": "within its tolerance again",
    "resolved": "resolved",
}


@dataclass(frozen=True)
class ActionItem:
    """What is done about it: one of ``KINDS_OF_ACTION``, by whom, and where its progress is tracked."""

    what: str
    kind: str
    owner: str
    tracking: str


@dataclass(frozen=True)
class Entry:
    """A line of the timeline: ``at`` in seconds since the epoch, the journal's kind, what happened."""

    at: float
    kind: str
    text: str


@dataclass(frozen=True)
class Postmortem:
    """All sections; ``markdown()`` is the document. Free texts are ``TO_WRITE`` until somebody wrote them."""

    title: str
    date: str
    authors: Sequence[str]
    status: str
    summary: str
    impact: str
    root_causes: str
    trigger: str
    resolution: str
    detection: str
    action_items: Sequence[ActionItem]
    went_well: Sequence[str]
    went_wrong: Sequence[str]
    got_lucky: Sequence[str]
    timeline: Sequence[Entry]
    supporting_information: str

    def markdown(self) -> str:
        """Return the document."""
        lines = [f"# Postmortem: {self.title}", ""]
        for name in ("date", "authors", "status"):
            value = getattr(self, name)
            lines.append(f"- {name}: {value if isinstance(value, str) else ', '.join(value)}")
        for name in ("summary", "impact", "root_causes", "trigger", "resolution", "detection"):
            lines += ["", f"## {_heading(name)}", "", getattr(self, name)]
        lines += ["", "## Action items", "", "| what | type | owner | tracking |", "|---|---|---|---|"]
        lines += [f"| {one.what} | {one.kind} | {one.owner} | {one.tracking} |" for one in self.action_items]
        lines += ["", "## Lessons"]
        for name in ("went_well", "went_wrong", "got_lucky"):
            lines += ["", f"### {_heading(name)}", "", *(f"- {text}" for text in getattr(self, name))]
        lines += ["", "## Timeline (UTC)", ""]
        lines += [f"- {datetime.fromtimestamp(one.at, UTC):%H:%M:%S} {one.text}" for one in self.timeline]
        return "\n".join([*lines, "", "## Supporting information", "", self.supporting_information, ""])

    def texts(self) -> dict[str, str]:
        """Return each section's text by its name, the timeline included."""
        found = {}
        for name in (one.name for one in fields(self)):
            value = getattr(self, name)
            parts = [value] if isinstance(value, str) else [getattr(one, "text", None) or str(one) for one in value]
            found[name] = "\n".join([one.what for one in value] if name == "action_items" else parts)
        return found


@dataclass(frozen=True)
class Times:
    """Seconds from the moment when the readers' indicator left its tolerance; None: that did not happen.

    In time lapse they are the incident's seconds, not those that the drill took.
    """

    detected: float | None
    acknowledged: float | None
    diagnosed: float | None
    mitigated: float | None
    resolved: float | None

    def __str__(self) -> str:
        return ", ".join(
            f"{one.name} {'not' if (value := getattr(self, one.name)) is None else f'after {value:.0f} s'}"
            for one in fields(self)
        )


def times(journal: Iterable[Mapping[str, Any]]) -> Times:
    """Return how long the parts of an incident took.

    Raises ``ParameterError`` for a journal in which nothing was breached: there is nothing to count from.
    """
    records = _ordered(journal)
    breaches = [one["at"] for one in records if one["kind"] == "breached"]
    if not breaches:
        raise ParameterError("no indicator was breached in this journal; accepted: the journal of an incident")
    lapse = float(records[0].get("time_lapse", 1.0))

    def after(kind: str, *, last: bool = False, **facts: Any) -> float | None:
        found = [
            one["at"]
            for one in records
            if one["kind"] == kind and all(one.get(name) == value for name, value in facts.items())
        ]
        return (found[-1 if last else 0] - breaches[0]) * lapse if found else None

    return Times(
        detected=after("alert", status="firing"),
        acknowledged=after("acknowledged"),
        diagnosed=after("diagnosed", last=True),
        mitigated=after("mitigated"),
        resolved=after("resolved"),
    )


def draft(journal: Iterable[Mapping[str, Any]], *, authors: Sequence[str]) -> Postmortem:
    """Return what a journal knows of the sections; the rest is ``TO_WRITE``.

    Raises ``ParameterError`` for a journal that does not begin with ``opened``, or without a breach.
    """
    records = _ordered(journal)
    if not records or records[0]["kind"] != "opened":
        raise ParameterError('the journal does not begin with "opened"; accepted: all records of one incident')
    took, opened = times(records), records[0]
    closed = next((one for one in records if one["kind"] == "closed"), {})
    entries = [Entry(one["at"], one["kind"], _text(one)) for one in records if one["kind"] in _MILESTONES]
    acts = [entry.text for entry in entries if entry.kind == "acted"]
    spent = ", ".join(f"{count:g} bad events of {name}" for name, count in closed.get("spent", {}).items())
    ended = "it was not mitigated" if took.mitigated is None else f"for {took.mitigated:.0f} s"
    alerted = "No alert fired." if took.detected is None else f"An alert fired after {took.detected:.0f} s."
    return Postmortem(
        title=str(opened.get("title", TO_WRITE)),
        date=f"{datetime.fromtimestamp(opened['at'], UTC):%Y-%m-%d}",
        authors=tuple(authors),
        status="draft",
        summary=TO_WRITE,
        impact=f"Readers met it {ended}: {spent or TO_WRITE}. Accepted and lost: {closed.get('lost', TO_WRITE)}.",
        root_causes=TO_WRITE,
        trigger=", ".join(one["fault"] for one in records if one["kind"] == "injected") or TO_WRITE,
        resolution="; ".join(acts) or TO_WRITE,
        detection=f"{alerted} Counted from the readers' breach: {took}.",
        action_items=(),
        went_well=(),
        went_wrong=(),
        got_lucky=(),
        timeline=tuple(entries),
        supporting_information=f"Journal of {opened.get('scenario', TO_WRITE)}, seed {opened.get('seed', TO_WRITE)}.",
    )


def _ordered(journal: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(journal, key=lambda record: record["at"])


def _text(record: Mapping[str, Any]) -> str:
    """Return a line of the timeline: roles act here, not persons."""
    names = ("sli", "status", "objective", "cause", "action", "detail", "audience", "text", "note", "guard", "did")
    facts = ", ".join(str(record[name]) for name in names if record.get(name))
    return f"{_MILESTONES[record['kind']]}: {facts}" if facts else _MILESTONES[record["kind"]]


def _heading(name: str) -> str:
    return name.replace("_", " ").capitalize()
