"""Reports of a class whose names and messages are the work of somebody hostile."""

import csv
import json
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

from mlops_helpers.errors import WorkspaceError
from mlops_helpers.teach.grading_class import ClassReport, Marked
from mlops_helpers.teach.grading_feedback import LONGEST_TEXT, feedback_page
from mlops_helpers.teach.grading_reports import write_reports
from mlops_helpers.teach.grading_results import CheckResult, Finding, SubmissionResult
from mlops_helpers.teach.grading_submissions import file_name
from mlops_helpers.teach.grading_worker import not_graded
from mlops_helpers.teach.labs import Lab

HOSTILE = [
    "<script>alert(1)</script>",
    "</title></p><img src=x onerror=alert(1)>",
    '"><a href="javascript:alert(1)">x</a>',
    "{{ 7 * 7 }}{% raw %}",
    "]]></failure><testcase name='free'/>",
    "\x00\x08\x1b[31m\x7f\ufffe\ud800",
    "=HYPERLINK(1)",
    "-2+3",
    "a,b\n\"c\";'d'",
    "x" * 100_000,
]


def graded(student, *, message="", earned=0.0, status="failed", text="", penalty=0.0, **more):
    checks = (
        CheckResult("test_recall_is_of_spam", "recall", 2.0, earned, status, message, "Which of all spam was found?"),
        CheckResult("test_precision", "precision", 1.5, 1.5, "passed", "all right"),
    )
    findings = (Finding("cell-raised", "recall", text),) if text else ()
    return Marked(SubmissionResult(student, "a-lab", "graded", "", checks, findings, 1.25, **more), penalty)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def write(tmp_path, out):
    """Write the reports of these students."""

    def call(*students):
        lab = Lab("a-lab", tmp_path, tmp_path / "student.ipynb", "A lab <1>", 60, {})
        report = ClassReport(lab, students, 0, (), 1.0)
        write_reports(report, out)
        return out

    return call


def rows(out):
    with (out / "gradebook.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_gradebook_has_a_row_a_student_and_a_column_a_question(write):
    late = graded("student-02", earned=2.0, status="passed", penalty=0.35, late_seconds=5400.0)
    missing = Marked(SubmissionResult("student-03", "a-lab", "missing", "nothing was handed in", (), (), 0.0), 0.0)
    broken = Marked(not_graded("student-04", "a-lab", "the grader itself failed"), 0.0)
    found = rows(write(graded("student-01", status="error"), late, missing, broken))
    assert [list(row.values()) for row in found] == [
        ["student-01", "graded", "0.0", "1.5", "1.5", "0.0", "0.0", "1.5", "3.5", "yes", ""],
        ["student-02", "graded", "2.0", "1.5", "3.5", "1.5", "0.35", "3.15", "3.5", "", ""],
        ["student-03", "missing", "", "", "0", "0.0", "0.0", "0.0", "3.5", "", "nothing was handed in"],
        ["student-04", "refused", "", "", "0", "0.0", "0.0", "0.0", "3.5", "yes", "the grader itself failed"],
    ]
    about = ["earned", "late_hours", "penalty", "total", "possible", "checks_at_fault", "why"]
    assert list(found[0]) == ["student", "state", "recall", "precision", *about]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", " =", "\t=", "＝"])
def test_no_cell_of_the_gradebook_is_a_formula(write, start):
    reason = Marked(not_graded(f"{start}cmd()", "a-lab", f"{start}1"), 0.0)
    (row,) = rows(write(reason))
    assert (row["student"], row["why"]) == (f"'{start}cmd()", f"'{start}1")


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_break_no_report(write, text):
    name = text[:300]
    out = write(graded(name, message=text, text=text), Marked(not_graded(f"{name}2", text, text), 0.0))
    assert len(rows(out)) == 2
    suites = ET.parse(out / "junit.xml").getroot()
    assert [(suite.get("tests"), suite.get("failures"), suite.get("errors")) for suite in suites] == [
        ("2", "1", "0"),
        ("1", "0", "1"),
    ]
    results = json.loads((out / "gradescope" / f"{file_name(name)}.json").read_text("utf-8"))
    assert (results["score"], [test["score"] for test in results["tests"]]) == (1.5, [0.0, 1.5])
    assert sorted(path.stem for path in (out / "feedback").iterdir()) == sorted(
        [file_name(name), file_name(f"{name}2")]
    )


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.attributes = [], set()

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)
        self.attributes |= {name for name, _ in attrs}


