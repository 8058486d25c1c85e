"""Labs: homework that is handed in and graded, each a folder with one source for exercise and solution.

::

    labs/NAME/lab.ipynb              the source: cells with nbgrader's metadata (schema 3), solutions between markers;
                                     its own metadata: {"opslab": {"lab": NAME, "minutes": 90,
                                                                   "difficulty": {QUESTION: "basic", ...}}}
    labs/NAME/checks.py              pytest functions that judge submissions; they never leave the grader
    labs/NAME/answers/wrong/QUESTION.yaml   wrong answers, which the checks must reject
    labs/NAME/answers/right/QUESTION/*.py   other right answers, which they must accept: see ``labs_answers``
    notebooks/labs/NAME.ipynb        the student version, in which students work: made by ``opslab labs build``

A question is a solution cell, named by its ``grade_id``. The student version records the hash of what was built, so
that building again never overwrites what a student wrote into it. A lab of one's own, in a folder that is named by a
path, has its student version beside its source: ``FOLDER/student.ipynb``.

>>> lab = labs.load("quality")
>>> labs.questions(lab)["recall"]     # the cell's source, with the solution
>>> labs.build(lab)                   # the student version, as a notebook
"""

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlops_helpers
from mlops_helpers.errors import NotebookError, ParameterError, StructureError
from mlops_helpers.teach import documents, labs_regions
from mlops_helpers.teach.documents import Document

if TYPE_CHECKING:
    import nbformat

__all__ = ["CHECKOUT", "DIFFICULTIES", "Lab", "build", "is_untouched", "load", "marked", "names", "questions"]

DIFFICULTIES = ("basic", "standard", "advanced")
CHECKOUT = Path(mlops_helpers.__file__).resolve().parents[1]
"""Where the project's labs are: beside this package, never in the folder where a command is called."""

_BUILT = "built"  # in metadata.opslab: the hash of what was built


@dataclass(frozen=True)
class Lab:
    """A lab: its title, how long it takes (minutes) and how difficult each question is (by ``DIFFICULTIES``).

    ``student`` is the notebook that students get and work in.
    """

    name: str
    folder: Path
    student: Path
    title: str
    minutes: int
    difficulty: Mapping[str, str]

    @property
    def source(self) -> Path:
        """The notebook with exercise and solution."""
        return self.folder / "lab.ipynb"

    @property
    def checks(self) -> Path:
        """The pytest functions that judge submissions."""
        return self.folder / "checks.py"


def names() -> list[str]:
    """Return the names of the project's labs, sorted."""
    return sorted(path.parent.name for path in (CHECKOUT / "labs").glob("*/lab.ipynb"))


def load(name: str | Path) -> Lab:
    """Return a lab of the project by its name, or a lab of one's own by a path with a slash in it.

    A folder that merely has the name of a lab is never taken for it: it may be a student's.

    Raises ``ParameterError`` for one that is not there, naming those that are; ``NotebookError`` when its source
    cannot be read or does not say what it is.
    """
    is_path = "/" in str(name)
    folder = (Path(name) if is_path else CHECKOUT / "labs" / name).resolve()
    if not (folder / "lab.ipynb").is_file() if is_path else str(name) not in names():
        raise ParameterError(
            f"there is no lab {str(name)!r}; labs of the project: {', '.join(names()) or 'none'}; a lab of your own "
            f"is written as a path with a slash, such as ./{Path(name).name}. Next: opslab labs list"
        )
    document = documents.read(folder / "lab.ipynb")
    about = document.content.get("metadata", {}).get("opslab")
    if not _describes_a_lab(about):
        raise StructureError(
            f"{document.path}: metadata.opslab is {about!r}; accepted: lab (its name), minutes (whole number) and "
            f"difficulty (of each question one of {', '.join(DIFFICULTIES)})"
        )
    handed_out = CHECKOUT / "notebooks" / "labs" / f"{folder.name}.ipynb"
    student = handed_out if folder.parent == CHECKOUT / "labs" else folder / "student.ipynb"
    return Lab(about["lab"], folder, student, document.title, about["minutes"], about["difficulty"])


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
    gives the same notebook. Its metadata has the hash of its cells: see :func:`is_untouched`.

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
    content["metadata"]["opslab"][_BUILT] = _hash(content)
    return nbformat.from_dict(content)


def is_untouched(path: Path) -> bool:
    """Say whether a notebook's cells are as they were built, so that nothing of a student's is in them."""
    try:
        content = documents.read(path).content
        return bool(content["metadata"]["opslab"][_BUILT] == _hash(content))
    except (NotebookError, KeyError, TypeError):
        return False


def _hash(content: Mapping[str, Any]) -> str:
    """Hash what a student can write into cells; Jupyter may store the rest otherwise when it saves."""
    left_out = ("metadata", "id", "execution_count")
    cells = [{key: value for key, value in cell.items() if key not in left_out} for cell in content["cells"]]
    for cell in cells:
        cell["source"] = "".join(cell["source"])
    return hashlib.sha256(json.dumps(cells, sort_keys=True).encode()).hexdigest()


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
