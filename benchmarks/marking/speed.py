"""A class of ten graded: ``opslab grade`` against nbgrader's autograde and bare nbclient, side by side."""

import csv
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat

from benchmarks.harness import Figure, interleaved, ratios
from mlops_helpers.teach import labs
from mlops_helpers.teach.labs import Lab
from mlops_helpers.workspace import project_root

__all__ = ["LAB", "solved", "speed_figures"]

LAB = "quality"
STUDENTS = 10
ROUNDS = 3
_LONGEST_SECONDS = 900
_NBCLIENT = """
import sys, nbformat, nbclient
for path in sys.argv[1:]:
    nbclient.NotebookClient(nbformat.read(path, 4), timeout=300, kernel_name="python3").execute()
"""


def solved(lab: Lab) -> nbformat.NotebookNode:
    """Return what a student hands in who has answered all questions rightly."""
    answers = labs.questions(lab)
    notebook = labs.build(lab)
    for cell in notebook.cells:
        about = cell.metadata.get("nbgrader", {})
        if about.get("solution"):
            cell.source = answers[about["grade_id"]]
    return notebook


def _nbgrader() -> list[str]:
    python = project_root() / "build" / "nbgrader" / "bin" / "python"
    if not python.is_file():
        raise RuntimeError("nbgrader is not here, and nothing to compare with. Next: make nbgrader")
    return [str(python), "-m", "nbgrader"]


class _Course:
    """One class in nbgrader's layout, which ``opslab grade`` takes as well; every peer grades the same files."""

    def __init__(self, folder: Path, lab: Lab) -> None:
        self._folder, self._lab = folder, lab
        first = Path(_nbgrader()[0]).parent  # nbgrader calls commands that are beside it
        self._env = os.environ | {
            "JUPYTER_PATH": str(Path(sys.prefix) / "share" / "jupyter"),
            "PATH": f"{first}{os.pathsep}{os.environ['PATH']}",
        }
        (folder / "nbgrader_config.py").write_text('c = get_config()\nc.CourseDirectory.course_id = "class"\n')
        source = folder / "source" / lab.name / f"{lab.name}.ipynb"
        source.parent.mkdir(parents=True)
        shutil.copy(lab.source, source)
        self._call(*_nbgrader(), "generate_assignment", lab.name)
        work = solved(lab)
        self.handed = []
        for number in range(1, STUDENTS + 1):
            path = folder / "submitted" / f"student-{number:02}" / lab.name / f"{lab.name}.ipynb"
            path.parent.mkdir(parents=True)
            nbformat.write(work, path)
            self.handed.append(path)

    def _call(self, *command: str) -> None:
        done = subprocess.run(
            command,
            cwd=self._folder,
            env=self._env,
            capture_output=True,
            text=True,
            check=False,
            timeout=_LONGEST_SECONDS,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command[:3])} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")

    def opslab(self, *options: str) -> Callable[[], None]:
        """Return a call that grades the class afresh, with all its reports."""

        def grade() -> None:
            out = self._folder / "out"
            shutil.rmtree(out, ignore_errors=True)
            lab = str(self._lab.folder)
            command = ["grade", str(self._folder / "submitted"), "--lab", lab, "--out", str(out), *options]
            self._call(sys.executable, "-m", "mlops_helpers.cli", *command)
            with (out / "gradebook.csv").open(newline="") as file:
                self._all_full([(float(row["total"]), float(row["possible"])) for row in csv.DictReader(file)])

        return grade

    def nbgrader(self) -> None:
        """Grade the class afresh with nbgrader."""
        self._call(*_nbgrader(), "autograde", self._lab.name, "--force")

    def nbgrader_agrees(self) -> None:
        """Raise unless nbgrader has given everybody all points."""
        self._call(*_nbgrader(), "export")
        with (self._folder / "grades.csv").open(newline="") as file:
            self._all_full([(float(row["score"]), float(row["max_score"])) for row in csv.DictReader(file)])

    def nbclient(self) -> None:
        """Execute every notebook in a fresh kernel, and check nothing."""
        self._call(sys.executable, "-c", _NBCLIENT, *map(str, self.handed))

    def _all_full(self, points: list[tuple[float, float]]) -> None:
        if len(points) != STUDENTS or any(earned != possible or not possible for earned, possible in points):
            raise RuntimeError(f"a class of right answers did not get all points: {points}")


def speed_figures() -> Iterator[Figure]:
    """Measure a class of right answers from the command to the last report."""
    with TemporaryDirectory(prefix="opslab-bench-") as scratch:
        course = _Course(Path(scratch), labs.load(LAB))
        seconds = interleaved(
            {
                "opslab": course.opslab(),
                "nbgrader": course.nbgrader,
                "nbclient": course.nbclient,
                "one worker": course.opslab("--workers", "1"),
            },
            ROUNDS,
        )
        course.nbgrader_agrees()
    each = {name: statistics.median(times) / STUDENTS for name, times in seconds.items()}
    for ours, peer, goal, what in (
        ("opslab", "nbgrader", "<= 0.15", "time per submission: opslab grade / nbgrader autograde"),
        ("opslab", "nbclient", "", "time per submission: opslab grade / bare nbclient, which checks nothing"),
        ("one worker", "nbgrader", "", "time per submission: opslab grade --workers 1 / nbgrader autograde"),
    ):
        value, spread = ratios(seconds[ours], seconds[peer])
        conditions = (
            f"{STUDENTS} right answers of lab {LAB}; {spread}; medians {each[ours]:.2f} s and {each[peer]:.2f} s a "
            f"submission; {os.cpu_count()} processors"
        )
        yield Figure(what, value, "ratio", goal, conditions)
