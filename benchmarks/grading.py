"""A class of right answers graded: ``opslab grade`` against nbgrader's autograde and bare nbclient."""

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import Figure, interleaved, ratio
from mlops_helpers.teach import labs
from mlops_helpers.workspace import project_root
from tests.support.engines import ENGINES

LAB, STUDENTS, ROUNDS = "quality", 10, 2
NBGRADER = [str(project_root() / "build" / "nbgrader" / "bin" / "python"), "-m", "nbgrader"]
_NBCLIENT = """
import sys, nbformat, nbclient
for path in sys.argv[1:]:
    nbclient.NotebookClient(nbformat.read(path, 4), timeout=300, kernel_name="python3").execute()
"""


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
        nbclient = partial(_call, folder, sys.executable, "-c", _NBCLIENT, *map(str, handed))
        ways = {
            "opslab grade": partial(_opslab, folder, lab),
            "nbgrader autograde": partial(_call, folder, *NBGRADER, "autograde", LAB, "--force"),
            "bare nbclient, which checks nothing": nbclient,
            "opslab grade --workers 1": partial(_opslab, folder, lab, "--workers", "1"),
        }
        times = {name: [took / STUDENTS for took in of] for name, of in interleaved(ways, ROUNDS).items()}
        _call(folder, *NBGRADER, "export")
        _all_full(folder / "grades.csv", "score", "max_score")
        for peer in list(ways)[1:]:
            goal, about = "<= 0.25" if peer.startswith("nbgrader") else "", f"{STUDENTS} right answers of lab {LAB}"
            yield ratio(f"time a submission / {peer}", times["opslab grade"], times[peer], goal, about)


def _opslab(folder: Path, lab: labs.Lab, *options: str) -> None:
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    where = [str(folder / "submitted"), "--lab", str(lab.folder), "--out", str(out)]
    _call(folder, sys.executable, "-m", "mlops_helpers.cli", "grade", *where, *options)
    _all_full(out / "gradebook.csv", "total", "possible")


def _call(folder: Path, *command: str) -> None:
    path = f"{Path(command[0]).parent}{os.pathsep}{os.environ['PATH']}"  # nbgrader calls commands that are beside it
    environment = os.environ | {"JUPYTER_PATH": str(Path(sys.prefix) / "share" / "jupyter"), "PATH": path}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def _all_full(table: Path, earned: str, possible: str) -> None:
    with table.open(newline="") as file:
        points = [(float(row[earned]), float(row[possible])) for row in csv.DictReader(file)]
    if len(points) != STUDENTS or any(mine != full or not full for mine, full in points):
        raise RuntimeError(f"{table.name}: a class of right answers did not get all points: {points}")
