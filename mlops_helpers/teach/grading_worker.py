"""One warm grader in a process of its own, so that whatever happens to it happens to one submission alone.

It works in the checkout, never where the command was called: that may be a folder of submissions, in which a student's
files would be taken for the grader's own (its key, its models).

The process answers lines of JSON: first ``{"grader": "module:name", "lab": folder, "options": {...}}``, then one job
``{"path": ..., "student": ..., "submitted_at": ...}`` a line. When its standard input ends, so does it, in the middle
of a job too: the grader's context is left, and with it every sandbox.
"""

import contextlib
import importlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TextIO

from mlops_helpers import errors
from mlops_helpers.errors import OpsLabError, ServiceError
from mlops_helpers.respond.side_process import SideProcess
from mlops_helpers.teach.grading_results import Finding, SubmissionResult

__all__ = ["GRADER_FAILED", "GraderProcess", "Recipe", "not_graded"]

#: The kind of finding that says: the grader itself failed, so that nothing is known about the submission.
GRADER_FAILED = "grader-failed"

_ENDING_SECONDS = 10.0  # to leave the sandboxes; then it is killed, and they die with it
_LONGEST_SECONDS = 900.0  # for one submission: far above the engine's own limits, which end what a student wrote


@dataclass(frozen=True)
class Recipe:
    """How to make a grader: the lab by its name and its folder, and the options of ``grading.Grader``."""

    name: str
    folder: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    grader: str = "mlops_helpers.teach.grading:Grader"

    def line(self) -> dict[str, Any]:
        """Return the first line for the process."""
        return {"grader": self.grader, "lab": str(self.folder), "options": dict(self.options)}


class GraderProcess:
    """Grades one submission after the other in a process, which is replaced when it dies. To be closed."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._lock = threading.Lock()
        self._side: SideProcess | None = None
        self._closed = False

    def start(self) -> None:
        """Start the process unless it runs; :meth:`grade` does so, too.

        Raises whatever ``OpsLabError`` the grader refuses to start with, such as for want of a sandbox.
        """
        self._ready()

    def close(self) -> None:
        """End the process with all that it started, also from another thread while it grades; safe twice."""
        self._closed = True
        self._end()

    def grade(self, path: Path, *, student: str, submitted_at: str) -> SubmissionResult:
        """Grade one submission; when the process dies, try once more with a new one, then say so in the result."""
        job = {"path": str(path.absolute()), "student": student, "submitted_at": submitted_at}
        why = ""
        for _ in range(2):
            if self._closed:
                break
            try:
                answer = self._asked(job)
                if "result" in answer:
                    return SubmissionResult.from_dict(answer["result"])
                why = answer["failed"]
            except OpsLabError as error:
                why = str(error)
            self._end()  # after a failure nothing is known about it
        return not_graded(student, self._recipe.name, f"was not graded: the grader itself failed, twice: {why}")

    def _asked(self, job: dict[str, Any]) -> dict[str, Any]:
        side = self._ready()
        timer = threading.Timer(_LONGEST_SECONDS, os.kill, (side.pid, signal.SIGKILL))
        timer.start()
        try:
            return _told(side, job)
        finally:
            timer.cancel()

    def _ready(self) -> SideProcess:
        with self._lock:
            if self._closed:
                raise ServiceError("the grader is closed")
            if self._side is not None:
                return self._side
            self._side = side = SideProcess(__name__, "the grader")
        answer = _told(side, self._recipe.line())
        if "refused" in answer:
            self._end()
            kind, message = answer["refused"]
            raise getattr(errors, kind, OpsLabError)(message)
        return side

    def _end(self) -> None:
        with self._lock:
            side, self._side = self._side, None
        if side is not None:
            side.close(_ENDING_SECONDS)


def _told(side: SideProcess, line: dict[str, Any]) -> dict[str, Any]:
    try:
        return side.ask(line)
    except ServiceError:
        raise ServiceError("its process ended") from None


def not_graded(student: str, lab: str, why: str, kind: str = GRADER_FAILED) -> SubmissionResult:
    """Return the result of a submission that could not be graded, for a reason of the grader's or of its own."""
    return SubmissionResult(student, lab, "refused", why, checks=(), findings=(Finding(kind, "", why),), seconds=0.0)


class _Jobs:
    """The lines that come in, and the interruption of what is under way when they end."""

    def __init__(self) -> None:
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._lock = threading.Lock()
        self._busy = False
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in sys.stdin:
            self._lines.put(line)
        self._lines.put("")
        with self._lock:
            if self._busy:  # the main thread alone can be interrupted in a system call
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def next(self) -> dict[str, Any] | None:
        """Wait for a line; None when there will be no more."""
        line = self._lines.get()
        return dict(json.loads(line)) if line else None

    @contextlib.contextmanager
    def under_way(self) -> Any:
        """Let the end of the lines interrupt what is done here (``KeyboardInterrupt``)."""
        with self._lock:
            self._busy = True
        try:
            yield
        finally:
            with self._lock:
                self._busy = False


def _main() -> None:
    # nbformat loads jsonschema, which without this builds the grammar of international addresses, for a second or two.
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
    # What checks print must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the maker ignores it
    jobs = _Jobs()
    recipe = jobs.next()
    if recipe is None:
        return
    from mlops_helpers.teach import labs

    for variable in ("OPSLAB_WORKSPACE", "OPSLAB_CACHE"):
        if folder := os.environ.get(variable):
            os.environ[variable] = str(Path(folder).absolute())
    os.chdir(labs.CHECKOUT if (labs.CHECKOUT / "labs").is_dir() else Path.home())
    module, _, name = recipe["grader"].partition(":")
    try:
        lab = labs.load(recipe["lab"])
        grader = getattr(importlib.import_module(module), name)(lab, **recipe["options"])
        with grader as ready, contextlib.suppress(KeyboardInterrupt):
            _say(answers, {"ready": True})
            while (job := jobs.next()) is not None:
                with jobs.under_way():
                    answer = _answer(ready, job)
                _say(answers, answer)
    except OpsLabError as error:
        _say(answers, {"refused": [type(error).__name__, str(error)]})


def _answer(grader: Any, job: dict[str, Any]) -> dict[str, Any]:
    try:
        result = grader.grade(Path(job["path"]), student=job["student"], submitted_at=job["submitted_at"])
        return {"result": result.as_dict()}
    except Exception as error:  # noqa: BLE001 (a defect of the grader's must reach the instructor, and end no class)
        traceback.print_exc()
        return {"failed": f"{type(error).__name__}: {error}"}


def _say(answers: TextIO, answer: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # the maker has gone: the lines end
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    _main()
