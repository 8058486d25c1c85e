"""What grading one submission gives: the checks, what was noticed beside them, and the points."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["CheckResult", "Finding", "State", "Status", "SubmissionResult"]

#: Of a check. ``error``: the check itself is at fault; it earns nothing and is shown to the instructor.
Status = Literal["passed", "failed", "error", "skipped"]
#: Of a submission. ``refused``: it cannot be read or run at all.
State = Literal["graded", "refused", "missing"]


@dataclass(frozen=True)
class CheckResult:
    """One check. ``earned`` is all of ``points`` or nothing.

    ``message`` says to the student what was asked, what came and what was expected, never the check's source;
    ``hint`` is the check's own, shown when it failed.
    """

    name: str
    question: str
    points: float
    earned: float
    status: Status
    message: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Finding:
    """What was noticed about a submission; by itself it costs nothing.

    ``kind`` is one of ``cell-edited``, ``cell-duplicated``, ``cell-missing``, ``cell-raised``, ``limit``,
    ``output-cut``, ``kernel``, ``messages``, ``late`` and ``grader-failed``; ``cell`` the cell's ``grade_id`` or place,
    the function's name, or ``""``; ``text`` a sentence for the student.
    """

    kind: str
    cell: str
    text: str


@dataclass(frozen=True)
class SubmissionResult:
    """One student's submission of one lab.

    ``reason`` says why it was refused or is missing; ``seconds`` is what grading took; ``submitted_at`` ISO 8601 in
    UTC, ``""`` when unknown; ``sha256`` that of the submitted file, ``""`` when it could not be read.
    """

    student: str
    lab: str
    state: State
    reason: str
    checks: tuple[CheckResult, ...]
    findings: tuple[Finding, ...]
    seconds: float
    submitted_at: str = ""
    late_seconds: float = 0.0
    sha256: str = ""

    @property
    def points(self) -> float:
        """Points that can be had."""
        return sum(check.points for check in self.checks)

    @property
    def earned(self) -> float:
        """Points earned, before any penalty for lateness."""
        return sum(check.earned for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON data; :meth:`from_dict` is the way back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "SubmissionResult":
        """Make a result of what :meth:`as_dict` gave.

        Raises ``TypeError`` or ``KeyError`` when it is something else.
        """
        checks = tuple(CheckResult(**check) for check in data["checks"])
        findings = tuple(Finding(**finding) for finding in data["findings"])
        return cls(**{**data, "checks": checks, "findings": findings})
