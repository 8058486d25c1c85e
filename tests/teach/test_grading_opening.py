"""A lab's opening cells are executed once for all submissions, where nobody could tell."""

import pytest
from grading_lab import RIGHT, Handed, make_lab

from mlops_helpers.teach.grading import Grader, Limits
from mlops_helpers.teach.grading_cells import open_submission
from mlops_helpers.teach.grading_work import Executions

pytestmark = pytest.mark.engine("bwrap")

GIVEN = "import time\nGIVEN = [time.perf_counter_ns()]"
OWN = "import random\nFIRST = GIVEN[0]\nGIVEN.append(1)\nDRAWN = random.random(), float(np.random.rand())"
LEAVING = {
    "a thread": "import threading\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "a process": "import subprocess\nsleeping = subprocess.Popen(['sleep', '60'])",
    "a process that is nobody's": "import subprocess\nsubprocess.run(['sh', '-c', 'sleep 60 &'])",
    "an open file": "held = open('/dev/null')",
    "a file": "open('/tmp/left.txt', 'w').close()",
    "another folder": "import os\nos.chdir('/')",
    "random numbers drawn": "import random\nrandom.random()",
    "numpy's random numbers drawn": "np.random.rand()",
    "an exception": "1 / 0",
    "no end": "time.sleep(3)",  # the grader of that test has less patience than its executions
}


class Opened:
    """A lab with an opening, its grader, and executions of what is handed in."""

    def __init__(self, folder, given: str, seconds: float = 30.0) -> None:
        self.lab = make_lab(folder / "lab", given)
        self.folder = folder
        self.grader = Grader(self.lab, limits=Limits(cell_seconds=seconds))

    def firsts(self, work: Handed, times: int = 2) -> tuple[list[object], list[object]]:
        """Return what each of some executions had of the opening, and the random numbers that it drew."""
        submission = open_submission(work.write(), self.lab.name, self.grader._original)
        executions = Executions(self.grader._sandbox, submission, Limits())
        try:
            works = [executions.fresh() for _ in range(times)]
            return [one.value("GIVEN") for one in works], [one.value("DRAWN") for one in works]
        finally:
            executions.close()


def handed(opened: Opened) -> Handed:
    return Handed(opened.lab, opened.folder).answer(**RIGHT | {"share": f"{RIGHT['share']}\n{OWN}"})


def test_the_opening_is_executed_once_and_nothing_of_it_is_shared(tmp_path) -> None:
    opened = Opened(tmp_path, GIVEN)
    with opened.grader:
        given, drawn = opened.firsts(handed(opened))
        assert given[0] == given[1], "each execution has executed the opening itself"
        assert len(given[0]) == 2, "what one execution changed is seen by the next"
        assert drawn[0][0] != drawn[1][0]
        assert drawn[0][1] != drawn[1][1]
        result = opened.grader.grade(handed(opened).write(), student="a")
        assert (result.earned, result.findings) == (result.points, ())


def test_a_submission_that_begins_otherwise_executes_it_itself(tmp_path) -> None:
    opened = Opened(tmp_path, GIVEN)
    with opened.grader:
        given, _ = opened.firsts(handed(opened).before("import math"))
        assert given[0] != given[1]
        shared, _ = opened.firsts(handed(opened))
        assert shared[0] == shared[1]


@pytest.mark.parametrize("left", LEAVING)
def test_an_opening_that_leaves_more_than_memory_is_executed_by_every_submission(tmp_path, left) -> None:
    opened = Opened(tmp_path, f"{GIVEN}\n{LEAVING[left]}", seconds=1.0 if left == "no end" else 30.0)
    with opened.grader:
        given, _ = opened.firsts(handed(opened))
        assert given[0] != given[1]
