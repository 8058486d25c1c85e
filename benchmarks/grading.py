"""A class of right answers graded: ``opslab grade`` against nbgrader's autograde."""

import csv
import os
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import Figure, interleaved, ratio, run
from mlops_helpers.teach import labs
from mlops_helpers.workspace import project_root
from tests.support.engines import ENGINES

LAB, STUDENTS, ROUNDS = "quality", 10, 2
NBGRADER = [str(project_root() / "build" / "nbgrader" / "bin" / "python"), "-m", "nbgrader"]


def figures() -> Iterator[Figure]:
    """Grade the same files by each way, in nbgrader's layout, from the command to the last report."""
    missing = [f"{name}: {ENGINES[name].remedy}" for name in ("bwrap", "nbgrader") if not ENGINES[name].works()]
    if missing:
        yield Figure("time a submission", None, "s", "", f"to get {'; '.join(missing)}")
        return
    with TemporaryDirectory(prefix="opslab-bench-") as scratch:
        folder, lab = Path(scratch), labs.load(LAB)
        (folder / "nbgrader_config.py").write_text('c = get_config()\nc.CourseDirectory.course_id = "class"\n')
        handed = [folder / "submitted" / f"student-{n:02}" / LAB / f"{LAB}.ipynb" for n in range(STUDENTS)]
        for path in (folder / "source" / LAB / f"{LAB}.ipynb", *handed):
            path.parent.mkdir(parents=True)
            shutil.copy(lab.source, path)  # which has the answers
        _call(folder, *NBGRADER, "generate_assignment", LAB)
        ways = {
            "opslab grade": partial(_opslab, folder, lab),
            "nbgrader autograde": partial(_call, folder, *NBGRADER, "autograde", LAB, "--force"),
        }
        times = {name: [took / STUDENTS for took in of] for name, of in interleaved(ways, ROUNDS).items()}
        _call(folder, *NBGRADER, "export")
        _all_full(folder / "grades.csv", "score", "max_score")
    about = f"{STUDENTS} right answers of lab {LAB}"
    yield ratio("time a submission / nbgrader's", times["opslab grade"], times["nbgrader autograde"], "<= 0.25", about)


def _opslab(folder: Path, lab: labs.Lab) -> None:
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    where = [str(folder / "submitted"), "--lab", str(lab.folder), "--out", str(out)]
    _call(folder, sys.executable, "-m", "mlops_helpers.cli", "grade", *where)
    _all_full(out / "gradebook.csv", "total", "possible")


def _call(folder: Path, *command: str) -> None:
    path = f"{Path(command[0]).parent}{os.pathsep}{os.environ['PATH']}"  # nbgrader calls commands that are beside it
    run(*command, folder=folder, PATH=path, JUPYTER_PATH=str(Path(sys.prefix) / "share" / "jupyter"))


def _all_full(table: Path, earned: str, possible: str) -> None:
    with table.open(newline="") as file:
        points = [(float(row[earned]), float(row[possible])) for row in csv.DictReader(file)]
    if len(points) != STUDENTS or any(mine != full or not full for mine, full in points):
        raise RuntimeError(f"{table.name}: a class of right answers did not get all points: {points}")
