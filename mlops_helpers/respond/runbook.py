"""A run of a runbook: observe, decide, act, verify, roll back, hand over; each step is on record before the next.

Nothing here knows a service: what is measured and what is changed are given by the caller, see
:mod:`~mlops_helpers.respond.runbook_signals` and :mod:`~mlops_helpers.respond.runbook_changes`.
"""

import math
import operator
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mlops_helpers.errors import MetricsError, OpsLabError, ParameterError, ServiceError
from mlops_helpers.respond.runbook_audit import Audit

__all__ = ["COMPARISONS", "Change", "Decision", "Runbook", "same"]

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_POLL_SECONDS = 0.1


class Change(Protocol):
    """Something that can be read and set: ``what`` it is, and the value that is ``wanted``."""

    @property
    def what(self) -> str:
        """Its name in the audit record; the same one for each run."""

    @property
    def wanted(self) -> Any:
        """The value (plain data) that acting sets."""

    def read(self) -> Any:
        """Return the value that it has now. Raises ``OpsLabError`` when that cannot be told."""

    def write(self, value: Any) -> None:
        """Set it. Raises ``OpsLabError`` when that is refused."""


@dataclass(frozen=True)
class Decision:
    """A value, what it was compared with, and whether that calls for acting."""

    signal: str
    value: float
    comparison: str
    threshold: float
    acts: bool

    def __str__(self) -> str:
        verdict = "act" if self.acts else "leave everything as it is"
        return f"{self.signal}: {self.value:.4g} {self.comparison} {self.threshold:g} is {self.acts}: {verdict}"


