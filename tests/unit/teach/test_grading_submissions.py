"""What a class hands in: which files are found, whose they are, how they are read, and what being late costs."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlops_helpers.errors import ParameterError
from mlops_helpers.teach import grading_handed
from mlops_helpers.teach.grading_handed import Refused, read
from mlops_helpers.teach.grading_late import LatePolicy, parse_due, seconds_late
from mlops_helpers.teach.grading_submissions import file_name, find, read_roster


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")


@pytest.mark.parametrize(
    "name",
    [f"student-01{rest}.ipynb" for rest in ("", "/a-lab", "/lab", "/a-lab/a-lab", "/my copy")],
)
def test_submissions_are_found_in_each_layout(tmp_path, name):
    touch(tmp_path, name, ".hidden.ipynb", ".ipynb_checkpoints/x.ipynb", "notes.txt")
    submissions, others = find(tmp_path, "a-lab")
    assert [(one.student, one.path, one.problem) for one in submissions] == [("student-01", tmp_path / name, "")]
    assert others == ["notes.txt"]


def test_a_single_notebook_is_a_class_of_one(tmp_path):
    touch(tmp_path, "student-01.ipynb")
    assert [one.student for one in find(tmp_path / "student-01.ipynb", "a-lab")[0]] == ["student-01"]


@pytest.mark.parametrize(
    "names", [("s/a.ipynb", "s/b.ipynb"), ("s.ipynb", "s/lab.ipynb"), ("s/lab.ipynb", "s/q.ipynb")]
)
def test_two_files_of_one_student_are_refused(tmp_path, names):
    touch(tmp_path, *names)
    (submission,) = find(tmp_path, "q")[0]
    assert submission.path is None
    assert "has 2 notebooks" in submission.problem


def test_links_are_refused(tmp_path):
    place = tmp_path / "class"
    touch(place, "honest.ipynb", "folder/honest.txt")
    touch(tmp_path, "elsewhere/lab.ipynb", "elsewhere/a-lab.ipynb")
    (place / "copycat.ipynb").symlink_to(place / "honest.ipynb")
    (place / "folder/lab.ipynb").symlink_to("/etc/passwd")
    (place / "linked").symlink_to(tmp_path / "elsewhere")
    (place / "inner").mkdir()
    (place / "inner/a-lab").symlink_to(tmp_path / "elsewhere")
    (place / "broken.ipynb").symlink_to("nowhere")
    problems = {one.student: one.problem for one in find(place, "a-lab")[0]}
    assert problems.pop("honest") == ""
    assert set(problems) == {"copycat", "folder", "linked", "inner", "broken"}
    assert all(problem.startswith("is a link: ") and "Next: " in problem for problem in problems.values())


def test_names_that_cannot_be_printed_are_shown_as_escapes(tmp_path):
    for name in (b"stud\xe9.ipynb", b"line\nfeed.ipynb", "right\u202eleft.ipynb".encode(), "e\u0301.ipynb".encode()):
        (tmp_path / os.fsdecode(name)).touch()
    students = [one.student for one in find(tmp_path, "a-lab")[0]]
    assert sorted(students) == sorted(["stud\\xe9", "line\\nfeed", "right\\u202eleft", "\xe9"])
    assert all(name.isascii() for name in map(file_name, students))


def test_a_missing_folder_is_refused_with_what_is_accepted(tmp_path):
    with pytest.raises(ParameterError, match=r"No such file.*STUDENT\.ipynb"):
        find(tmp_path / "nowhere", "a-lab")


def test_a_folder_that_cannot_be_listed_is_only_its_students_problem(tmp_path, monkeypatch):
    touch(tmp_path, "locked/lab.ipynb", "student-01.ipynb")
    listed = Path.iterdir

    def iterdir(path):
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    problems = {one.student: one.problem for one in find(tmp_path, "q")[0]}
    assert problems == {"locked": "cannot be read: its folder: Permission denied", "student-01": ""}


@pytest.mark.parametrize(
    "names",
    [
        ("student-01", "STUDENT-01", "student 01", "student_01", "student-01.", "../student-01", "Student-01"),
        ("con", "con-", "con_", "nul", "", " ", "a" * 300, "a" * 301, "=1+1", "-1+1", "\xe9", "e"),
    ],
)
def test_file_names_are_safe_and_unique(names):
    made = [file_name(name) for name in names]
    assert len({name.casefold() for name in made}) == len(names)
    assert all(len(name) < 70 and name[0].isalnum() and not set(name) & set("./\\: ") for name in made)
    assert file_name("student-01") == "student-01"
    assert file_name(file_name("STUDENT-01")) != file_name("STUDENT-01"), "a chosen name takes another's file"


def test_a_file_is_read_with_its_time(tmp_path):
    path = tmp_path / "a.ipynb"
    path.write_bytes(b"{}")
    os.utime(path, (0, 86400))
    handed = read(path)
    assert (handed.content, handed.submitted_at) == (b"{}", "1970-01-02T00:00:00+00:00")


def test_what_is_no_regular_file_of_bearable_size_is_refused(tmp_path, monkeypatch):
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
        status = look(descriptor)
        if moment := next(changes, None):
            os.utime(path, (0, moment))
        return status

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


def test_lateness_is_counted_across_time_zones():
    due = parse_due("2030-01-31T23:59+01:00")
    assert due == datetime(2030, 1, 31, 22, 59, tzinfo=UTC)
    assert seconds_late("2030-01-31T23:59:00+00:00", due) == 3600
    assert seconds_late("2030-01-31T22:00:00+00:00", due) == seconds_late("", due) == 0
