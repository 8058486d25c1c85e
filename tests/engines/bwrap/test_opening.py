"""A lab's opening cells are executed once for all submissions, where nobody could tell."""

import json
import os
import subprocess
import sys

import pytest

from mlops_helpers.teach.grading import Grader, Limits
from mlops_helpers.teach.grading_bubblewrap import ENVIRONMENT, bubblewrap
from mlops_helpers.teach.grading_cells import open_submission
from mlops_helpers.teach.grading_work import Executions
from tests.support.small_lab import RIGHT, Handed, make_lab

GIVEN = "import time\nGIVEN = [time.perf_counter_ns()]"
OWN = "import random\nFIRST = GIVEN[0]\nGIVEN.append(1)\nDRAWN = random.random(), float(np.random.rand())"
ANOTHER_USER = 1_879_048_191
LEAVING = {
    "nothing": "x = 1",
    "a thread": "import threading\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "a process": "import subprocess\nsleeping = subprocess.Popen(['sleep', '60'])",
    "a process that is nobody's": "import subprocess\nsubprocess.run(['sh', '-c', 'sleep 60 &'])",
    "an open file": "held = open('/dev/null')",
    "a file": "open('/tmp/left.txt', 'w').close()",
    "another folder": "import os\nos.chdir('/')",
    "random numbers drawn": "import random\nrandom.random()",
    "numpy's random numbers drawn": "np.random.rand()",
    "an exception": "1 / 0",
    "no end": "while True: pass",
}
# in the sandbox, for each case in a process of its own
JUDGE = """
import json, os, sys
import numpy as np
import numpy.random
from mlops_helpers.teach import grading_confine
from mlops_helpers.teach.grading_opening import executed_alone

user, cases = json.loads(sys.argv[1])
if user:
    grading_confine.drop_root(user)
verdicts = {}
for name, source in cases.items():
    read, write = os.pipe()
    if os.fork() == 0:
        def run(source, space={"np": np}):
            try:
                exec(source, space)
                return {}
            except Exception as error:
                return {"raised": repr(error)}
        try:
            alone = executed_alone(run, ["import time", source], 0.2 if name == "no end" else 60)
            os.write(write, b"yes" if alone else b"no")
        finally:
            os._exit(0)
    os.close(write)
    verdicts[name] = os.read(read, 3).decode()
    os.close(read)
print(json.dumps(verdicts))
"""


class Opened:
    """A lab with an opening, its grader, and executions of what is handed in."""

    def __init__(self, folder, given: str) -> None:
        self.lab = make_lab(folder / "lab", given)
        self.folder = folder
        self.grader = Grader(self.lab, limits=Limits(cell_seconds=30))

    def handed(self) -> Handed:
        return Handed(self.lab, self.folder).answer(**RIGHT | {"share": f"{RIGHT['share']}\n{OWN}"})

    def two_executions(self, work: Handed) -> tuple[list[object], list[object]]:
        """Return what each of two executions had of the opening, and the random numbers that it drew."""
        submission = open_submission(work.write(), self.lab.name, self.grader._original)
        executions = Executions(self.grader._sandbox, submission, Limits())
        try:
            works = [executions.fresh() for _ in range(2)]
            return [one.value("GIVEN") for one in works], [one.value("DRAWN") for one in works]
        finally:
            executions.close()


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    opened = Opened(tmp_path_factory.mktemp("opened"), GIVEN)
    with opened.grader:
        yield opened


def test_the_opening_is_executed_once_and_nothing_of_it_is_shared(opened) -> None:
    given, drawn = opened.two_executions(opened.handed())
    assert given[0] == given[1], "each execution has executed the opening itself"
    assert len(given[0]) == 2, "what one execution changed is seen by the next"
    assert drawn[0][0] != drawn[1][0]
    assert drawn[0][1] != drawn[1][1]
    result = opened.grader.grade(opened.handed().write(), student="a")
    assert (result.earned, result.findings) == (result.points, ())


def test_a_submission_that_begins_otherwise_executes_the_opening_itself(opened) -> None:
    given, _ = opened.two_executions(opened.handed().before("import math"))
    assert given[0] != given[1]


def test_an_opening_that_leaves_more_than_memory_is_executed_by_every_submission(tmp_path) -> None:
    opened = Opened(tmp_path, f"{GIVEN}\n{LEAVING['a thread']}")
    with opened.grader:
        given, _ = opened.two_executions(opened.handed())
        assert given[0] != given[1]


def test_only_what_leaves_nothing_but_memory_is_executed_ahead() -> None:
    user = ANOTHER_USER if os.getuid() == 0 else 0
    command = [*bubblewrap(user), sys.executable, "-P", "-s", "-c", JUDGE, json.dumps([user, LEAVING])]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    verdicts = json.loads(done.stdout)
    assert verdicts.pop("nothing") == "yes"
    assert verdicts.pop("no end") == "", "its process ends without an answer"
    assert verdicts == dict.fromkeys(verdicts, "no")
    assert len(verdicts) == len(LEAVING) - 2
