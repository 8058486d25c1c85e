"""Grading a class: every submission once, several at a time, each without harm to the others.

What is graded is stored at once (``OUT/results``), so that an interrupted run goes on where it ended: a submission
whose bytes, lab and checks are the same as then is not graded again.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol, Self

from mlops_helpers.errors import ParameterError
from mlops_helpers.teach.grading_handed import Refused, read
from mlops_helpers.teach.grading_late import LatePolicy, seconds_late
from mlops_helpers.teach.grading_results import SubmissionResult
from mlops_helpers.teach.grading_store import Job, Store, copies
from mlops_helpers.teach.grading_submissions import Submission, find, read_roster
from mlops_helpers.teach.grading_worker import GraderProcess, Recipe, not_graded
from mlops_helpers.teach.labs import Lab

__all__ = ["ClassReport", "Graders", "LocalGraders", "Marked", "grade_class"]


class Graders(Protocol):
    """A context that grades jobs, in any order, and yields a result for each, whatever happens to it."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    def graded(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, SubmissionResult]]: ...  # noqa: D102


@dataclass(frozen=True)
class Marked:
    """A submission's result, and the points that its being late takes."""

    result: SubmissionResult
    penalty: float

    @property
    def total(self) -> float:
        """The points that count."""
        return self.result.earned - self.penalty

    @property
    def questions(self) -> dict[str, float]:
        """The points earned for each question, before any penalty."""
        return _by_question((check.question, check.earned) for check in self.result.checks)


@dataclass(frozen=True)
class ClassReport:
    """A class, one entry a student in the order of their names; ``kept`` of them were graded by an earlier run.

    ``remarks`` are for the instructor: students that are not in the roster, files that are no submission.
    """

    lab: Lab
    students: tuple[Marked, ...]
    kept: int
    remarks: tuple[str, ...]
    seconds: float

    @property
    def questions(self) -> dict[str, float]:
        """The points to be had for each question, in the order of the checks."""
        most = max((one.result for one in self.students), key=lambda result: len(result.checks))
        return _by_question((check.question, check.points) for check in most.checks)


class LocalGraders:
    """Graders on this machine, ``workers`` processes; raises on entering what a grader refuses to start with."""

    def __init__(self, recipe: Recipe, workers: int) -> None:
        self._all = [GraderProcess(recipe) for _ in range(workers)]
        self._idle: SimpleQueue[GraderProcess] = SimpleQueue()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="grader")

    def __enter__(self) -> Self:
        starts = [self._pool.submit(self._start, one) for one in self._all]
        try:
            starts[0].result()  # what one refuses, all refuse
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        with ThreadPoolExecutor(len(self._all)) as closing:  # each needs a moment
            list(closing.map(GraderProcess.close, self._all))  # on which the threads wait
        self._pool.shutdown(wait=True)

    def graded(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, SubmissionResult]]:
        """Grade each job and yield it as it ends."""
        futures = {self._pool.submit(self._grade, job): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()

    def _start(self, process: GraderProcess) -> None:
        try:
            process.start()
        finally:
            self._idle.put(process)  # one that has not started tries again with a submission

    def _grade(self, job: Job) -> SubmissionResult:
        process = self._idle.get()
        try:
            return process.grade(job.path, student=job.student, submitted_at=job.submitted_at)
        finally:
            self._idle.put(process)


def grade_class(
    place: Path,
    lab: Lab,
    out: Path,
    graders: Callable[[int], Graders],
    *,
    options: dict[str, Any],
    roster: Path | None = None,
    due: datetime | None = None,
    late: LatePolicy | None = None,
    on_progress: Callable[[int, int], None] = lambda done, of: None,
) -> ClassReport:
    """Grade what is handed in at ``place``, keep each result in ``out``, and return the class.

    ``graders(n)`` makes the graders for ``n`` submissions; it is not called when there is nothing to grade. ``options``
    are theirs: results of other options are not kept. Students of the roster who handed in nothing are ``missing``.

    Raises ``ParameterError`` when there is no submission or the roster cannot be used, ``WorkspaceError`` when ``out``
    cannot be written.
    """
    start = time.perf_counter()
    found, others = find(place, lab.name)
    expected = read_roster(roster) if roster else []
    if not found and not expected:
        raise ParameterError(
            f"{place}: no submission of {lab.name} in it; accepted: STUDENT.ipynb, STUDENT/{lab.name}.ipynb, "
            f"STUDENT/lab.ipynb, STUDENT/{lab.name}/{lab.name}.ipynb"
        )
    found += [Submission(student, None) for student in sorted(set(expected) - {one.student for one in found})]
    remarks = [f"not in the roster: {one.student}" for one in found if expected and one.student not in expected]
    remarks += [f"no submission, left out: {name}" for name in others]
    store = Store(out, lab, options)
    results: dict[str, SubmissionResult] = {}
    with copies(out) as copied:
        jobs = []
        for number, submission in enumerate(found):
            taken = _taken(submission, lab, copied / f"{number}.ipynb")
            earlier = store.kept(taken) if isinstance(taken, Job) else taken
            if earlier is not None:
                results[submission.student] = earlier
            elif isinstance(taken, Job):
                jobs.append(taken)
        kept = sum(result.state == "graded" for result in results.values())
        on_progress(len(results), len(found))
        with graders(len(jobs)) if jobs else contextlib.nullcontext() as made:
            for job, result in made.graded(jobs) if made is not None else ():
                results[job.student] = dataclasses.replace(result, submitted_at=job.submitted_at, sha256=job.sha256)
                store.keep(results[job.student])
                on_progress(len(results), len(found))
    marked = []
    for _, result in sorted(results.items()):
        by = seconds_late(result.submitted_at, due)
        penalty = late.penalty(result.earned, by) if late is not None else 0.0
        marked.append(Marked(dataclasses.replace(result, late_seconds=by), penalty))
    return ClassReport(lab, tuple(marked), kept, tuple(remarks), time.perf_counter() - start)


def _by_question(points: Iterable[tuple[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for question, some in points:
        total[question] = total.get(question, 0.0) + some
    return total


def _taken(submission: Submission, lab: Lab, copy: Path) -> Job | SubmissionResult:
    """Copy a submission's bytes, or return what is wrong with it."""
    student, nothing = submission.student, "was not handed in"
    if submission.problem:
        return not_graded(student, lab.name, submission.problem, "refused")
    if submission.path is None:
        return dataclasses.replace(not_graded(student, lab.name, nothing, "refused"), state="missing", findings=())
    try:
        handed = read(submission.path)
    except Refused as error:
        return not_graded(student, lab.name, str(error), "refused")
    copy.write_bytes(handed.content)
    return Job(student, copy, handed.submitted_at, handed.sha256)
