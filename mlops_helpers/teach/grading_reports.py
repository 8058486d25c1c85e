"""What grading a class leaves for others: a gradebook, JUnit XML and Gradescope's results.

Names and messages may be the work of somebody hostile: no cell of the gradebook is a formula, no text breaks the XML,
and no key of any file is a student's.
"""

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from mlops_helpers.teach.grading_class import ClassReport, Marked
from mlops_helpers.teach.grading_feedback import AT_FAULT, feedback_page
from mlops_helpers.teach.grading_results import CheckResult
from mlops_helpers.teach.grading_store import at_fault, folder_in
from mlops_helpers.teach.grading_submissions import file_name
from mlops_helpers.workspace import atomic_file

__all__ = ["write_reports"]

#: What XML 1.0 cannot carry, even escaped.
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_reports(report: ClassReport, out: Path) -> list[Path]:
    """Write all reports below ``out``; return the files for the whole class.

    Each student has ``gradescope/NAME.json`` and ``feedback/NAME.html``. Files are replaced as a whole, never written
    through a link. Raises ``WorkspaceError`` when the folder cannot be written.
    """
    feedback, gradescope = folder_in(out, "feedback"), folder_in(out, "gradescope")
    for one in report.students:
        if one.result.state != "missing":
            name = file_name(one.result.student)
            _write(feedback / f"{name}.html", feedback_page(one, report.lab.title))
            _write(
                gradescope / f"{name}.json",
                json.dumps(_gradescope(one), indent=1, allow_nan=False, ensure_ascii=False) + "\n",
            )
    texts = {"gradebook.csv": _gradebook(report), "junit.xml": _junit(report)}
    for name, text in texts.items():
        _write(out / name, text)
    return [out / name for name in texts]


def _write(path: Path, text: str) -> None:
    with atomic_file(path) as stage:
        stage.write_text(text, encoding="utf-8", errors="replace", newline="")  # JSON can hold half a character


def _gradebook(report: ClassReport) -> str:
    """Return one row a student: points by question, in all, what being late took, the total, and the state."""
    questions = report.questions
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(
        [
            "student",
            "state",
            *questions,
            "earned",
            "late_hours",
            "penalty",
            "total",
            "possible",
            "checks_at_fault",
            "why",
        ]
    )
    for one in report.students:
        result = one.result
        points = [one.questions.get(question, 0.0) if result.checks else "" for question in questions]
        numbers = [
            result.earned,
            round(result.late_seconds / 3600, 2),
            round(one.penalty, 4),
            round(one.total, 4),
            sum(questions.values()),
        ]
        row = [result.student, result.state, *points, *numbers, "yes" if at_fault(result) else "", result.reason]
        writer.writerow([_no_formula(cell) for cell in row])
    return table.getvalue()


def _no_formula(cell: object) -> object:
    """Put an apostrophe before what a spreadsheet would compute (``=``, ``+``, ``-``, ``@``, and their like)."""
    return f"'{cell}" if isinstance(cell, str) and cell.lstrip()[:1] in tuple("=+-@＝＋－＠") else cell


def _junit(report: ClassReport) -> str:
    """Return a suite a student and a case a check; what is refused or missing is a case of its own."""
    suites = ET.Element("testsuites", name=_xml(report.lab.name))
    for one in report.students:
        result = one.result
        suite = ET.SubElement(suites, "testsuite", name=_xml(result.student), time=f"{result.seconds:.3f}")
        if result.state != "graded":
            kind = "skipped" if result.state == "missing" else "error" if at_fault(result) else "failure"
            case = ET.SubElement(suite, "testcase", classname=_xml(report.lab.name), name="submission")
            ET.SubElement(case, kind, message=_xml(result.reason))
        for check in result.checks:
            case = ET.SubElement(suite, "testcase", classname=_xml(check.question), name=_xml(check.name))
            kind = {"failed": "failure", "error": "error", "skipped": "skipped"}.get(check.status, "")
            if kind:
                ET.SubElement(case, kind, message=_xml(check.message)).text = _xml(check.hint)
        for count, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            suite.set(count, str(sum(1 for _ in suite.iter(tag))))
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _xml(text: str) -> str:
    return _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _gradescope(one: Marked) -> dict[str, Any]:
    """Return what Gradescope's autograder reads. All texts are plain text there, never HTML or Markdown."""
    result = one.result
    notes = [
        result.reason and f"The submission {result.reason}",
        *(finding.text for finding in result.findings if finding.text != result.reason),
    ]
    if one.penalty:
        notes.append(f"Late by {result.late_seconds / 3600:.1f} hours: {one.penalty:.4g} points are taken.")
    return {
        "score": round(one.total, 4),
        "execution_time": round(result.seconds, 3),
        "output": "\n".join(note for note in notes if note),
        "output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": [
            {
                "name": check.name,
                "name_format": "text",
                "number": str(number),
                "score": check.earned,
                "max_score": check.points,
                "status": "passed" if check.status == "passed" else "failed",
                "output": _told(check),
                "output_format": "text",
                "visibility": "visible",
                "tags": [check.question],
            }
            for number, check in enumerate(result.checks, 1)
        ],
    }


def _told(check: CheckResult) -> str:
    if check.status == "error":
        return AT_FAULT
    hint = f"Hint: {check.hint}" if check.hint and check.status == "failed" else ""
    return "\n".join(part for part in (check.message, hint) if part)
