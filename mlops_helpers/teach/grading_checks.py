"""What a lab's ``checks.py`` is written with: ``worth`` on each check, and the student's work as ``student``.

A check is a pytest test that runs in the grader's process::

    @worth("recall", 2, hint="Which of all spam comments did the filter find?")
    def test_recall_is_of_spam(student, rng):
        truth = [rng.random() < 0.3 for _ in range(200)]
        found = student.call("recall", truth, truth)
        assert found == 1, f"recall(truth, truth) gave {found}; a filter that finds all spam has recall 1"

Fixtures: ``student`` (:class:`Student`), ``rng`` (``random.Random``, seeded by the grader's secret and by the
submission, so that nobody can know the inputs), ``lab`` (the lab that is graded).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

__all__ = ["JSON", "Student", "StudentError", "Work", "worth"]

JSON = None | bool | int | float | str | list[Any] | dict[str, Any]
Check = TypeVar("Check", bound=Callable[..., Any])


def worth(question: str, points: float, hint: str = "") -> Callable[[Check], Check]:
    """Mark a test as a check of ``question`` (a solution cell's ``grade_id``) that is worth ``points``, all or nothing.

    ``hint`` is what the feedback says when the check fails. Each case of a parametrised test is a check of its own.
    """

    def mark(check: Check) -> Check:
        check.worth = (question, float(points), hint)  # type: ignore[attr-defined]
        return check

    return mark


class StudentError(AssertionError):
    """The student's work did not give what was asked; the message is a sentence for the student.

    ``raised`` is the name of the exception that the student's function raised, or ``""``.
    """

    def __init__(self, message: str, raised: str = "") -> None:
        super().__init__(message)
        self.raised = raised


class Work(Protocol):
    """One execution of a submission, as the engine gives it: in a sandbox, spoken to in JSON data."""

    def call(self, name: str, args: Sequence[JSON], kwargs: Mapping[str, JSON], seconds: float) -> JSON:
        """Call a function of the notebook."""

    def value(self, name: str) -> JSON:
        """Return a global of the notebook."""

    def ask(self, method: str, address: str, path: str, body: JSON, seconds: float) -> tuple[int, JSON]:
        """Ask a service in the sandbox."""


class Student:
    """The student's notebook, executed in a sandbox. What it answers is plain data, made here by our own JSON decoder.

    Every method raises :class:`StudentError` where the answer does not come: pytest then counts the check as failed.
    When an answer takes too long or the notebook's process ends, the notebook is executed again before the next one.
    ``name`` is the student's, empty if nobody is known.
    """

    def __init__(self, work: Callable[[], Work], name: str = "") -> None:
        self._fresh, self.name = work, name
        self._work = work()

    def call(self, name: str, *args: JSON, seconds: float = 5.0, **kwargs: JSON) -> JSON:
        """Call the notebook's function ``name``; give its result as JSON data.

        Arrays and series come as lists, tables as a dict of lists by column, dataclasses as dicts, tuples and sets as
        lists, dates as ISO text; NaN and infinity as floats.
        """
        return self._work.call(name, args, kwargs, seconds)

    def value(self, name: str) -> JSON:
        """Return the notebook's global ``name`` as JSON data."""
        return self._work.value(name)

    def ask(self, method: str, address: str, path: str, body: JSON = None, seconds: float = 5.0) -> tuple[int, JSON]:
        """Ask a service that the notebook started on its own loopback (``address``: ``"127.0.0.1:8000"``).

        The grader itself asks, inside the sandbox's network. Gives the status and the answer: decoded where it is
        JSON, else its text.
        """
        return self._work.ask(method, address, path, body, seconds)

    def new(self) -> "Student":
        """Return the same submission, executed again in a fresh sandbox that knows nothing of this one."""
        return Student(self._fresh, self.name)
