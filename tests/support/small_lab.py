"""A small lab of three questions with its checks, and submissions of it, made in code."""

import json
from copy import deepcopy
from pathlib import Path

from mlops_helpers.teach import labs
from tests.support import tiny_notebooks

RIGHT = {
    "share": "def share(flags):\n    return sum(flags) / len(flags)",
    "table": "def table(rows):\n    import pandas as pd\n    return pd.DataFrame(rows).groupby('kind').size()",
    "limit": "LIMIT = 0.9 + 0.05",
}
CHECKS = """
from mlops_helpers.teach.grading_checks import worth


@worth("share", 3, hint="How many of all?")
def test_share_of_true_flags(student, rng):
    for _ in range(3):
        flags = [rng.random() < 0.4 for _ in range(rng.randint(5, 40))]
        found = student.call("share", flags, seconds=1)
        expected = sum(flags) / len(flags)
        assert type(found) in (int, float), f"share gave {found!r}: a number was asked"
        assert abs(found - expected) < 1e-9, f"share of {sum(flags)} in {len(flags)} is not {found}"


@worth("table", 2)
def test_table_counts_by_kind(student, rng):
    rows = [{"kind": rng.choice("ab")} for _ in range(20)] + [{"kind": "a"}, {"kind": "b"}]
    kinds = [row["kind"] for row in rows]
    found = student.call("table", rows, seconds=1)
    assert found == [kinds.count("a"), kinds.count("b")], f"table gave {found!r}"


@worth("limit", 1)
def test_limit_is_a_share(student):
    found = student.value("LIMIT")
    assert type(found) is float and abs(found - 0.95) < 1e-9, f"LIMIT is {found!r}; 0.95 was asked"
"""


def cell(source, grade_id="", kind="code", **about):
    metadata = {}
    if grade_id:
        roles = {"grade": False, "solution": False, "locked": False, "task": False}
        metadata = {"nbgrader": {"schema_version": 3, "grade_id": grade_id} | roles | about}
    raw = {"cell_type": kind, "metadata": metadata, "source": source}
    return raw if kind == "markdown" else raw | {"outputs": [], "execution_count": None}


def question(name, source):
    return cell(f"### BEGIN SOLUTION\n{source}\n### END SOLUTION", name, solution=True)


def make_lab(folder: Path, given: str = "GIVEN = 7") -> labs.Lab:
    """Write the lab: a locked cell, three questions, each followed by a visible check."""
    folder.mkdir(parents=True)
    cells = [
        cell("# A small lab", kind="markdown"),
        cell(f"import numpy as np\nimport pandas as pd\n{given}", "given", locked=True),
    ]
    for name, source in RIGHT.items():
        cells += [question(name, source), cell(f"assert {name}", f"{name}-check", grade=True, locked=True, points=1)]
    (folder / "lab.ipynb").write_text(json.dumps(lab_notebook(cells)))
    (folder / "checks.py").write_text(CHECKS)
    return labs.load(folder)


def lab_notebook(cells: list[tiny_notebooks.Cell]) -> tiny_notebooks.Notebook:
    about = {"lab": "small", "minutes": 5, "difficulty": dict.fromkeys(RIGHT, "basic")}
    return tiny_notebooks.notebook(*cells, metadata={"kernelspec": tiny_notebooks.KERNELSPEC, "opslab": about})


class Handed:
    """What a student hands in: the lab's student version, answered and changed."""

    def __init__(self, lab: labs.Lab, folder: Path) -> None:
        self.content = json.loads(json.dumps(labs.build(lab)))
        self.folder = folder

    def copy(self) -> "Handed":
        return deepcopy(self)

    @property
    def cells(self):
        return self.content["cells"]

    def place(self, grade_id: str) -> int:
        names = [raw["metadata"].get("nbgrader", {}).get("grade_id") for raw in self.cells]
        return names.index(grade_id)

    def answer(self, **sources: str) -> "Handed":
        for name, source in sources.items():
            self.cells[self.place(name)]["source"] = source
        return self

    def before(self, source: str) -> "Handed":
        """Put a cell of the student's own at the beginning."""
        self.cells.insert(0, {"id": "own", **cell(source)})
        return self

    def write(self, name: str = "student-01.ipynb") -> Path:
        path = self.folder / name
        path.write_text(json.dumps(self.content))
        return path
