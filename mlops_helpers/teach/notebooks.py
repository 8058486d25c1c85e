"""Running and refreshing the notebooks of the course; the rules of their structure are in ``structure``.

``run`` executes notebooks and compares their check cells in the same go; ``refresh`` stores the check cells'
outputs. What one notebook does wrong never keeps another from running.
"""

import os
import stat
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_helpers.errors import NotebookError, WorkspaceError
from mlops_helpers.teach import documents, outfolder, parameters
from mlops_helpers.teach.batch import Batch, Finished, Job
from mlops_helpers.teach.documents import Document
from mlops_helpers.teach.parameters import Assignment
from mlops_helpers.teach.results import NotebookResult, Observer, Report, Silence
from mlops_helpers.workspace import project_root, writable_folder

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["CELL_TIMEOUT", "Refreshed", "refresh", "run"]

CELL_TIMEOUT = 120.0  # seconds for one cell


def run(
    paths: Iterable[str | Path] = (),
    given: Mapping[str, object] | None = None,
    *,
    out: Path | None = None,
    jobs: int | None = None,
    timeout: float = CELL_TIMEOUT,
    plain_kernels: bool = False,
    compare: bool | None = None,
    observer: Observer | None = None,
) -> Report:
    """Execute notebooks, each in a kernel and a workspace of its own, and compare their check cells.

    ``paths``: files, folders, globs; all chapters by default. ``given``: parameters by name, checked against
    what the notebooks declare before anything runs. ``out`` receives executed copies, pages, ``index.html``
    and ``results.json`` (default ``build/course``); what an earlier run left there of these notebooks is replaced,
    of others it stays, also in the index, and what no run made is never touched. ``jobs``: kernels
    at a time, by default one a processor. ``timeout``: seconds for one cell. ``compare``: whether check cells
    are compared; by default they are, except in notebooks whose parameters were changed, where the stored
    outputs need not hold.

    With ``OPSLAB_WORKSPACE`` set, all notebooks share that workspace and run one after another.

    Raises ``NotebookError`` for a path without notebooks, ``ParameterError`` for a bad parameter and where a notebook
    lies in ``out``, and ``WorkspaceError`` when ``out`` cannot be written, another run writes to it, or somebody else's
    files stand where this run's would. What a notebook does wrong is in the report.
    """
    start = time.perf_counter()
    observer = observer or Silence()
    out = out or project_root() / "build" / "course"
    loaded = [(path, _read(path)) for path in documents.select(paths)]
    good = [document for _, document in loaded if isinstance(document, Document)]
    assignments, remarks = parameters.assign(good, dict(given or {}))
    outfolder.refuse_sources(out, [path for path, _ in loaded])
    with outfolder.locked(out) as folder:
        place = outfolder.OutFolder(folder)
        layout = place.layout([document.path for document in good])
        shared = os.environ.get("OPSLAB_WORKSPACE")
        place.refuse_foreign(layout.values(), workspaces=not shared)
        before = {row["source"]: row["seconds"] for row in place.rows}
        todo = []
        for document, values in zip(good, assignments, strict=True):
            own = place.fresh_workspace(layout[document.path]) if not shared else None
            mine = own or writable_folder(Path(str(shared)), "export OPSLAB_WORKSPACE=FOLDER")
            todo.append(Job(document, values, mine))
        # the longest first: all end soonest
        todo.sort(key=lambda job: -before.get(place.source(job.document.path), 0.0))
        results: dict[Path, NotebookResult] = {}
        for path, problem in loaded:
            if isinstance(problem, NotebookError):
                results[path] = _unreadable(path, problem)
                observer.finished(results[path])
        with place.stage() as stage:
            with Batch(todo, at_a_time=1 if shared else jobs, timeout=timeout, plain=plain_kernels) as batch:
                ended = batch.finished(observer)
                for finished in ended:
                    from mlops_helpers.teach import pages  # loaded late: the kernels are at work meanwhile

                    result, executed = _result(finished, compare), finished.outcome.executed
                    result = pages.write_notebook(result, executed, place, stage, layout)
                    results[result.path] = result
                    observer.finished(result)
                kernels = batch.host.description
            from mlops_helpers.teach import pages

            ordered = tuple(results[path] for path, _ in loaded)
            index = folder / outfolder.INDEX
            report = Report(ordered, time.perf_counter() - start, kernels, tuple(remarks), index)
            place.publish(pages.write_index(report, place, stage))
    return report


def _read(path: Path) -> Document | NotebookError:
    try:
        return documents.read(path)
    except NotebookError as error:
        return error


def _unreadable(path: Path, error: NotebookError) -> NotebookResult:
    return NotebookResult(path, path.stem, "failed", 0.0, (0, 0), 0, "", (), {}, error, "", None, None)


