"""A class: what is found, what is read, what is graded again, and what one submission does to the others (nothing)."""

import csv
import functools
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from grading_lab import RIGHT, Handed, make_lab

from mlops_helpers import cli
from mlops_helpers.errors import ParameterError, RuntimeUnavailable, ServiceError
from mlops_helpers.teach import grading_commands, grading_handed, labs
from mlops_helpers.teach.grading_class import LocalGraders, grade_class
from mlops_helpers.teach.grading_handed import Refused, read
from mlops_helpers.teach.grading_late import LatePolicy, parse_due, seconds_late
from mlops_helpers.teach.grading_submissions import file_name, find, read_roster
from mlops_helpers.teach.grading_worker import Recipe

HERE = Path(__file__).parent
PRETENDED = "pretended_grader:Grader"


@pytest.fixture
def lab(tmp_path, cells):
    folder = tmp_path / "a-lab"
    folder.mkdir()
    about = {"opslab": {"lab": "a-lab", "minutes": 60, "difficulty": {"recall": "basic"}}}
    (folder / "lab.ipynb").write_text(json.dumps(cells.notebook(cells.markdown("# A lab"), metadata=about)))
    (folder / "checks.py").write_text("")
    return labs.load(folder)


@pytest.fixture
def diary(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    folder = tmp_path / "diary"
    folder.mkdir()
    return folder


@pytest.fixture
def hand_in(tmp_path, cells):
    """Write submissions, given what the pretended grader is to do with each."""

    def write(**acts):
        folder = tmp_path / "submissions"
        folder.mkdir(exist_ok=True)
        for student, act in acts.items():
            (folder / f"{student}.ipynb").write_text(json.dumps(cells.notebook(metadata={"act": act})))
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


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")


# what is found


@pytest.mark.parametrize(
    "name",
    [f"student-01{rest}.ipynb" for rest in ("", "/a-lab", "/lab", "/a-lab/a-lab", "/my copy")],
)
def test_each_layout_is_found(tmp_path, name):
    touch(tmp_path, name, ".hidden.ipynb", ".ipynb_checkpoints/x.ipynb", "notes.txt")
    found, others = find(tmp_path, "a-lab")
    assert [(one.student, one.path, one.problem) for one in found] == [("student-01", tmp_path / name, "")]
    assert others == ["notes.txt"]


def test_one_notebook_is_a_class_of_one(tmp_path):
    touch(tmp_path, "student-01.ipynb")
    assert [one.student for one in find(tmp_path / "student-01.ipynb", "a-lab")[0]] == ["student-01"]


@pytest.mark.parametrize(
    "names", [("s/a.ipynb", "s/b.ipynb"), ("s.ipynb", "s/lab.ipynb"), ("s/lab.ipynb", "s/q.ipynb")]
)
def test_two_files_of_one_student_are_refused_unless_one_is_named_for_it(tmp_path, names):
    touch(tmp_path, *names)
    (one,) = find(tmp_path, "q")[0]
    assert one.path is None
    assert "has 2 notebooks, one is needed" in one.problem


def test_links_are_refused(tmp_path):
    place = tmp_path / "class"
    touch(place, "honest.ipynb", "folder/honest.txt")
    touch(tmp_path, "elsewhere/lab.ipynb")
    (place / "copycat.ipynb").symlink_to(place / "honest.ipynb")
    (place / "folder/lab.ipynb").symlink_to("/etc/passwd")
    (place / "linked").symlink_to(tmp_path / "elsewhere")
    (place / "inner").mkdir()
    (place / "inner/a-lab").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/a-lab.ipynb").touch()
    (place / "broken.ipynb").symlink_to("nowhere")
    problems = {one.student: one.problem for one in find(place, "a-lab")[0]}
    assert problems.pop("honest") == ""
    assert set(problems) == {"copycat", "folder", "linked", "inner", "broken"}
    assert all(problem.startswith("is a link: ") for problem in problems.values())
    assert all("Next: hand in the notebook itself" in problem for problem in problems.values())


def test_names_that_are_not_utf_8_or_cannot_be_printed_are_shown_as_escapes(tmp_path):
    for name in (b"stud\xe9.ipynb", b"line\nfeed.ipynb", "right\u202eleft.ipynb".encode(), "e\u0301.ipynb".encode()):
        (tmp_path / os.fsdecode(name)).touch()
    students = [one.student for one in find(tmp_path, "a-lab")[0]]
    assert sorted(students) == sorted(["stud\\xe9", "line\\nfeed", "right\\u202eleft", "\xe9"])
    assert all(name.isascii() for name in map(file_name, students))


def test_a_place_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ParameterError, match=r"No such file.*STUDENT\.ipynb"):
        find(tmp_path / "nowhere", "a-lab")


