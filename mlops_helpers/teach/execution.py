"""Executing one notebook: papermill's engine, with kernels, tags and failures handled for this course.

``execute`` never raises for what a notebook does wrong; the outcome carries it, so that the others still run.
"""

import itertools
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import NoSuchKernel
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines
from papermill.log import logger as papermill_log
from papermill.version import version as papermill_version

from mlops_helpers.errors import CellError, NotebookError
from mlops_helpers.teach.client import Client
from mlops_helpers.teach.kernels import KernelHost

__all__ = ["Outcome", "execute", "without_injected"]

INJECTED = "injected-parameters"  # papermill's name for the cell that carries the given values
TIMED_OUT = "CellTimeout"
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class Outcome:
    """What executing one notebook gave.

    ``executed`` is the notebook with its fresh outputs, as far as it came; ``error`` is what stopped it;
    ``cells`` counts the code cells that were executed; ``seconds`` is wall-clock time, kernel start included;
    ``failed_cell`` is the id of the cell that stopped it, or empty; ``cut`` says where output was too long to be kept.
    """

    executed: NotebookNode
    error: NotebookError | None
    cells: int
    seconds: float
    failed_cell: str = ""
    cut: tuple[str, ...] = ()


@dataclass
class _Progress:
    """Where an execution stands, told by the client's hooks."""

    on_cell: Callable[[], object]
    current: int = -1
    executed: int = 0
    timed_out: bool = False
    cut: dict[int, int] = field(default_factory=dict)


class _Engine(Engine):
    """Runs on a kernel of the given host. papermill's own engine cannot be given a kernel manager."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: NotebookExecutionManager,
        kernel_name: str,
        *,
        host: KernelHost,
        label: str,
        progress: _Progress,
        cwd: str,
        env: dict[str, str],
        timeout: float,
        **_: Any,
    ) -> None:
        def starts(cell: NotebookNode, cell_index: int) -> None:
            progress.current = cell_index

        def ends(cell: NotebookNode, cell_index: int, execute_reply: dict[str, Any]) -> None:
            progress.timed_out |= execute_reply["content"].get("ename") == TIMED_OUT
            if not _is_injected(cell):
                progress.executed += 1
                progress.on_cell()

        with host.manager(label, kernel_name) as manager:
            client = Client(
                nb_man,
                km=manager,
                kernel_name=kernel_name,
                log=papermill_log,
                timeout_func=lambda _: timeout,  # the plain option takes whole seconds only
                startup_timeout=60,
                # An interrupt shows where the cell hung; what ignores it is killed with its kernel.
                interrupt_on_timeout=True,
                error_on_timeout={"ename": TIMED_OUT, "evalue": "", "traceback": []},
                coalesce_streams=False,  # the client does it, see outputs.Kept
                on_cell_start=starts,
                on_cell_executed=ends,
            )
            progress.cut = client.cut
            client.execute(cwd=cwd, env=env, cleanup_kc=True)


def execute(
    stored: NotebookNode,
    path: Path,
    *,
    host: KernelHost,
    parameters: dict[str, Any],
    env: dict[str, str],
    timeout: float,
    on_cell: Callable[[], object] = lambda: None,
) -> Outcome:
    """Execute a copy of ``stored`` in a kernel of ``host``, in the notebook's own folder.

    ``parameters`` are set after the cell tagged ``parameters``; ``env`` is added to the kernel's environment;
    ``timeout`` is the longest time for one cell, in seconds; ``on_cell`` is called after each executed cell.
    """
    papermill_log.setLevel("CRITICAL")  # it would log what the outcome says
    papermill_engines.register("opslab", _Engine)
    notebook = _prepared(stored, path, parameters)
    progress = _Progress(on_cell)
    kernel_name = notebook.metadata.get("kernelspec", {}).get("name") or "python3"
    host.wait_ready()  # the libraries' loading is the run's time, not this notebook's
    start = time.perf_counter()
    error: NotebookError | None = None
    try:
        papermill_engines.execute_notebook_with_engine(
            "opslab",
            notebook,
            kernel_name,
            progress_bar=False,
            autosave_cell_every=0,
            host=host,
            label=str(path),
            progress=progress,
            cwd=str(path.resolve().parent),
            env={**os.environ, **env},
            timeout=timeout,
        )
        error = _cell_error(notebook, path, progress, timeout)
    except (DeadKernelError, CellTimeoutError, NoSuchKernel, RuntimeError, OSError) as stopped:
        # RuntimeError is how jupyter_client says that a kernel did not start.
        error = _stopped(notebook, path, progress, stopped, timeout, host.last_words(str(path)))
    failed = notebook.cells[progress.current] if isinstance(error, CellError) else {}
    cut = tuple(
        f"{_name(notebook, index)}: {characters:,} characters of output cut"
        for index, characters in progress.cut.items()
    )
    return Outcome(notebook, error, progress.executed, time.perf_counter() - start, failed.get("id", ""), cut)


def _prepared(stored: NotebookNode, path: Path, parameters: dict[str, Any]) -> NotebookNode:
    notebook = nbformat.from_dict(stored)
    notebook = nbformat.v4.upgrade(notebook) or notebook
    notebook.metadata.papermill = {
        "default_parameters": {},
        "parameters": parameters,
        "environment_variables": {},
        "version": papermill_version,
        "input_path": str(path),
    }
    for cell in notebook.cells:
        cell.metadata.setdefault("tags", [])
        cell.metadata.setdefault("papermill", {})
        cell.metadata.pop(INJECTED, None)  # a copy of an earlier run has its own
    if parameters:
        # Not papermill's translator, which knows no tuples: repr is exact for every literal.
        lines = [f"{name} = {value!r}" for name, value in parameters.items()]
        cell = nbformat.v4.new_code_cell("# Parameters\n" + "\n".join(lines), id=_free_id(notebook))
        cell.metadata.update({"tags": [INJECTED], "papermill": {}, INJECTED: True})
        place = max(i for i, c in enumerate(notebook.cells) if {"parameters", INJECTED} & set(c.metadata.tags))
        notebook.cells.insert(place + 1, cell)
    return notebook


def _free_id(notebook: NotebookNode) -> str:
    taken = {cell.get("id") for cell in notebook.cells}
    names = itertools.chain([INJECTED], (f"{INJECTED}-{number}" for number in itertools.count(2)))
    return next(name for name in names if name not in taken)


def without_injected(notebook: NotebookNode) -> NotebookNode:
    """Return the executed notebook with the cells of the stored one only."""
    kept = [cell for cell in notebook.cells if not _is_injected(cell)]
    return NotebookNode(notebook, cells=kept)


def _is_injected(cell: NotebookNode) -> bool:
    return INJECTED in cell.metadata


def _stored_index(notebook: NotebookNode, index: int) -> int:
    """Return the cell's index in the file that the user knows, which has no injected cell."""
    return index - sum(map(_is_injected, notebook.cells[:index]))


