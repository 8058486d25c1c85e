"""A grader without a sandbox and without checks: it does what a notebook's metadata says, to see what a class does."""

import json
import os
import time
from pathlib import Path

from mlops_helpers.errors import RuntimeUnavailable
from mlops_helpers.teach.grading_results import CheckResult, Finding, SubmissionResult


class Grader:
    """``diary`` is a folder: each grading leaves a file ``STUDENT.NUMBER`` there; ``refuses`` is a reason.

    A grader's end leaves a file there, too: ``closed.PID``, with the folder in which it worked.
    """

    def __init__(self, lab, *, diary="", refuses="", **options):
        self.lab, self.diary = lab, Path(diary)
        if refuses:
            raise RuntimeUnavailable(refuses)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        (self.diary / f"closed.{os.getpid()}").write_text(str(Path.cwd()))

    def grade(self, path, *, student="", submitted_at=""):
        times = len(list(self.diary.glob(f"{student}.*")))
        (self.diary / f"{student}.{times}").write_text(str(os.getpid()))
        print("checks may print")  # which must not be taken for an answer
        act = json.loads(path.read_text(encoding="utf-8"))["metadata"].get("act", "pass")
        if act == "die" or (act == "die once" and times == 0):
            os.kill(os.getpid(), 9)
        if act == "raise":
            raise ZeroDivisionError("a defect")
        if act == "hang":
            time.sleep(600)
        if act == "slow":
            time.sleep(0.2)
        status = "error" if act == "error" else "failed" if act == "fail" else "passed"
        checks = (
            CheckResult(
                "test_recall_of_spam", "recall", 2.0, 2.0 if status == "passed" else 0.0, status, "said", "try"
            ),
            CheckResult("test_precision", "precision", 1.0, 1.0, "passed"),
        )
        findings = (Finding("cell-edited", "recall", "the check cell was edited"),)
        return SubmissionResult(student, self.lab.name, "graded", "", checks, findings, 0.1)
