"""The plan for incidents as data: who is called, what may happen, how it is mended, seen and told; and its checks.

A plan that nobody checks is wrong on the night when it is needed: a number has changed, a week has nobody on call, a
runbook was renamed. So it is kept as plain data (YAML or JSON) beside the code, and a test asks :func:`review`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from typing import Any, TypeVar

from mlops_helpers.errors import ParameterError

__all__ = ["MOMENTS", "ROLES", "SEVERITIES", "Contact", "Draft", "Plan", "Problem", "Shift", "read"]

ROLES = ("incident commander", "operations lead", "communications lead")
SEVERITIES = ("page", "ticket")
MOMENTS = ("investigating", "identified", "mitigated", "resolved")
T = TypeVar("T")


@dataclass(frozen=True)
class Contact:
    """Somebody who can be called: ``ways`` to reach them, and the roles that they have learnt."""

    name: str
    ways: tuple[str, ...]
    roles: tuple[str, ...]


@dataclass(frozen=True)
class Shift:
    """``primary`` is on call from ``start`` to ``end`` (with offset to UTC), and ``backup`` if they do not answer."""

    primary: str
    backup: str
    start: datetime
    end: datetime


@dataclass(frozen=True)
class Problem:
    """Something that may happen: how it is noticed, who does what, and how long that may take.

    ``signal`` names an entry of the telemetry; ``process`` is a list of steps, ``runbook`` a file, one of them at
    least; ``recover_within`` is in minutes, ``rehearsed`` the day on which it was done last.
    """

    name: str
    severity: str
    signal: str
    process: tuple[str, ...]
    runbook: str
    recovery: str
    recover_within: float
    rehearsed: date


@dataclass(frozen=True)
class Draft:
    """What is told to an ``audience`` at one of ``MOMENTS``; ``{braces}`` are filled in on the night."""

    moment: str
    audience: str
    text: str


@dataclass(frozen=True)
class Plan:
    """All of it; ``telemetry`` says for each signal where it is looked at."""

    service: str
    contacts: tuple[Contact, ...]
    rota: tuple[Shift, ...]
    problems: tuple[Problem, ...]
    telemetry: Mapping[str, str]
    drafts: tuple[Draft, ...]

    def on_call(self, at: datetime) -> tuple[str, str] | None:
        """Return who is called at a moment, and who if they do not answer; None: a hole."""
        return next(((one.primary, one.backup) for one in self.rota if one.start <= at < one.end), None)


def read(data: Mapping[str, Any]) -> Plan:
    """Return the plan that plain data says.

    Raises ``ParameterError`` for parts that are missing, unknown or of another kind, naming the place.
    """
    found = _exactly("plan", data, Plan)
    if not isinstance(found["telemetry"], Mapping):
        raise ParameterError("plan: telemetry is no object; accepted: where each signal is looked at")
    return Plan(
        str(found["service"]),
        _each("contacts", found["contacts"], Contact),
        _each("rota", found["rota"], Shift),
        _each("problems", found["problems"], Problem),
        {str(signal): str(where) for signal, where in found["telemetry"].items()},
        _each("drafts", found["drafts"], Draft),
    )


def _each(where: str, rows: Any, kind: type[T]) -> tuple[T, ...]:
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        raise ParameterError(f"plan: {where} is {rows!r}; accepted: a list")
    return tuple(_one(f"{where}, entry {number}", row, kind) for number, row in enumerate(rows, start=1))


def _one(where: str, row: Any, kind: type[T]) -> T:
    values = dict(_exactly(where, row, kind))
    for name, value in values.items():
        try:
            if name in ("ways", "roles", "process"):
                if isinstance(value, str):
                    raise ValueError("a text, where a list is needed")
                values[name] = tuple(str(part) for part in value)
            elif name in ("start", "end"):
                moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
                if moment.tzinfo is None:
                    raise ValueError("no offset to UTC: write +00:00")
                values[name] = moment.astimezone(UTC)
            elif name == "rehearsed":
                values[name] = value if isinstance(value, date) else date.fromisoformat(value)
            else:
                values[name] = float(value) if name == "recover_within" else str(value)
        except (TypeError, ValueError) as error:
            raise ParameterError(f"plan: {where}: {name} is {value!r}: {error}") from error
    return kind(**values)


def _exactly(where: str, row: Any, kind: type[Any]) -> Mapping[str, Any]:
    names = {one.name for one in fields(kind)}
    if not isinstance(row, Mapping) or row.keys() != names:
        given = sorted(map(str, row)) if isinstance(row, Mapping) else row
        raise ParameterError(f"plan: {where} has {given}; accepted: {', '.join(sorted(names))}")
    return row
