"""Labs: homework that is handed in and graded, each a folder with one source for exercise and solution.

::

    labs/NAME/lab.ipynb              the source: cells with nbgrader's metadata (schema 3), solutions between markers;
                                     its own metadata: {"opslab": {"lab": NAME, "minutes": 90,
                                                                   "difficulty": {QUESTION: "basic", ...}}}
    labs/NAME/student.ipynb          what students get: made by ``opslab labs build``, never by hand
    labs/NAME/checks.py              pytest functions that judge submissions; they never leave the grader
    labs/NAME/mutants/QUESTION.yaml  wrong answers, which the checks must reject
    labs/NAME/right/QUESTION/*.py    other right answers, which they must accept: see ``labs_answers``

A question is a solution cell, named by its ``grade_id``.

>>> lab = labs.load("quality")
>>> labs.questions(lab)["recall"]     # the cell's source, with the solution
>>> labs.build(lab)                   # the student version, as a notebook
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_helpers.errors import ParameterError, StructureError
from mlops_helpers.teach import documents, labs_regions
from mlops_helpers.teach.documents import Document
from mlops_helpers.workspace import project_root

if TYPE_CHECKING:
    import nbformat

__all__ = ["DIFFICULTIES", "Lab", "build", "load", "marked", "names", "questions"]

DIFFICULTIES = ("basic", "standard", "advanced")


@dataclass(frozen=True)
class Lab:
    """A lab: its title, how long it takes (minutes) and how difficult each question is (by ``DIFFICULTIES``)."""

    name: str
    folder: Path
    title: str
    minutes: int
    difficulty: Mapping[str, str]

    @property
    def source(self) -> Path:
        """The notebook with exercise and solution."""
        return self.folder / "lab.ipynb"

    @property
    def student(self) -> Path:
        """The student version."""
        return self.folder / "student.ipynb"

    @property
    def checks(self) -> Path:
        """The pytest functions that judge submissions."""
        return self.folder / "checks.py"


def names() -> list[str]:
    """Return the names of the project's labs, sorted."""
    return sorted(path.parent.name for path in _home().glob("*/lab.ipynb"))


def load(name: str | Path) -> Lab:
    """Return a lab of the project by its name, or any lab by its folder.

    Raises ``ParameterError`` for one that is not there, naming those that are; ``NotebookError`` when its source
    cannot be read or does not say what it is.
    """
    given = Path(name)
    folder = given if (given / "lab.ipynb").is_file() else _home() / given
    if not (folder / "lab.ipynb").is_file():
        raise ParameterError(
            f"there is no lab {str(name)!r}; labs: {', '.join(names()) or 'none'}; a folder with a lab.ipynb is "
            "accepted, too. Next: opslab labs list"
        )
    document = documents.read(folder / "lab.ipynb")
    about = document.content.get("metadata", {}).get("opslab")
    if not _describes_a_lab(about):
        raise StructureError(
            f"{document.path}: metadata.opslab is {about!r}; accepted: lab (its name), minutes (whole number) and "
            f"difficulty (of each question one of {', '.join(DIFFICULTIES)})"
        )
    return Lab(about["lab"], folder.resolve(), document.title, about["minutes"], about["difficulty"])


def _home() -> Path:
    """Return the folder of the project's labs, also for who works elsewhere."""
    here = project_root() / "labs"
    return here if here.is_dir() else Path(__file__).parents[2] / "labs"


def marked(document: Document, role: str) -> dict[int, dict[str, Any]]:
    """Return nbgrader's metadata of the cells that are ``solution``, ``grade`` or ``locked``, by the cells' index."""
    kept = {}
    for index, cell in enumerate(document.content["cells"]):
        metadata = cell.get("metadata", {}).get("nbgrader")
        if isinstance(metadata, dict) and metadata.get(role) is True:
            kept[index] = metadata
    return kept


def questions(lab: Lab) -> dict[str, str]:
    """Return the source of each solution cell by its ``grade_id``, in order, solutions and markers included.

    Raises ``NotebookError`` when the lab cannot be read.
    """
    document = documents.read(lab.source)
    return {
        str(about.get("grade_id")): document.cells[index].source
        for index, about in marked(document, "solution").items()
    }


def build(lab: Lab) -> "nbformat.NotebookNode":
    """Return the student version: stubs for solutions, no hidden tests, no outputs; all else as in the source.

    Cells with a ``grade_id`` cannot be deleted in Jupyter, and only solutions can be edited. The same source always
    gives the same notebook.

    Raises ``NotebookError`` when the source cannot be read, and ``StructureError`` naming the cell when markers are
    not balanced, stand in a cell that is no solution or check, or are missing in a solution.
    """
    import nbformat

    document = documents.read(lab.source)
    content = deepcopy(document.content)
    for cell, raw in zip(document.cells, content["cells"], strict=True):
        about = raw.get("metadata", {}).get("nbgrader", {})
        try:
            raw["source"] = _for_students(cell.source, about)
        except StructureError as error:
            place = about.get("grade_id") or cell.id or cell.index
            raise StructureError(f"{lab.source}: cell {place}: {error}") from error
        if cell.is_code:
            raw["outputs"], raw["execution_count"] = [], None
        if about.get("grade_id"):
            raw["metadata"] |= (
                {"deletable": False} if about.get("solution") else {"deletable": False, "editable": False}
            )
    return nbformat.from_dict(content)


def _for_students(source: str, about: Mapping[str, Any]) -> str:
    solutions = labs_regions.find(source)
    if bool(solutions) != bool(about.get("solution")):
        raise StructureError(
            "its solution is not marked; accepted: one between ### BEGIN SOLUTION and ### END SOLUTION"
            if about.get("solution")
            else "a solution in a cell that is none; accepted: nbgrader metadata with solution: true"
        )
    if labs_regions.find(source, labs_regions.HIDDEN) and not about.get("grade"):
        raise StructureError("hidden tests in a cell that is no check; accepted: nbgrader metadata with grade: true")
    without = labs_regions.replace(source, None, labs_regions.HIDDEN)
    return labs_regions.replace(without, labs_regions.STUB)


def _describes_a_lab(about: object) -> bool:
    return (
        isinstance(about, dict)
        and isinstance(about.get("lab"), str)
        and type(about.get("minutes")) is int
        and isinstance(about.get("difficulty"), dict)
        and all(value in DIFFICULTIES for value in about["difficulty"].values())
    )
