"""What running notebooks gives: one result a notebook, a report for all, and who watches meanwhile."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from mlops_helpers.errors import CellError, NotebookError

if TYPE_CHECKING:
    from mlops_helpers.teach.comparison import Mismatch

__all__ = ["NotebookResult", "Observer", "Report", "Silence", "Status"]

Status = Literal["passed", "mismatch", "failed"]


@dataclass(frozen=True)
class NotebookResult:
    """What running one notebook gave.

    ``status``: ``passed``; ``mismatch`` when it ran but a check cell's output is not the stored one;
    ``failed`` when it did not run to its end. ``seconds`` is wall-clock time with the kernel's start.
    ``checks`` counts the check cells compared; ``not_compared`` says why they were not, or is empty.
    ``cells`` is (executed, all) code cells. ``parameters`` are the values given. ``failed_cell`` is the id of
    the cell that stopped it, or empty. ``executed`` and ``page`` are the files written below the output
    folder. ``cut`` says, a cell each, how much output was left out of them because it was too long.
    """

    path: Path
    title: str
    status: Status
    seconds: float
    cells: tuple[int, int]
    checks: int
    not_compared: str
    mismatches: "tuple[Mismatch, ...]"
    parameters: dict[str, Any]
    error: NotebookError | None
    failed_cell: str
    executed: Path | None
    page: Path | None
    cut: tuple[str, ...] = ()

    def explain(self) -> str:
        """Return everything a reader needs to mend what went wrong; empty when nothing did."""
        parts = [] if self.error is None else [str(self.error)]
        if isinstance(self.error, CellError):
            parts += [_indented("source", self.error.source), _indented("traceback", self.error.traceback)]
        for mismatch in self.mismatches:
            head = f"{self.path}: cell {mismatch.cell} (id {mismatch.cell_id}): check output differs"
            parts += [head, _indented("", mismatch.reason)]
        return "\n".join(part for part in parts if part)


@dataclass(frozen=True)
class Report:
    """What a run gave: results in the notebooks' order, wall-clock ``seconds``, and how kernels started."""

    results: tuple[NotebookResult, ...]
    seconds: float
    kernels: str
    remarks: tuple[str, ...]
    index: Path | None

    @property
    def passed(self) -> bool:
        """Whether every notebook ran to its end and every check cell matched."""
        return all(result.status == "passed" for result in self.results)


class Observer(Protocol):
    """Who wants to know how a run goes on. ``started`` comes first, with the number of cells to come."""

    def started(self, cells: int) -> None: ...  # noqa: D102

    def cell(self) -> None: ...  # noqa: D102

    def finished(self, result: NotebookResult) -> None: ...  # noqa: D102


class Silence:
    """Watches nothing."""

    def started(self, cells: int) -> None:
        """Ignore."""

    def cell(self) -> None:
        """Ignore."""

    def finished(self, result: NotebookResult) -> None:
        """Ignore."""


def _indented(label: str, text: str) -> str:
    body = "\n".join(f"    {line}".rstrip() for line in text.rstrip().splitlines())
    return (f"  {label}:\n{body}" if label else body) if body else ""
