"""A class: what is graded again, what one submission does to the others (nothing), and what the command leaves."""

import functools
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime

import psutil
import pytest

from mlops_helpers import cli
from mlops_helpers.errors import ParameterError, RuntimeUnavailable, ServiceError
from mlops_helpers.teach import grading_commands, labs
from mlops_helpers.teach.grading_class import LocalGraders, grade_class
from mlops_helpers.teach.grading_late import LatePolicy
from mlops_helpers.teach.grading_worker import Recipe
from tests.support import tiny_notebooks
from tests.support.engines import PROJECT
from tests.support.waiting import until

PRETENDED = "tests.support.pretended_grader:Grader"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def lab(tmp_path):
    folder = tmp_path / "a-lab"
    about = {"opslab": {"lab": "a-lab", "minutes": 60, "difficulty": {"recall": "basic"}}}
    content = tiny_notebooks.notebook(tiny_notebooks.markdown("# A lab"), metadata=about)
    tiny_notebooks.save(folder / "lab.ipynb", content)
    (folder / "checks.py").write_text("")
    return labs.load(folder)


@pytest.fixture
def diary(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    folder = tmp_path / "diary"
    folder.mkdir()
    return folder


@pytest.fixture
def hand_in(tmp_path):
    """Write submissions, given what the pretended grader is to do with each."""

    def write(**acts):
        folder = tmp_path / "submissions"
        folder.mkdir(exist_ok=True)
        for student, act in acts.items():
            tiny_notebooks.save(folder / f"{student}.ipynb", tiny_notebooks.notebook(metadata={"act": act}))
        return folder

    return write


@pytest.fixture
def grade(lab, diary, out):
    """Grade a folder with pretended graders."""

    def call(folder, workers=2, **more):
        recipe = Recipe(lab.name, lab.folder, {"diary": str(diary)}, PRETENDED)
        more = {"options": {}} | more
        return grade_class(folder, lab, out, lambda jobs: LocalGraders(recipe, min(workers, jobs)), **more)

    return call


def graded(diary):
    return sorted(path.name.partition(".")[0] for path in diary.iterdir() if not path.name.startswith("closed"))


def test_one_submission_never_touches_another(grade, hand_in, diary, capfd):
    folder = hand_in(a="die", b="pass", c="die once", d="raise", e="pass", f="fail")
    (folder / "g").mkdir()
    (folder / "h.ipynb").symlink_to("b.ipynb")
    report = grade(folder)
    states = {one.result.student: (one.result.state, one.total) for one in report.students}
    expected = {"refused": {"a": 0, "d": 0, "h": 0}, "graded": {"b": 3, "c": 3, "e": 3, "f": 1}, "missing": {"g": 0}}
    assert states == {name: (state, total) for state, all_of in expected.items() for name, total in all_of.items()}
    reasons = {one.result.student: one.result.reason for one in report.students}
    assert reasons["a"] == "was not graded: the grader itself failed, twice: its process ended"
    assert reasons["d"] == "was not graded: the grader itself failed, twice: ZeroDivisionError: a defect"
    assert graded(diary) == ["a", "a", "b", "c", "c", "d", "d", "e", "f"]


def test_what_is_graded_is_kept_and_what_changed_is_graded_again(grade, hand_in, lab, diary):
    folder = hand_in(a="pass", b="error", c="die")
    assert grade(folder).kept == 0
    before = graded(diary)

    def again(**more):
        start = graded(diary)
        report = grade(folder, **more)
        now = graded(diary)
        for one in start:
            now.remove(one)
        return report.kept, now

    assert before == ["a", "b", "c", "c"]
    assert again() == (1, ["b", "c", "c"]), "what failed without the student's fault is graded anew"
    hand_in(a="fail", b="pass", c="pass")
    assert again() == (0, ["a", "b", "c"])
    assert again() == (3, [])
    assert again(options={"seed": 1}) == (0, ["a", "b", "c"])
    lab.checks.write_text("# changed")
    assert again() == (0, ["a", "b", "c"])
    (lab.folder / "answers").mkdir()
    (lab.folder / "answers/x.py").touch()
    assert again() == (3, [])


def test_a_record_that_is_not_ours_is_not_believed(grade, hand_in, diary, out):
    folder = hand_in(a="fail", b="pass")
    grade(folder)
    record, other = out / "results" / "a.json", (out / "results" / "b.json").read_text()
    for damage in ("[]", '{"made_with": 1}', other):
        record.write_text(damage)
        report = grade(folder)
        assert (report.kept, report.students[0].total) == (1, 1)


def test_a_class_has_those_who_handed_in_nothing_and_the_late(grade, hand_in, tmp_path):
    folder = hand_in(a="pass", b="pass")
    os.utime(folder / "a.ipynb", (0, 86400 + 1))
    os.utime(folder / "b.ipynb", (0, 86400))
    roster = tmp_path / "roster.csv"
    roster.write_text("student\na\nz\n")
    due = datetime(1970, 1, 2, tzinfo=UTC)
    report = grade(folder, roster=roster, due=due, late=LatePolicy.parse("10%/hour"))
    assert [(one.result.student, one.result.state, round(one.total, 9)) for one in report.students] == [
        ("a", "graded", 2.7),
        ("b", "graded", 3),
        ("z", "missing", 0),
    ]
    assert report.students[0].result.late_seconds == 1
    assert report.remarks == ("not in the roster: b",)
    assert grade(folder, due=due).kept == 2, "lateness is no matter of grading"


def test_a_class_without_submissions_is_refused(grade, hand_in):
    with pytest.raises(ParameterError, match=r"no submission of a-lab in it; accepted: STUDENT\.ipynb"):
        grade(hand_in())


def test_a_grader_that_refuses_to_start_ends_the_class(lab, hand_in, out, diary):
    recipe = Recipe(lab.name, lab.folder, {"refuses": "no sandbox here; next: apt-get install bubblewrap"}, PRETENDED)
    with pytest.raises(RuntimeUnavailable, match="no sandbox here; next"):
        grade_class(hand_in(a="pass"), lab, out, lambda jobs: LocalGraders(recipe, jobs), options={})


# the command


@pytest.fixture
def command(lab, diary, out, monkeypatch):
    """Run ``opslab grade`` with pretended graders."""

    def made(name, folder, options):
        return Recipe(name, folder, {"diary": str(diary), **options}, PRETENDED)

    def call(folder, *more):
        monkeypatch.setattr(grading_commands, "Recipe", made)
        return cli.main(["grade", str(folder), "--lab", str(lab.folder), "--out", str(out), *map(str, more)])

    return call


def test_the_command_shows_a_table_and_leaves_all_reports(command, hand_in, out, diary, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert command(hand_in(a="pass", b="fail"), "--workers", 1) == 0
    said = capfd.readouterr()
    assert [line.split() for line in said.out.splitlines()[:2]] == [
        ["student", "state", "recall", "precision", "late", "total", "noticed"],
        ["a", "graded", "2/2", "1/1", "3/3", "cell-edited"],
    ]
    assert "2 graded, 0 refused, 0 missing in " in said.out
    assert "2 of 2 submissions done" in said.err
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    each = {f"{folder}/{name}" for name in "ab" for folder in ("feedback", "gradescope", "results")}
    assert {one.partition(".")[0] for one in files} == each | {"gradebook", "junit", ""}
    places = [path.read_text() for path in diary.glob("closed.*")]
    assert places == [str(PROJECT)], "a grader works where submissions may lie"


def test_checks_at_fault_are_named_and_change_the_exit_code(command, hand_in, capfd):
    assert command(hand_in(a="error", b="pass")) == 1
    assert "a: test_recall_of_spam is at fault: said" in capfd.readouterr().err
    assert command(hand_in(a="die")) == 1


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--late-penalty", "10%/day"], "without a due date"),
        (["--due", "2030-01-31T23:59Z", "--late-penalty", "much"], "late penalty 'much' found"),
        (["--due", "soon"], "due date 'soon' found"),
        (["--workers", "1", "--scheduler", "tcp://127.0.0.1:1"], "leave out --workers"),
        (["--lab", "no-such-lab"], "there is no lab 'no-such-lab'"),
        (["--roster", "nowhere.csv"], "roster cannot be read"),
    ],
)
def test_wrong_arguments_are_refused(command, hand_in, capsys, more, reason):
    assert command(hand_in(a="pass"), *more) == 2
    assert reason in capsys.readouterr().err