def test_a_folder_that_cannot_be_listed_is_one_students_problem(tmp_path, monkeypatch):
    touch(tmp_path, "locked/lab.ipynb", "student-01.ipynb")
    listed = Path.iterdir
    denied = lambda path: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))  # noqa: E731
    monkeypatch.setattr(Path, "iterdir", lambda path: denied(path) if path.name == "locked" else listed(path))
    problems = {one.student: one.problem for one in find(tmp_path, "q")[0]}
    assert problems == {"locked": "cannot be read: its folder: Permission denied", "student-01": ""}


@pytest.mark.parametrize(
    "names",
    [
        ("student-01", "STUDENT-01", "student 01", "student_01", "student-01.", "../student-01", "Student-01"),
        ("con", "con-", "con_", "nul", "", " ", "a" * 300, "a" * 301, "=1+1", "-1+1", "\xe9", "e"),
    ],
)
def test_file_names_are_safe_and_nobody_elses(names):
    made = [file_name(name) for name in names]
    assert len({name.casefold() for name in made}) == len(names)
    assert all(len(name) < 70 and name[0].isalnum() and not set(name) & set("./\\: ") for name in made)
    assert file_name("student-01") == "student-01"
    assert file_name(file_name("STUDENT-01")) != file_name("STUDENT-01"), "a chosen name takes another's file"


# what is read


def test_a_file_is_read_with_its_time(tmp_path):
    path = tmp_path / "a.ipynb"
    path.write_bytes(b"{}")
    os.utime(path, (0, 86400))
    handed = read(path)
    assert (handed.content, handed.submitted_at) == (b"{}", "1970-01-02T00:00:00+00:00")


def test_what_is_no_file_of_bearable_size_is_refused(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.ipynb")
    (tmp_path / "folder.ipynb").mkdir()
    (tmp_path / "link.ipynb").symlink_to("/etc/passwd")
    (tmp_path / "large.ipynb").write_bytes(b" " * 1001)
    monkeypatch.setattr(grading_handed, "MOST_BYTES", 1000)
    for name, reason in (
        ("pipe", "is not a file"),
        ("folder", "is not a file"),
        ("link", "is a link"),
        ("large", "clear the outputs"),
        ("gone", "No such file"),
    ):
        with pytest.raises(Refused, match=reason):
            read(tmp_path / f"{name}.ipynb")


def test_a_file_that_changes_while_it_is_read_is_read_again_and_then_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.ipynb"
    path.write_bytes(b"{}")
    changes, look = iter((1, 2)), os.fstat

    def look_then_change(descriptor):
        seen = look(descriptor)
        for moment in changes:
            os.utime(path, (0, moment))
            break
        return seen

    monkeypatch.setattr(grading_handed.os, "fstat", look_then_change)
    assert read(path).content == b"{}"
    changes = iter(range(3, 100))
    with pytest.raises(Refused, match="changes while it is read"):
        read(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"name\nstudent-01\n", "columns found: name; a column named student is needed"),
        (b"", "columns found: none"),
        (b"student\n", "the roster names no student"),
        (b"student,x\n,1\n", "a line names no student"),
        (b"student\na\na\n", "named twice: a"),
        (b"student\nstud\xe9\n", "no CSV file in UTF-8"),
        (b'student\n"a\n', "no CSV file in UTF-8"),
    ],
)
def test_a_roster_that_cannot_be_used_is_refused(tmp_path, content, reason):
    path = tmp_path / "roster.csv"
    path.write_bytes(content)
    with pytest.raises(ParameterError, match=reason):
        read_roster(path)


def test_a_roster_from_a_spreadsheet_is_read(tmp_path):
    path = tmp_path / "roster.csv"
    path.write_bytes("\ufeffid,student\r\n1,student-01\r\n2,e\u0301\r\n".encode())
    assert read_roster(path) == ["student-01", "\xe9"]


# late


@pytest.mark.parametrize("text", ["", "10", "10%", "10%/week", "0%/day", "101%/day", "-5%/day", "10 %/day", "nan%/day"])
def test_a_late_policy_that_states_none_is_refused(text):
    with pytest.raises(ParameterError, match=r"late penalty.*such as 10%/day"):
        LatePolicy.parse(text)


