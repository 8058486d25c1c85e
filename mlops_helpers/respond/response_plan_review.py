"""What is wrong with a plan for incidents: holes in the rota, problems without a way out, drafts that say too much."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from mlops_helpers.respond.response_plan import MOMENTS, ROLES, SEVERITIES, Plan
from mlops_helpers.respond.review import Finding, wording

__all__ = ["review"]

_LONGEST_SHIFT = timedelta(days=7)
_REHEARSED_WITHIN = timedelta(days=180)
_INSIDE = re.compile(r"\b(?:\d{1,3}(?:\.\d{1,3}){3}|localhost|stack ?trace|password|token|root cause)\b", re.IGNORECASE)
_LONGEST_DRAFT = 600  # characters: read on a telephone


def review(plan: Plan, start: datetime, end: datetime, *, runbooks: Path | None = None) -> list[Finding]:
    """Return everything to mend in a plan that shall hold from ``start`` to ``end`` (with offset to UTC).

    ``runbooks`` is the folder that names of runbooks are looked up in.
    """
    today = start.astimezone(UTC).date()
    return [*_contacts(plan), *_rota(plan, start, end), *_problems(plan, today, runbooks), *_drafts(plan)]


def _contacts(plan: Plan) -> Iterator[Finding]:
    names = [one.name for one in plan.contacts]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Finding("contacts", f"{name} is named twice", "name everybody once")
    for one in plan.contacts:
        if len(set(one.ways)) < 2:
            yield Finding(
                "contacts", f"{one.name} is reached in {len(set(one.ways))} way(s)", "two at least: one fails"
            )
    for role in ROLES:
        if sum(role in one.roles for one in plan.contacts) < 2:
            yield Finding("contacts", f"fewer than two can be {role}", "teach one more: people sleep")


def _rota(plan: Plan, start: datetime, end: datetime) -> Iterator[Finding]:
    known = {one.name for one in plan.contacts}
    covered = start
    for shift in sorted(plan.rota, key=lambda one: one.start):
        where = f"the shift from {shift.start:%Y-%m-%d %H:%M} (UTC)"
        for name in (shift.primary, shift.backup):
            if name not in known:
                yield Finding(
                    "rota", f"{where}: {name} is no contact", f"one of: {', '.join(sorted(known)) or 'none yet'}"
                )
        if shift.primary == shift.backup:
            yield Finding("rota", f"{where}: {shift.primary} is their own backup", "name somebody else")
        if not timedelta() < shift.end - shift.start <= _LONGEST_SHIFT:
            yield Finding("rota", f"{where} lasts {shift.end - shift.start}", "more than nothing, at most a week")
        if covered < min(shift.start, end):
            yield _hole(covered, min(shift.start, end))
        covered = max(covered, shift.end)
    if covered < end:
        yield _hole(covered, end)


def _hole(start: datetime, end: datetime) -> Finding:
    moments = f"{start.astimezone(UTC):%Y-%m-%d %H:%M} to {end.astimezone(UTC):%Y-%m-%d %H:%M} (UTC)"
    return Finding("rota", f"nobody is on call from {moments}", "name somebody")


def _problems(plan: Plan, today: date, runbooks: Path | None) -> Iterator[Finding]:
    if not plan.problems:
        yield Finding("problems", "none is anticipated", "begin with what went wrong last")
    for one in plan.problems:
        if one.severity not in SEVERITIES:
            yield Finding("problems", f"{one.name}: severity is {one.severity!r}", f"one of: {', '.join(SEVERITIES)}")
        if not plan.telemetry.get(one.signal, "").strip():
            yield Finding(
                "telemetry", f"{one.name}: nothing tells where to look at {one.signal!r}", "name a page of it"
            )
        if len(one.process) < 2 and not one.runbook:
            yield Finding("problems", f"{one.name}: no process", "two steps at least, or a runbook")
        if one.runbook and runbooks is not None and not (runbooks / one.runbook).is_file():
            yield Finding("problems", f"{one.name}: there is no runbook {one.runbook}", f"look into {runbooks.name}")
        if not one.recovery.strip() or not 0 < one.recover_within < float("inf"):
            yield Finding(
                "recovery", f"{one.name}: no way, or no time to recover", "say how, and within how many minutes"
            )
        if not timedelta() <= today - one.rehearsed <= _REHEARSED_WITHIN:
            yield Finding("recovery", f"{one.name}: rehearsed on {one.rehearsed}", "rehearse it: twice a year")


def _drafts(plan: Plan) -> Iterator[Finding]:
    for moment in MOMENTS:
        if not any(one.moment == moment and one.audience == "public" for one in plan.drafts):
            yield Finding("drafts", f"nothing to tell the public when {moment}", "write it now, while it is quiet")
    for one in plan.drafts:
        where = f"{one.moment}, {one.audience}"
        if one.moment not in MOMENTS:
            yield Finding("drafts", f"{where}: no such moment", f"one of: {', '.join(MOMENTS)}")
        if "{impact}" not in one.text:
            yield Finding("drafts", f"{where}: does not say what readers notice", "put {impact} into it")
        if one.moment != "resolved" and "{next_update}" not in one.text:
            yield Finding("drafts", f"{where}: does not say when there is news", "put {next_update} into it")
        if len(one.text) > _LONGEST_DRAFT:
            yield Finding("drafts", f"{where}: {len(one.text)} characters", f"at most {_LONGEST_DRAFT}")
        if one.audience == "public" and (inside := _INSIDE.search(one.text)):
            yield Finding("drafts", f'{where}: "{inside[0]}" is of no use to the public', "say what they notice")
        yield from wording("drafts", one.text)