def tags(one):
    parser = Tags()
    parser.feed(feedback_page(one, "A lab <1>"))
    return parser


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_adds_a_tag_or_an_attribute_to_the_page(text):
    clean, hostile = tags(graded("a", message="m", text="t")), tags(graded(text, message=text, text=text))
    assert (hostile.found, hostile.attributes) == (clean.found, clean.attributes)
    assert not {"script", "a", "img", "iframe"} & set(hostile.found)


def test_the_page_shows_what_is_needed_and_no_more():
    page = feedback_page(graded("student-01", message="recall is of spam", text="it raised", penalty=0.5), "A lab")
    for text in ("1 of 3.5 points", "0 / 2", "1.5 / 1.5", "recall is of spam", "Hint: Which of all spam", "it raised"):
        assert text in page
    assert "all right" not in page
    assert "prefers-color-scheme: dark" in page
    assert "http://" not in page.replace("http-equiv", "")
    assert "https://" not in page


def test_long_texts_are_cut():
    assert len(feedback_page(graded("a", message="x" * 10**6), "A lab")) < 10_000 + LONGEST_TEXT


def test_the_page_of_a_refused_submission_says_why():
    page = feedback_page(Marked(not_graded("student-01", "a-lab", "the file is empty", "refused"), 0.0), "A lab")
    assert "Not graded" in page
    assert page.count("the file is empty") == 1


def test_gradescope_gets_its_documented_keys_and_plain_text(write):
    late = graded("student-01", message="why", text="noticed", penalty=0.5, late_seconds=3600.0)
    found = json.loads((write(late) / "gradescope" / "student-01.json").read_text("utf-8"))
    first = found.pop("tests")[0]
    assert found == {
        "score": 1.0,
        "execution_time": 1.25,
        "output": "noticed\nLate by 1.0 hours: 0.5 points are taken.",
        "output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
    }
    assert first == {
        "name": "test_recall_is_of_spam",
        "name_format": "text",
        "number": "1",
        "score": 0.0,
        "max_score": 2.0,
        "status": "failed",
        "output": "why\nHint: Which of all spam was found?",
        "output_format": "text",
        "visibility": "visible",
        "tags": ["recall"],
    }


def test_the_message_of_a_check_at_fault_is_the_instructors_alone(write):
    out = write(graded("student-01", message="assert secret == 7", status="error"))
    for name in ("feedback/student-01.html", "gradescope/student-01.json"):
        text = (out / name).read_text("utf-8")
        assert "The check itself went wrong, not your work." in text
        assert "secret" not in text
    assert "assert secret == 7" in (out / "junit.xml").read_text("utf-8")


def test_junit_tells_failures_from_faults_of_checks(write):
    missing = Marked(SubmissionResult("c", "a-lab", "missing", "nothing was handed in", (), (), 0.0), 0.0)
    out = write(graded("a", message="why"), graded("b", status="error"), missing)
    suites = {suite.get("name"): suite for suite in ET.parse(out / "junit.xml").getroot()}
    counts = {
        name: [suite.get(key) for key in ("tests", "failures", "errors", "skipped")] for name, suite in suites.items()
    }
    assert counts == {"a": ["2", "1", "0", "0"], "b": ["2", "0", "1", "0"], "c": ["1", "0", "0", "1"]}
    assert suites["a"].find("testcase/failure").get("message") == "why"


def test_nothing_is_written_through_a_link(write, out, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (out / "feedback").mkdir(parents=True)
    (out / "gradebook.csv").symlink_to(precious)
    (out / "feedback" / "student-01.html").symlink_to(precious)
    write(graded("student-01"))
    assert precious.read_text() == "mine"
    assert not (out / "gradebook.csv").is_symlink()
    assert "<html" in (out / "feedback" / "student-01.html").read_text()


@pytest.mark.parametrize("name", ["feedback", "gradescope"])
def test_a_link_in_the_place_of_a_folder_is_refused(write, out, tmp_path, name):
    out.mkdir()
    (out / name).symlink_to(tmp_path)
    with pytest.raises(WorkspaceError, match=f"{name} is not a folder of its own"):
        write(graded("student-01"))