@pytest.mark.parametrize(("hours", "taken"), [(0, 0), (0.1, 1), (24, 1), (24.1, 2), (24 * 400, 10)])
def test_each_day_begun_late_takes_its_share_and_never_more_than_was_earned(hours, taken):
    assert LatePolicy.parse("10%/day").penalty(10, hours * 3600) == pytest.approx(taken)


@pytest.mark.parametrize("text", ["tomorrow", "2030-01-31", "2030-01-31T23:59"])
def test_a_due_date_needs_a_time_zone(text):
    with pytest.raises(ParameterError, match="with the offset from UTC"):
        parse_due(text)


def test_lateness_is_told_across_time_zones():
    due = parse_due("2030-01-31T23:59+01:00")
    assert due == datetime(2030, 1, 31, 22, 59, tzinfo=UTC)
    assert seconds_late("2030-01-31T23:59:00+00:00", due) == 3600
    assert seconds_late("2030-01-31T22:00:00+00:00", due) == seconds_late("", due) == 0


# a class


def test_one_submission_never_touches_another(grade, hand_in, diary, capfd):
    folder = hand_in(a="die", b="pass", c="die once", d="raise", e="pass", f="fail")
    touch(folder, "g/x.txt", "h.ipynb")
    (folder / "h.ipynb").unlink()
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
    (lab.folder / "mutants").mkdir()
    (lab.folder / "mutants/x.py").touch()
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


def test_no_submission_is_said(grade, hand_in, tmp_path):
    with pytest.raises(ParameterError, match=r"no submission of a-lab in it; accepted: STUDENT\.ipynb"):
        grade(hand_in())


def test_a_grader_that_refuses_to_start_ends_the_class(lab, hand_in, out, diary):
    recipe = Recipe(lab.name, lab.folder, {"refuses": "no sandbox here; next: apt-get install bubblewrap"}, PRETENDED)
    with pytest.raises(RuntimeUnavailable, match="no sandbox here; next"):
        grade_class(hand_in(a="pass"), lab, out, lambda jobs: LocalGraders(recipe, jobs), options={})


def test_a_link_in_the_place_of_results_is_refused(grade, hand_in, out, tmp_path, diary):
    out.mkdir()
    (out / "results").symlink_to(tmp_path / "diary")
    with pytest.raises(Exception, match="not a folder of its own"):
        grade(hand_in(a="pass"))
    assert graded(diary) == []


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


def test_the_command_shows_a_table_and_leaves_all_reports(command, hand_in, out, capfd):
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
    assert {one.partition(".")[0] for one in files} == each | {"gradebook", "junit"}


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
        (["--out", "{folder}/out"], "lies in the folder of the submissions"),
    ],
)
def test_wrong_arguments_are_refused(command, hand_in, capsys, more, reason):
    folder = hand_in(a="pass")
    assert command(folder, *(word.format(folder=folder) for word in more)) == 2
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
def test_what_was_graded_before_an_interruption_is_kept_and_nothing_runs_on(
    lab, diary, hand_in, out, until, grade, number
):
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
    assert {path.name for path in out.iterdir()} == {"results"}, "copies of submissions are left"


@pytest.mark.engine("bwrap")
def test_a_real_class_is_graded_by_the_real_grader(tmp_path, out):
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
        found = [(row["student"], row["state"], float(row["total"])) for row in csv.DictReader(file)]
    assert found == [
        ("student-01", "graded", 6),
        ("student-02", "graded", 5),
        ("student-03", "graded", 0),
        ("student-04", "refused", 0),
    ]
    assert "LIMIT is 1.0; 0.95 was asked" in (out / "feedback" / "student-02.html").read_text()


# a cluster


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(HERE))
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1", scheduler_port=0
        ) as made:
            yield made


def test_a_cluster_grades_like_this_machine(cluster, lab, diary, hand_in, out, until):
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


def test_a_cluster_that_is_not_there_is_said(lab, monkeypatch):
    from mlops_helpers.teach import grading_dask

    monkeypatch.setattr(grading_dask, "_CONNECT_SECONDS", 1)
    with (
        pytest.raises(ServiceError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9.*next: dask scheduler"),
        grading_dask.DaskGraders(Recipe(lab.name, lab.folder), "tcp://127.0.0.1:9"),
    ):
        pass