def started(lab, diary, folder, out):
    """The command in a process of its own, with pretended graders."""
    code = f"""
import sys
from mlops_helpers import cli
from mlops_helpers.teach import grading_commands as commands, grading_worker
commands.Recipe = lambda name, folder, options: grading_worker.Recipe(
    name, folder, {{"diary": {str(diary)!r}, **options}}, {PRETENDED!r})
sys.exit(cli.main(["grade", {str(folder)!r}, "--lab", {str(lab.folder)!r}, "--out", {str(out)!r}, "--workers", "2"]))
"""
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_was_graded_before_an_interruption_is_kept_and_nothing_runs_on(lab, diary, hand_in, out, grade, number):
    folder = hand_in(a="pass", b="pass", y="hang", z="hang")
    process = started(lab, diary, folder, out)
    try:
        until(lambda: graded(diary) == ["a", "b", "y", "z"])
        until(lambda: len(list((out / "results").glob("*.json"))) == 2)
        workers = [psutil.Process(int((diary / f"{name}.0").read_text())) for name in "yz"]
        process.send_signal(number)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    until(lambda: not any(one.is_running() for one in workers))
    until(lambda: len(list(diary.glob("closed.*"))) == 2)  # sandboxes were left as they should
    hand_in(y="pass", z="pass")
    assert grade(folder, options={"sandbox": "auto", "trust": False, "seed": None}).kept == 2
    assert {path.name for path in out.iterdir()} == {".opslab-grade", "results"}, "copies of submissions are left"