def _result(finished: Finished, compare: bool | None) -> NotebookResult:
    from mlops_helpers.teach import comparison
    from mlops_helpers.teach.execution import without_injected

    outcome, document = finished.outcome, finished.job.document
    given = finished.job.given
    compared, reason = 0, ""
    mismatches: list[comparison.Mismatch] = []
    if outcome.error is not None:
        reason = "did not run to its end"
    elif compare is False:
        reason = "not asked for"
    elif compare is None and given.changed:
        reason = f"parameters changed: {', '.join(given.changed)}"
    else:
        compared, mismatches = comparison.compare(finished.stored, without_injected(outcome.executed))
    return NotebookResult(
        path=document.path,
        title=document.title,
        status="failed" if outcome.error else "mismatch" if mismatches else "passed",
        seconds=outcome.seconds,
        cells=(outcome.cells, sum(cell.is_code for cell in document.cells)),
        checks=compared,
        not_compared=reason,
        mismatches=tuple(mismatches),
        parameters=given.values,
        error=outcome.error,
        failed_cell=outcome.failed_cell,
        executed=None,
        page=None,
        cut=outcome.cut,
    )


@dataclass(frozen=True)
class Refreshed:
    """What refreshing one notebook gave: whether its file changed, or the error that kept it as it was."""

    path: Path
    changed: bool
    error: NotebookError | None


def refresh(
    paths: Iterable[str | Path] = (),
    *,
    jobs: int | None = None,
    timeout: float = CELL_TIMEOUT,
    plain_kernels: bool = False,
    observer: Observer | None = None,
) -> list[Refreshed]:
    """Execute notebooks with their defaults and store the outputs of their check cells, and no others.

    Stored are outputs and execution counts (numbered in order); other cells and transient metadata are
    cleared. A notebook in which a cell raised, that was edited meanwhile or that is read-only keeps its file as it
    is. Refreshing twice gives the same bytes. Each notebook has a fresh workspace, also where ``OPSLAB_WORKSPACE``
    is set: what is stored depends on no leftovers.

    Raises ``NotebookError`` for a path without notebooks.
    """
    observer = observer or Silence()
    loaded = [(path, _read(path)) for path in documents.select(paths)]
    done = {path: Refreshed(path, False, error) for path, error in loaded if isinstance(error, NotebookError)}
    good = [document for _, document in loaded if isinstance(document, Document)]
    todo = [Job(document, Assignment({}, ()), None) for document in good]
    with Batch(todo, at_a_time=jobs, timeout=timeout, plain=plain_kernels) as batch:
        for finished in batch.finished(observer):
            path = finished.job.document.path
            done[path] = _store(finished)
            observer.finished(_result(finished, compare=False))
    return [done[path] for path, _ in loaded]


def _refreshed(finished: Finished) -> "NotebookNode":
    from mlops_helpers.teach.comparison import marks

    number = 0
    notebook = finished.stored
    notebook.metadata.pop("papermill", None)
    notebook.metadata.pop("widgets", None)
    for cell, fresh in zip(notebook.cells, finished.outcome.executed.cells, strict=True):
        for transient in ("papermill", "execution", "ExecuteTime"):
            cell.metadata.pop(transient, None)
        if cell.cell_type != "code":
            continue
        number, asked = number + 1, marks(cell)
        keep = asked["check"] and not asked["skip"]
        cell.outputs = [_stable(output, number) for output in fresh.outputs] if keep else []
        cell.execution_count = number if keep else None
    return notebook


def _stable(output: Any, number: int) -> Any:
    if "execution_count" in output:
        output.execution_count = number
    return output


def _store(finished: Finished) -> Refreshed:
    path, error = finished.job.document.path, finished.outcome.error
    try:
        if error is None and documents.read(path).content != finished.job.document.content:
            error = NotebookError(f"{path} was edited while it was executed. Run it again: opslab refresh {path}")
        if error is not None:
            return Refreshed(path, False, error)
        before = path.read_bytes()
        if not path.stat().st_mode & stat.S_IWUSR:  # replacing it would go, and is not what its owner wants
            raise PermissionError("it is read-only")
        documents.write(path.resolve(), _refreshed(finished))  # resolved: a link stays a link
        return Refreshed(path, path.read_bytes() != before, None)
    except NotebookError as gone:
        return Refreshed(path, False, gone)
    except (OSError, WorkspaceError) as refused:
        reason = refused.__cause__ or refused
        what = f"{path}: cannot be stored: {getattr(reason, 'strerror', None) or reason}"
        remedy = f"It and its folder must be writable: chmod u+w {path} {path.parent}"
        return Refreshed(path, False, NotebookError(f"{what}. {remedy}"))
