"""The answers that labs come with, judged by the real grader: wrong ones are rejected, right ones accepted.

Of the wrong ones a third, another one each day; ``make bench NAME=grading`` judges all.
"""

import ast
from datetime import date
from itertools import zip_longest

import pytest

from mlops_helpers.errors import CellError
from mlops_helpers.teach import documents, labs, labs_answers, notebooks
from mlops_helpers.teach.grading import Grader

pytestmark = [pytest.mark.engine("bwrap"), pytest.mark.timeout(300)]  # a drill waits for others of this machine


LABS = [pytest.param(name, marks=[pytest.mark.drill] * (name == "incident")) for name in labs.names()]  # has a drill


@pytest.fixture(scope="module", params=LABS)
def opened(request):
    lab = labs.load(request.param)
    with Grader(lab, seed=8) as grader:  # the same draws for all: what one answer has shown in a drill serves the next
        yield lab, grader


def independent(lab):
    """Say whether no question's answer uses what another question defines."""
    trees = {question: ast.parse(source) for question, source in labs.questions(lab).items()}
    used = {question: {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} for question, tree in trees.items()}
    defined = {question: {getattr(n, "name", "") for n in tree.body} for question, tree in trees.items()}
    return not any(defined[one] & used[other] for one in trees for other in trees if one != other)


def rounds(lab, kind):
    """Yield what to put in place of which question; of independent questions one answer each at a time."""
    answers = {question: given for question, given in labs_answers.answers(lab, kind).items() if given}
    if independent(lab):
        for row in zip_longest(*answers.values()):
            yield {question: name for question, name in zip(answers, row, strict=True) if name}
    else:
        for question, given in answers.items():
            yield from ({question: name} for name in given)


def judged(opened, kind, parts=1):
    """Yield, of one of so many parts, (an answer's name, points, possible points, checks that are at fault)."""
    lab, grader = opened
    given = labs_answers.answers(lab, kind)
    for row in list(rounds(lab, kind))[date.today().toordinal() % parts :: parts]:
        texts = {question: given[question][name] for question, name in row.items()}
        result = grader.grade(lab.source, replaced=texts, only=tuple(row))
        assert result.state == "graded", result.reason
        for question, name in row.items():
            mine = [check for check in result.checks if check.question == question]
            faults = [check.message for check in mine if check.status == "error"]
            earned, possible = sum(check.earned for check in mine), sum(check.points for check in mine)
            yield f"{question}, {name}", earned, possible, faults


def test_solutions_earn_everything_and_stubs_nothing(opened):
    lab, grader = opened
    solved, empty = (grader.grade(path) for path in (lab.source, lab.student))
    assert [check for check in solved.checks if check.status != "passed"] == []
    assert solved.earned == solved.points == 100
    assert (empty.state, empty.earned) == ("graded", 0), [check for check in empty.checks if check.earned]
    assert not [check for check in empty.checks if check.status == "error"]
    assert all(check.message and check.hint for check in empty.checks if check.status == "failed")


def test_other_right_answers_are_accepted(opened):
    found = list(judged(opened, "right"))
    assert found
    assert [one for one in found if one[1] != one[2] or one[3]] == []


def test_wrong_answers_are_rejected(opened):
    found = list(judged(opened, "mutants", parts=3))
    assert found
    assert [one for one in found if one[1] >= one[2] or one[3]] == []


def test_student_versions_run_up_to_their_first_stub(tmp_path):
    students = [labs.load(name).student for name in labs.names()]
    report = notebooks.run(students, out=tmp_path / "out", compare=False)
    for result in report.results:
        first, second = list(labs.marked(documents.read(result.path), "solution"))[:2]
        assert isinstance(result.error, CellError), f"{result.path} is solved"
        assert "NotImplementedError" in result.error.traceback, result.explain()
        assert first <= result.error.cell < second, result.explain()
