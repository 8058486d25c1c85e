"""Grading submissions of a lab: the notebook in a sandbox, the checks outside it.

>>> with Grader(labs.load("quality")) as grader:
...     result = grader.grade(Path("submissions/student-01.ipynb"), student="student-01")
>>> result.earned, result.points
(17.0, 20.0)

The notebook's cells are executed below ``grading_sandbox``; checks (``grading_checks``) run here and get nothing but
plain data from there. One grader is warm for many submissions; none sees another or changes what comes after it.
"""

import contextlib
import secrets
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Self

from mlops_helpers.errors import ParameterError, RuntimeUnavailable
from mlops_helpers.teach import labs
from mlops_helpers.teach.documents import Document, read
from mlops_helpers.teach.grading_cells import Submission, open_submission, opening
from mlops_helpers.teach.grading_checks import Student
from mlops_helpers.teach.grading_handed import Refused
from mlops_helpers.teach.grading_pytest import Checks
from mlops_helpers.teach.grading_results import CheckResult, Finding, State, SubmissionResult
from mlops_helpers.teach.grading_sandbox import Limits, Sandbox, SandboxLost
from mlops_helpers.teach.grading_work import Executions
from mlops_helpers.teach.imports import imports_of
from mlops_helpers.teach.labs import Lab

__all__ = ["SANDBOXES", "Grader", "Limits", "grade"]

SANDBOXES = ("auto", "bwrap")


class Grader:
    """A context that grades submissions of one lab, one after the other, in one warm sandbox.

    ``seed`` makes the checks' inputs the same in every run; without it nobody can know them. ``sandbox``: ``"auto"`` or
    ``"bwrap"``. ``trust`` grades without any sandbox where none can be had.

    Entering raises ``RuntimeUnavailable`` when there is no sandbox, ``NotebookError`` when the lab or its checks cannot
    be read; making one raises ``ParameterError``.
    """

    def __init__(
        self,
        lab: Lab,
        *,
        limits: Limits | None = None,
        seed: int | None = None,
        sandbox: str = "auto",
        trust: bool = False,
    ) -> None:
        if sandbox not in SANDBOXES:
            raise ParameterError(f"sandbox {sandbox!r}; accepted: {', '.join(SANDBOXES)}")
        self._lab, self._limits, self._trust = lab, limits or Limits(), trust
        self._seed = secrets.token_hex(16) if seed is None else str(seed)
        self._sandbox: Sandbox | None = None

    def __enter__(self) -> Self:
        self._checks = Checks(self._lab)
        self._original = Document(self._lab.source, dict(labs.build(self._lab)))
        self._sandbox = self._made()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._sandbox is not None:
            self._sandbox.close()
            self._sandbox = None

    def grade(
        self,
        path: Path,
        *,
        student: str = "",
        submitted_at: str = "",
        late_seconds: float = 0.0,
        replaced: Mapping[str, str] | None = None,
        only: Sequence[str] = (),
    ) -> SubmissionResult:
        """Grade one submission; one that cannot be read or is no notebook of this lab is refused, with the reason.

        ``replaced`` puts other text in place of the solution regions of the questions that it names; ``only`` runs the
        checks of those questions alone. Both are for answers to a lab's own questions.

        Raises ``SandboxLost`` when the sandbox ends twice while this one is graded: not the submission's doing.
        """
        began = time.perf_counter()
        findings: tuple[Finding, ...] = ()
        state: State = "graded"
        reason = sha256 = ""
        checks: tuple[CheckResult, ...]
        try:
            submission = open_submission(path, self._lab.name, self._original, replaced)
        except Refused as error:
            state, reason = "refused", str(error).encode("utf-8", "replace").decode()
            checks = self._checks.without_work(reason, only)
        else:
            sha256 = submission.sha256
            try:
                checks, findings = self._judged(submission, student, only)
            except SandboxLost:
                self._restart()
                checks, findings = self._judged(submission, student, only)
        return SubmissionResult(
            student=student,
            lab=self._lab.name,
            state=state,
            reason=reason,
            checks=checks,
            findings=findings,
            seconds=time.perf_counter() - began,
            submitted_at=submitted_at,
            late_seconds=late_seconds,
            sha256=sha256,
        )

    def _judged(
        self, submission: Submission, student: str, only: Sequence[str]
    ) -> tuple[tuple[CheckResult, ...], tuple[Finding, ...]]:
        if self._sandbox is None:
            raise ParameterError("the grader is not open. Next: with Grader(lab) as grader: ...")
        with contextlib.closing(Executions(self._sandbox, submission, self._limits)) as executions:
            work = partial(Student, executions.fresh, student)
            checks = self._checks.judge(work, f"{self._seed}:{submission.sha256}", only)
        return checks, (*submission.findings, *executions.findings)

    def _restart(self) -> None:
        if self._sandbox is not None:
            self._sandbox.close()
        self._sandbox = self._made()

    def _made(self) -> Sandbox:
        imports = imports_of([read(self._lab.source)])
        try:
            return Sandbox("bwrap", imports, self._limits, self._lab.folder, opening(self._original))
        except RuntimeUnavailable:
            if not self._trust:
                raise
            return Sandbox("none", imports, self._limits, self._lab.folder)


def grade(
    submission: Path,
    lab: Lab,
    *,
    student: str = "",
    limits: Limits | None = None,
    seed: int | None = None,
    sandbox: str = "auto",
    trust: bool = False,
    replaced: Mapping[str, str] | None = None,
    only: Sequence[str] = (),
) -> SubmissionResult:
    """Grade one submission; see :class:`Grader`, which does so for many in a fraction of the time."""
    with Grader(lab, limits=limits, seed=seed, sandbox=sandbox, trust=trust) as grader:
        return grader.grade(submission, student=student, replaced=replaced, only=only)