# a cluster


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(PROJECT))
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1", scheduler_port=0
        ) as made:
            yield made


def test_a_cluster_grades_like_this_machine(cluster, lab, diary, hand_in, out):
    from mlops_helpers.teach.grading_dask import DaskGraders

    folder = hand_in(a="die", b="pass", c="die once", d="raise", e="fail", **{f"s{i}": "slow" for i in range(6)})
    graders = functools.partial(DaskGraders, Recipe(lab.name, lab.folder, {"diary": str(diary)}, PRETENDED))
    report = grade_class(folder, lab, out, lambda jobs: graders(cluster.scheduler_address), options={})
    totals = {one.result.student: (one.result.state, one.total) for one in report.students}
    assert totals == dict.fromkeys("ad", ("refused", 0)) | {"e": ("graded", 1)} | dict.fromkeys(
        ["b", "c", *(f"s{i}" for i in range(6))], ("graded", 3)
    )
    used = {int(path.read_text()) for path in diary.iterdir() if not path.name.startswith("closed")}
    until(lambda: not any(psutil.pid_exists(pid) for pid in used))
    refusing = Recipe(lab.name, lab.folder, {"refuses": "no sandbox here"}, PRETENDED)
    with pytest.raises(RuntimeUnavailable, match="no sandbox here"):
        grade_class(
            folder, lab, out, lambda jobs: DaskGraders(refusing, cluster.scheduler_address), options={"other": 1}
        )


def test_a_cluster_that_is_not_there_is_refused(lab, monkeypatch):
    from mlops_helpers.teach import grading_dask

    monkeypatch.setattr(grading_dask, "_CONNECT_SECONDS", 0.2)
    with (
        pytest.raises(ServiceError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9.*next: dask scheduler"),
        grading_dask.DaskGraders(Recipe(lab.name, lab.folder), "tcp://127.0.0.1:9"),
    ):
        pass
