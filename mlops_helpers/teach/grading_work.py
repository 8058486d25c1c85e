"""A submission at work: its cells executed in a sandbox, its functions called, its services asked.

A cell that passes a limit or ends its process is left out, and the others are executed again from the start: what one
question does costs no other question. After a call that ends badly the notebook is likewise executed again.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mlops_helpers.teach import grading_ask
from mlops_helpers.teach.grading_cells import Runnable, Submission
from mlops_helpers.teach.grading_checks import JSON, StudentError
from mlops_helpers.teach.grading_results import Finding
from mlops_helpers.teach.grading_sandbox import Limits, Sandbox
from mlops_helpers.teach.grading_session import Ended, Session, UnusableAnswer, checked

__all__ = ["Executions"]

_SHOWN = 120  # characters of a call's arguments, and
_SHOWN_ERROR = 300  # of an exception's text in a sentence
_MOST_EXECUTIONS = 200
_ASK_SECONDS = 5.0  # for the process that asks to start


class Executions:
    """All executions of one submission: ``fresh()`` gives one more; ``findings`` is what was noticed in them.

    ``close()`` ends them all.
    """

    def __init__(self, sandbox: Sandbox, submission: Submission, limits: Limits) -> None:
        self._sandbox, self._submission, self.limits = sandbox, submission, limits
        self._deadline = time.monotonic() + limits.seconds
        self._left_out: set[int] = set()
        self._sessions: list[Session] = []
        self._findings: dict[Finding, None] = {}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was noticed, each once."""
        return tuple(self._findings)

    def notice(self, kind: str, cell: str, text: str) -> None:
        """Add a finding; the text is made printable."""
        self._findings.setdefault(Finding(kind, cell, text.encode("utf-8", "replace").decode()))

    def fresh(self) -> "_Work":
        """Return an execution that shares nothing with the others."""
        return _Work(self)

    def execute(self) -> Session:
        """Execute the cells in a fresh process, without those that end it; an ended session when no time is left."""
        while True:
            opening = len(self._sandbox.opening)
            opened = tuple(cell.source for cell in self._submission.cells[:opening]) == self._sandbox.opening
            session = Session(self._sandbox, self.limits, self._deadline, opened and opening > 0)
            self._sessions.append(session)
            if self._executed(session, opening if opened else 0) or time.monotonic() >= self._deadline:
                return session
            if len(self._sessions) > _MOST_EXECUTIONS:
                return session

    def _executed(self, session: Session, begin: int) -> bool:
        for number, cell in enumerate(self._submission.cells):
            if number < begin or number in self._left_out:
                continue
            try:
                answer = session.request({"cell": cell.source}, self.limits.cell_seconds)
            except UnusableAnswer:
                self._notice_strays(session, cell)
            except Ended as why:
                self._left_out.add(number)
                self.notice("limit", cell.name, f"The cell {cell.name!r} {why}: it was left out.")
                return False
            else:
                if "raised" in answer:
                    line = f" in line {answer['line']}" if type(answer.get("line")) is int and answer["line"] else ""
                    self.notice("cell-raised", cell.name, f"The cell {cell.name!r} raised {_raised(answer)}{line}.")
            if session.strays:
                self._notice_strays(session, cell)
        return True

    def _notice_strays(self, session: Session, cell: Runnable) -> None:
        text = "Something in the notebook writes to the grader's channel: what it wrote was not used."
        self.notice("messages", cell.name, text)

    def close(self) -> None:
        """End every execution; what they printed and what else is known only now becomes a finding."""
        for session in self._sessions:
            session.end()
            if session.strays:
                self._notice_strays(session, Runnable("", ""))
        if max((session.printed for session in self._sessions), default=0) > self.limits.output:
            text = f"The notebook printed more than {self.limits.output >> 10} kB; the rest was thrown away."
            self.notice("output-cut", "", text)

    def ask(self, session: Session, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Let a process of the grader's own make a request in the session's network."""
        process = session.process if self._sandbox.confined else -1
        command = [sys.executable, "-I", "-S", str(grading_ask.__file__)]
        try:
            done = subprocess.run(
                command,
                input=json.dumps(request | {"process": process, "seconds": seconds, "most": self.limits.message}),
                capture_output=True,
                text=True,
                timeout=seconds + _ASK_SECONDS,
                pass_fds=[process] if process >= 0 else [],
                env={},
                check=True,
            )
            return dict(json.loads(done.stdout))
        except subprocess.TimeoutExpired:
            return {"failed": f"no answer within {seconds:g} s"}
        except subprocess.CalledProcessError as error:
            return {"failed": error.stderr.strip().splitlines()[-1] if error.stderr else "the request was cut off"}


class _Work:
    """One execution, which is begun again after it has ended."""

    def __init__(self, executions: Executions) -> None:
        self._executions = executions
        self._session = executions.execute()

    def call(self, name: str, args: Sequence[JSON], kwargs: Mapping[str, JSON], seconds: float) -> JSON:
        """Call a function of the notebook."""
        request = {"call": name, "args": list(args), "kwargs": dict(kwargs)}
        return self._asked(name, request, seconds)

    def value(self, name: str) -> JSON:
        """Return a global of the notebook."""
        return self._asked(name, {"value": name}, self._executions.limits.cell_seconds)

    def ask(self, method: str, address: str, path: str, body: JSON, seconds: float) -> tuple[int, JSON]:
        """Ask a service in the sandbox."""
        request = {"method": method, "address": address, "path": path, "body": body}
        shown = f"{method} http://{address}{path}"
        answer = self._executions.ask(self._alive(shown), request, seconds)
        if "failed" in answer:
            raise StudentError(f"{shown}: {answer['failed']}")
        try:
            return int(answer["status"]), checked(json.loads(answer["text"]))
        except (UnusableAnswer, RecursionError) as error:
            raise StudentError(f"{shown} answered {error}") from None
        except ValueError:
            return int(answer["status"]), str(answer["text"])

    def _alive(self, shown: str) -> Session:
        if self._session.ended:
            self._session = self._executions.execute()
        if self._session.ended:
            raise StudentError(f"{shown}: the notebook {self._session.ended}")
        return self._session

    def _asked(self, name: str, request: dict[str, Any], seconds: float) -> JSON:
        try:
            answer = self._alive(name).request(request, seconds)
        except Ended as why:
            self._executions.notice("limit", name, f"{_shown(name, request)} {why}.")
            raise StudentError(f"{_shown(name, request)} {why}") from None
        except UnusableAnswer as error:
            raise StudentError(f"{_shown(name, request)} gave {error}") from None
        if "missing" in answer:
            raise StudentError(f"the notebook has no {name}: its cell is missing, or raised before it was defined")
        if "uncallable" in answer:
            raise StudentError(f"{name} is not a function")
        if "value" in answer:
            value: JSON = answer["value"]
            return value
        shown = _shown(name, request)
        if "raised" in answer:
            raise StudentError(f"{shown} raised {_raised(answer)}", raised=_text(answer["raised"]))
        if "unplain" in answer:
            raise StudentError(f"{shown} gave {_text(answer['unplain'])}, which is not plain data")
        raise StudentError(f"{shown} gave more data than an answer may have")


def _shown(name: str, request: Mapping[str, Any]) -> str:
    if "call" not in request:
        return name
    text = ", ".join([*map(repr, request["args"]), *(f"{key}={value!r}" for key, value in request["kwargs"].items())])
    return f"{name}({text if len(text) <= _SHOWN else text[:_SHOWN] + '...'})"


def _raised(answer: dict[str, Any]) -> str:
    text = _text(answer.get("text"))
    return _text(answer["raised"]) + (f": {text}" if text else "")


def _text(said: object) -> str:
    """What the student's process says in words, whatever it is."""
    return said[:_SHOWN_ERROR] if isinstance(said, str) else "something"
