"""Executing several notebooks at a time, and leaving nothing running whatever happens."""

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from mlops_helpers.errors import NotebookError
from mlops_helpers.teach.documents import Document
from mlops_helpers.teach.imports import imports_of
from mlops_helpers.teach.kernels import KernelHost
from mlops_helpers.teach.parameters import Assignment
from mlops_helpers.teach.results import Observer

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from mlops_helpers.teach.execution import Outcome

__all__ = ["Batch", "Finished", "Job"]


@dataclass(frozen=True)
class Job:
    """One notebook to execute: the file, the values given to it, and the workspace of its kernel (it exists).

    Without a workspace it gets one that goes with the batch.
    """

    document: Document
    given: Assignment
    workspace: Path | None


@dataclass(frozen=True)
class Finished:
    """A job that ended, with the notebook as stored and what executing it gave."""

    job: Job
    stored: "NotebookNode"
    outcome: "Outcome"


class Batch:
    """A context in which jobs are executed; leaving it ends every kernel, also on an error or Ctrl-C.

    ``at_a_time`` is the number of kernels (default: one a processor), ``timeout`` the seconds for one cell,
    ``plain`` asks for freshly started kernels instead of forked ones.
    """

    def __init__(self, jobs: Iterable[Job], *, at_a_time: int | None, timeout: float, plain: bool) -> None:
        self.jobs = list(jobs)
        self.timeout = timeout
        self.host = KernelHost(imports_of(job.document for job in self.jobs), plain=plain)
        workers = min(at_a_time or _processors(), len(self.jobs)) or 1
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="notebook")

    def __enter__(self) -> Self:
        self.host.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.host.close()  # ends the kernels, on which the workers wait
        self._pool.shutdown(wait=True)

    def finished(self, observer: Observer) -> Iterator[Finished]:
        """Execute the jobs and yield each as it ends."""
        # Loaded only now: meanwhile the kernel server loads the notebooks' libraries.
        from mlops_helpers.teach import execution

        observer.started(sum(cell.is_code for job in self.jobs for cell in job.document.cells))

        def work(job: Job) -> Finished:
            stored = _node(job.document)
            if problem := _invalid(stored, job.document.path):
                return Finished(job, stored, execution.Outcome(stored, problem, 0, 0.0))
            outcome = execution.execute(
                stored,
                job.document.path,
                host=self.host,
                parameters=job.given.values,
                env={"OPSLAB_WORKSPACE": str(job.workspace or self.host.private_folder())},
                timeout=self.timeout,
                on_cell=observer.cell,
            )
            return Finished(job, stored, outcome)

        futures: Sequence[Future[Finished]] = [self._pool.submit(work, job) for job in self.jobs]
        for future in as_completed(futures):
            yield future.result()


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _node(document: Document) -> "NotebookNode":
    import nbformat
    from nbformat.v4.rwbase import rejoin_lines

    return rejoin_lines(nbformat.from_dict(document.content))


def _invalid(stored: "NotebookNode", path: Path) -> NotebookError | None:
    """Return the error that names what breaks the notebook format, if anything does."""
    import nbformat

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # missing cell ids: opslab check reports them
            nbformat.validate(stored, relax_add_props=True)
    except nbformat.ValidationError as error:
        return NotebookError(f"{path}: breaks the notebook format: {str(error).splitlines()[0]}. See: opslab check")
    return None