class Runbook:
    """One run of the runbook ``name`` on ``service``, by ``who``.

    With ``dry_run`` nothing is changed: what would be is said and recorded. Without it, ``confirmation`` must be the
    :attr:`phrase`, typed by whoever answers for the change. ``audit`` is the folder of the record.

    Raises ``ParameterError`` for a missing or another confirmation, before anything is done.
    """

    def __init__(
        self,
        name: str,
        service: str,
        *,
        audit: Path,
        who: str = "",
        dry_run: bool = True,
        confirmation: str = "",
    ) -> None:
        if not name.strip() or not service.strip():
            raise ParameterError(f"runbook {name!r} on {service!r}; accepted: both named, such as service blog")
        self.name, self.service, self.dry_run = name, service, dry_run
        if not dry_run and confirmation != self.phrase:
            raise ParameterError(
                f'confirmation is {confirmation!r}; accepted for dry_run=False: "{self.phrase}". Nothing was changed. '
                "Next: read what a dry run would do, then type it"
            )
        if not dry_run and not who.strip():
            raise ParameterError("who is empty; accepted for dry_run=False: the name of whoever acts, for the record")
        self.decision: Decision | None = None
        self._acted: list[str] = []
        self._changed: list[Change] = []
        self._in_place = False  # whether what is wanted is so, by this run or an earlier one
        self._audit = Audit(audit, runbook=name, service=service, who=who or "not named", dry_run=dry_run)
        self._audit.note("opened")

    @property
    def phrase(self) -> str:
        """What has to be typed before anything is changed: runbook and service, lest a window be mistaken."""
        return f"{self.name} on {self.service}"

    def observe(self, what: str, value: Any) -> Any:
        """Put something that was seen on record, and return it."""
        number = not isinstance(value, float) or math.isfinite(value)
        self._audit.note("observed", what=what, found=value if number else str(value))  # JSON has no NaN
        return value

    def decide(self, signal: str, value: float, comparison: str, threshold: float) -> Decision:
        """Compare, and return whether to act.

        Raises ``MetricsError`` for a value that is not known (NaN): blind, a runbook leaves everything as it is.
        """
        if comparison not in COMPARISONS:
            raise ParameterError(f"comparison is {comparison!r}; accepted: {' '.join(COMPARISONS)}")
        if math.isnan(value):
            self._audit.note("undecided", signal=signal)
            raise MetricsError(
                f"{signal}: not known, so nothing is decided and nothing changed. "
                "Next: the runbook telemetry_lost; do there events come at all?"
            )
        acts = COMPARISONS[comparison](value, threshold)
        self.decision = Decision(signal, value, comparison, threshold, acts)
        self._audit.note("decided", signal=signal, value=value, comparison=comparison, threshold=threshold, acts=acts)
        return self.decision

    def act(self, change: Change) -> str:
        """Set ``change`` to what is wanted if the decision was to act and it is not so already; return what was done.

        The value before is on record before anything is written, so that even a run that is killed can be taken back.

        Raises ``ServiceError`` when it is not as wanted afterwards.
        """
        if self.decision is None:
            raise ParameterError("nothing was decided yet. Next: decide(...), then act(...)")
        if not self.decision.acts:
            return self._said("left", f"{change.what}: left, nothing calls for a change")
        before = change.read()
        if same(before, change.wanted):
            self._in_place = True
            return self._said("unchanged", f"{change.what}: is {before!r} already, nothing to do")
        text = f"{change.what}: {before!r} -> {change.wanted!r}"
        if self.dry_run:
            return self._said("planned", f"would change {text}")
        self._audit.note("changing", what=change.what, before=before, after=change.wanted)
        self._changed.append(change)
        self._set(change, change.wanted)
        self._in_place = True
        return self._said("changed", f"changed {text}", what=change.what, before=before, after=change.wanted)

    def verify(self, what: str, holds: Callable[[], bool], within: float) -> str:
        """Wait until the post-condition ``holds``, and return how long that took, or why it was not asked.

        Raises ``ServiceError`` when it does not within so many seconds; what this run changed is taken back before.
        """
        if not self._in_place:
            return self._said("not verified", f"not verified ({what}): nothing was changed")
        began, reason = time.monotonic(), "it is not so"
        while time.monotonic() - began < within:
            try:
                if holds():
                    return self._said("verified", f"verified after {time.monotonic() - began:.1f} s: {what}")
            except OpsLabError as error:
                reason = str(error)
            time.sleep(_POLL_SECONDS)
        self._audit.note("failed", what=what, within=within, reason=reason)
        taken_back = [self.roll_back(change) for change in reversed(self._changed)] or ["This run changed nothing"]
        raise ServiceError(
            f"not so within {within:g} s: {what} ({reason}). {'; '.join(taken_back)}. "
            "Next: escalate; the cause is another one"
        )

    def roll_back(self, change: Change) -> str:
        """Set ``change`` back to what it was before this runbook last changed it on this service, in any run.

        Safe to call twice: what was taken back is not taken back again.
        """
        last = self._audit.last({"changing", "rolled back"}, what=change.what)
        if last is None or last["kind"] == "rolled back":
            return self._said("nothing to roll back", f"{change.what}: nothing to roll back")
        before, now = last["before"], change.read()
        text = f"{change.what}: {now!r} -> {before!r}"
        if self.dry_run:
            return self._said("planned", f"would roll back {text}")
        if not same(now, before):
            self._set(change, before)
        return self._said("rolled back", f"rolled back {text}", what=change.what, before=now, after=before)

    def hand_over(self, next_step: str) -> str:
        """Close the record; return the text for whoever takes over: decision, what was done, what is to do next."""
        self._audit.note("handed over", next=next_step)
        kind = "dry run, nothing was changed" if self.dry_run else "for real"
        lines = [f"{self.name} on {self.service} ({kind})", f"decided   {self.decision or 'nothing'}"]
        lines += [f"done      {text}" for text in self._acted]
        return "\n".join([*lines, f"next      {next_step}"])

    def _set(self, change: Change, value: Any) -> None:
        change.write(value)
        found = change.read()
        if not same(found, value):
            self._audit.note("failed", what=change.what, wanted=value, found=found)
            raise ServiceError(
                f"{change.what} is {found!r} after it was set to {value!r}. Next: does something else set it, too?"
            )

    def _said(self, kind: str, text: str, **facts: Any) -> str:
        self._audit.note(kind, text=text, **facts)
        self._acted.append(text)
        return text


def same(one: Any, other: Any) -> bool:
    """Say whether two values mean the same; in an object of numbers, 0 is as good as not named."""
    if isinstance(one, dict) and isinstance(other, dict):
        if all(isinstance(value, int | float) for value in (*one.values(), *other.values())):
            return all(math.isclose(one.get(key, 0), other.get(key, 0), abs_tol=1e-9) for key in {*one, *other})
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)
