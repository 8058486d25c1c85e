"""The answers that labs come with, judged by the real grader: wrong ones are rejected, right ones accepted.

On a change some of each lab's are judged, chosen by the seed; the night's ten seeds judge all of them. What is judged
by a whole drill, which takes half a minute, is left to the last of these.
"""

import ast
from itertools import zip_longest

import pytest

from mlops_helpers.teach import documents, labs, labs_answers
from mlops_helpers.teach.grading import Grader

pytestmark = pytest.mark.timeout(300)  # a drill waits for others of this machine

SEEDS = 10  # of a night
DRILLED = {"incident": "respond"}  # by lab, the question whose answers a drill judges
LABS = [pytest.param(name, marks=pytest.mark.xdist_group(f"lab-{name}")) for name in labs.names()]


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


def rounds(lab, answers):
    """Yield which answers to put in place of which questions; of independent questions one answer each at a time."""
    if independent(lab):
        for row in zip_longest(*answers.values()):
            yield {question: name for question, name in zip(answers, row, strict=True) if name}
    else:
        for question, texts in answers.items():
            yield from ({question: name} for name in texts)


def verdicts(opened, kind, seed):
    """Yield (an answer's name, points, possible points, checks that are at fault) of this seed's share of answers."""
    lab, grader = opened
    answers = {question: texts for question, texts in labs_answers.answers(lab, kind).items() if texts}
    drilled = DRILLED.get(lab.name, "")
    rows = list(rounds(lab, {question: texts for question, texts in answers.items() if question != drilled}))
    parts = min(SEEDS, len(rows))
    rows = rows[seed % parts :: parts]
    if drilled and seed == SEEDS - 1:
        rows += [{drilled: name} for name in answers[drilled]]
    for row in rows:
        texts = {question: answers[question][name] for question, name in row.items()}
        result = grader.grade(lab.source, replaced=texts, only=tuple(row))
        assert result.state == "graded", result.reason
        for question, name in row.items():
            checks = [check for check in result.checks if check.question == question]
            faults = [check.message for check in checks if check.status == "error"]
            earned, possible = sum(check.earned for check in checks), sum(check.points for check in checks)
            yield f"{question}, {name}", earned, possible, faults


def test_solutions_earn_everything_and_stubs_nothing(opened, seed, tmp_path):
    lab, grader = opened
    documents.write(tmp_path / "student.ipynb", labs.build(lab))
    drilled = "" if seed == SEEDS - 1 else DRILLED.get(lab.name, "")
    solved = grader.grade(lab.source, only=[question for question in labs.questions(lab) if question != drilled])
    empty = grader.grade(tmp_path / "student.ipynb")
    assert [check for check in solved.checks if check.status != "passed"] == []
    assert solved.earned == solved.points
    assert solved.points == 100 or drilled
    assert (empty.state, empty.earned) == ("graded", 0), [check for check in empty.checks if check.earned]
    assert not [check for check in empty.checks if check.status == "error"]
    assert all(check.message and check.hint for check in empty.checks if check.status == "failed")


def test_other_right_answers_are_accepted(opened, seed):
    judged = list(verdicts(opened, "right", seed))
    assert judged
    assert [verdict for verdict in judged if verdict[1] != verdict[2] or verdict[3]] == []


def test_wrong_answers_are_rejected(opened, seed):
    judged = list(verdicts(opened, "wrong", seed))
    assert judged
    assert [verdict for verdict in judged if verdict[1] >= verdict[2] or verdict[3]] == []