def _name(notebook: NotebookNode, index: int) -> str:
    return "the given parameters" if _is_injected(notebook.cells[index]) else f"cell {_stored_index(notebook, index)}"


def _cell_error(notebook: NotebookNode, path: Path, progress: _Progress, timeout: float) -> CellError | None:
    failed = any(cell.metadata.papermill.get("exception") is True for cell in notebook.cells)
    if not failed and not progress.timed_out:
        return None
    index = progress.current  # papermill stops at the cell that raised
    cell = notebook.cells[index]
    raised = next((output for output in reversed(cell.outputs) if output.output_type == "error"), None)
    what = f"{raised.ename}: {raised.evalue}" if raised else "failed without a traceback"
    if progress.timed_out:
        what = f"ran longer than {timeout:g} s and was interrupted. Allow more: --timeout SECONDS"
    return _error_at(notebook, path, index, what, "\n".join(raised.traceback) if raised else "")


def _stopped(
    notebook: NotebookNode, path: Path, progress: _Progress, reason: Exception, timeout: float, words: str
) -> NotebookError:
    if isinstance(reason, CellTimeoutError):
        what = f"ran longer than {timeout:g} s, ignored the interrupt and was killed"
        what += ". Allow more: --timeout SECONDS"
    elif isinstance(reason, DeadKernelError):
        what = "the kernel died while this cell ran (out of memory, os._exit or a crash in compiled code?)"
    elif isinstance(reason, NoSuchKernel):
        what = f"{reason}. Installed kernels: jupyter kernelspec list"
    else:
        what = str(reason) or type(reason).__name__
    if progress.current < 0:
        return NotebookError(f"{path}: {what}\n{words}".rstrip())
    cell = notebook.cells[progress.current]
    cell.metadata.papermill["exception"] = True
    name = type(reason).__name__
    cell.outputs.append(nbformat.v4.new_output("error", ename=name, evalue=what, traceback=[f"{name}: {what}"]))
    return _error_at(notebook, path, progress.current, what, words)


def _error_at(notebook: NotebookNode, path: Path, index: int, what: str, traceback: str) -> CellError:
    cell = notebook.cells[index]
    place = _stored_index(notebook, index)
    count = f", execution count {cell.execution_count}" if cell.execution_count else ""
    return CellError(
        f"{path}: {_name(notebook, index)} (id {cell.get('id', '-')}{count}): {COLOURS.sub('', what)}",
        cell=place,
        source=cell.source,
        traceback=COLOURS.sub("", traceback),
    )
