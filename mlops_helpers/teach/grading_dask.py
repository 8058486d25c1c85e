"""Graders on a Dask cluster: each Dask worker keeps one warm grader, in a process of its own.

Submissions travel as bytes and results as JSON text: nothing that a student wrote is ever unpickled. The lab travels,
too; workers need this package and a sandbox, and no folder in common. Start them with one thread each
(``dask worker ADDRESS --nthreads 1``): a worker grades one submission at a time.
"""

import json
import threading
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from distributed import Client, KilledWorker, WorkerPlugin, as_completed, get_worker

from mlops_helpers.errors import OpsLabError, ServiceError
from mlops_helpers.teach.grading_results import SubmissionResult
from mlops_helpers.teach.grading_store import Job, lab_files
from mlops_helpers.teach.grading_worker import GraderProcess, Recipe, not_graded

__all__ = ["DaskGraders"]

_CONNECT_SECONDS = 10
_AHEAD = 2  # submissions on the way to a worker: it must not wait, and memory must not hold the class


class DaskGraders:
    """Graders on the workers of a Dask scheduler, also on those that join later.

    Raises ``ServiceError`` on entering when the scheduler does not answer or has no worker.
    """

    def __init__(self, recipe: Recipe, scheduler: str) -> None:
        self._recipe, self._scheduler = recipe, scheduler
        self._plugin = f"opslab-grade-{uuid.uuid4().hex}"

    def __enter__(self) -> Self:
        remedy = f"next: dask scheduler; then, as often as wanted: dask worker {self._scheduler} --nthreads 1"
        try:
            self._client = Client(self._scheduler, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise ServiceError(f"no Dask scheduler answers at {self._scheduler} ({error}); {remedy}") from error
        try:
            self._client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
            self._client.register_plugin(_WarmGrader(self._recipe), name=self._plugin)
        except TimeoutError as error:
            self._client.close()
            raise ServiceError(f"the Dask scheduler at {self._scheduler} has no worker; {remedy}") from error
        except BaseException:
            self._client.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self._client.unregister_worker_plugin(self._plugin)  # ends the graders, also in the middle of a job
        finally:
            self._client.close()

    def graded(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, SubmissionResult]]:
        """Grade each job and yield it as it ends.

        Raises what a grader refuses to start with, and ``ServiceError`` when the workers cannot run it at all.
        """
        waiting = list(jobs)[::-1]
        flying: dict[object, Job] = {}
        done = as_completed(loop=self._client.loop)
        while waiting or flying:
            while waiting and len(flying) < _AHEAD * max(1, len(self._client.nthreads())):
                job = waiting.pop()
                future = self._client.submit(
                    _grade, self._plugin, job.path.read_bytes(), job.student, job.submitted_at, pure=False
                )
                flying[future.key] = job
                done.add(future)
            future = next(done)
            job = flying.pop(future.key)
            yield job, self._result(future, job)

    def _result(self, future: Any, job: Job) -> SubmissionResult:
        try:
            return SubmissionResult.from_dict(json.loads(future.result()))
        except KilledWorker:
            why = "was not graded: every Dask worker that tried it ended; see the workers' logs"
            return not_graded(job.student, self._recipe.name, why)
        except OpsLabError:
            raise
        except Exception as error:  # whatever an incomplete installation of a worker raises
            raise ServiceError(
                f"the Dask workers at {self._scheduler} cannot grade: {type(error).__name__}: {error}; "
                "they need this package in the same version"
            ) from error


class _WarmGrader(WorkerPlugin):
    """What each Dask worker has while a class is graded; the grader starts with the first submission."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._files = {below.as_posix(): path.read_bytes() for below, path in lab_files(recipe.folder)}

    def setup(self, worker: Any) -> None:
        """Unpack the lab."""
        self._lock = threading.Lock()
        self._scratch = TemporaryDirectory(prefix="opslab-grade-")
        folder = Path(self._scratch.name) / self._recipe.name
        for name, content in self._files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        self._process = GraderProcess(Recipe(self._recipe.name, folder, self._recipe.options, self._recipe.grader))

    def teardown(self, worker: Any) -> None:
        """End the grader."""
        self._process.close()
        self._scratch.cleanup()

    def grade(self, content: bytes, student: str, submitted_at: str) -> SubmissionResult:
        """Grade one submission; others wait."""
        path = Path(self._scratch.name) / "submission.ipynb"
        with self._lock:
            path.write_bytes(content)
            self._process.start()  # a grader that refuses to start ends the class, not one submission
            return self._process.grade(path, student=student, submitted_at=submitted_at)


def _grade(plugin: str, content: bytes, student: str, submitted_at: str) -> str:
    warm: Any = get_worker().plugins[plugin]
    return json.dumps(warm.grade(content, student, submitted_at).as_dict())
