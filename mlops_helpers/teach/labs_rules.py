"""What a lab must keep to before it is handed out, as named rules. Each yields (cell or None, what to do)."""

import ast
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

from mlops_helpers.errors import NotebookError, StructureError
from mlops_helpers.teach import documents, labs, labs_answers, labs_regions
from mlops_helpers.teach import rules_anatomy as anatomy
from mlops_helpers.teach import rules_content as content
from mlops_helpers.teach.documents import Cell
from mlops_helpers.teach.labs import Lab
from mlops_helpers.teach.structure import Breach

__all__ = ["RULES", "Check", "breaches", "checks"]

POINTS = 100  # a lab's
ENOUGH = {"wrong": 8, "right": 2}  # answers a question
MINUTES = range(60, 121)
_WORTH = ("question", "points")  # the arguments of ``worth`` that decide
SAYS_MUCH = 24  # characters: a shorter line of a solution, such as "return total", stands elsewhere by chance

Finding = tuple[Cell | None, str]


@dataclass(frozen=True)
class Check:
    """A test function of ``checks.py`` that is worth points."""

    name: str
    question: str
    points: float


def breaches(lab: Lab) -> list[Breach]:
    """Return every breach of every rule; those that cannot be looked at after another breach are not."""
    found: list[Breach] = []
    for name, rule in RULES.items():
        try:
            found += [Breach(lab.source, cell, name, remedy) for cell, remedy in rule(lab)]
        except NotebookError as error:  # what one rule refuses, the others need
            return [*found, Breach(lab.source, None, name, str(error))]
    return found


def checks(lab: Lab) -> list[Check]:
    """Return the checks that ``checks.py`` declares, in order, without executing it.

    Raises ``StructureError`` when it cannot be parsed, or a test function lacks ``@worth("question", points, ...)``
    with literals.
    """
    try:
        tree = ast.parse(lab.checks.read_text("utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        raise StructureError(f"{lab.checks}: cannot be read as Python: {error}") from error
    tests = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    return [Check(node.name, *_worth(node)) for node in tests]


def _worth(node: ast.FunctionDef) -> tuple[str, float]:
    for call in node.decorator_list:
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "worth":
            given = dict(zip(_WORTH, call.args, strict=False))
            given |= {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
            match [value.value if isinstance(value := given.get(name), ast.Constant) else None for name in _WORTH]:
                case [str(question), int() | float() as points]:
                    return question, points
    raise StructureError(f'checks.py: {node.name} says not what it is worth; accepted: @worth("question", 10, "hint")')


def form(lab: Lab) -> Iterator[Finding]:
    """The source is a plain Python notebook in format 4.5 without outputs; text stands before code."""
    document = documents.read(lab.source)
    rules = (anatomy.valid_format, anatomy.python_kernel, content.plain_python, content.no_star_imports)
    yield from chain.from_iterable(rule(document) for rule in (*rules, content.no_sys_path, content.no_machine_paths))
    judging = labs.marked(document, "grade")
    yield from ((cell, what) for cell, what in anatomy.markdown_first(document) if cell and cell.index not in judging)
    for cell in document.code:
        if cell.outputs or cell.execution_count is not None:
            yield cell, "clear its output and its count: outputs may show solutions"


def about(lab: Lab) -> Iterator[Finding]:
    """The metadata names the lab as its folder does, its minutes and the difficulty of each question."""
    if lab.name != lab.folder.name:
        yield None, f"name the lab {lab.folder.name}, as its folder, not {lab.name}, in metadata.opslab"
    if lab.minutes not in MINUTES:
        yield None, f"plan {MINUTES[0]} to {MINUTES[-1]} minutes, not {lab.minutes}"
    if set(lab.difficulty) != (asked := set(labs.questions(lab))):
        yield None, f"state the difficulty of exactly the questions {sorted(asked)}, not of {sorted(lab.difficulty)}"


def ids(lab: Lab) -> Iterator[Finding]:
    """Each cell of nbgrader's has its whole metadata in schema 3 and a grade_id of its own; checks are locked."""
    document, seen = documents.read(lab.source), set()
    for cell, raw in zip(document.cells, document.content["cells"], strict=True):
        given = raw["metadata"].get("nbgrader")
        if given is None:
            continue
        flags = [given.get(flag) for flag in ("grade", "solution", "locked", "task")]
        if given.get("schema_version") != 3 or not all(isinstance(flag, bool) for flag in flags):
            yield cell, "give nbgrader's metadata: schema_version 3, grade, solution, locked and task true or false"
        if not re.fullmatch(r"[A-Za-z0-9_-]+", str(given.get("grade_id", ""))):
            yield cell, f"give a grade_id of letters, digits, _ and -, not {given.get('grade_id')!r}"
        elif given["grade_id"] in seen:
            yield cell, f"give a grade_id of its own: {given['grade_id']} is another cell's"
        seen.add(given.get("grade_id"))
        if given.get("grade") and (given.get("solution") or not given.get("locked")):
            yield cell, "make it a locked check (grade and locked true, solution false): answers are judged by checks"
        if given.get("grade") and not isinstance(given.get("points"), int | float):
            yield cell, f"give the check its points, a number, not {given.get('points')!r}"


def markers(lab: Lab) -> Iterator[Finding]:
    """Solutions and hidden tests lie between balanced markers, one solution a question."""
    labs.build(lab)
    for question, source in labs.questions(lab).items():
        if (found := len(labs_regions.find(source))) != 1:
            yield None, f"mark one solution in {question}, not {found}: an answer takes the place of one region"


def points(lab: Lab) -> Iterator[Finding]:
    """Each question has two checks or more, and check cells of as many points; a lab has 100 points."""
    document, asked = documents.read(lab.source), labs.questions(lab)
    declared: dict[str, list[float]] = defaultdict(list)
    for check in checks(lab):
        declared[check.question].append(check.points)
        if check.question not in asked:
            yield None, f"ask {check.question!r}, which {check.name} judges, or let it judge one of {sorted(asked)}"
    shown: dict[str, float] = defaultdict(float)
    solutions = labs.marked(document, "solution")
    for index, given in labs.marked(document, "grade").items():
        above = [place for place in solutions if place < index]
        shown[solutions[above[-1]]["grade_id"] if above else ""] += given.get("points") or 0
    for question in asked:
        if len(declared[question]) < 2:
            yield None, f"judge {question} by two checks or more (checks.py has {len(declared[question])})"
        if shown[question] != sum(declared[question]):
            yield (
                None,
                f"give {question} as many points in check cells ({shown[question]:g}) as in checks.py "
                + (f"({sum(declared[question]):g})"),
            )
    if (total := sum(chain.from_iterable(declared.values()))) != POINTS:
        yield None, f"share {POINTS} points out among the checks, not {total:g}"


def leaks(lab: Lab) -> Iterator[Finding]:
    """No line of a solution or a hidden test, and no name of a check, stands in the student version."""
    kept = labs.build(lab)["cells"]
    secret = {check.name for check in checks(lab)}
    for cell in documents.read(lab.source).cells:
        for kind in (labs_regions.SOLUTION, labs_regions.HIDDEN):
            lines = [
                line.strip() for region in labs_regions.find(cell.source, kind) for line in region.text.split("\n")
            ]
            secret |= {line for line in lines if len(line) >= SAYS_MUCH}
    for cell, raw in zip(documents.read(lab.source).cells, kept, strict=True):
        for line in sorted(secret):
            if line in raw["source"] or line in str(raw["metadata"]):
                yield cell, f"say it otherwise, as students see this cell: {line}"


def answers(lab: Lab) -> Iterator[Finding]:
    """Each question has 8 wrong answers and 2 other right ones at least, no two alike."""
    asked = labs.questions(lab)
    for kind, enough in ENOUGH.items():
        given = labs_answers.answers(lab, kind)
        for question in sorted(set(given) - set(asked)):
            yield None, f"ask {question!r}, or remove answers/{kind}/{question}"
        for question in asked:
            texts: dict[str, str] = {}
            for name, text in given.get(question, {}).items():
                if (twin := texts.setdefault(text.strip(), name)) != name:
                    yield None, f"make {name} in answers/{kind}/{question} another answer than {twin}"
            if len(texts) < enough:
                yield None, f"write {enough} or more answers in answers/{kind}/{question} (found {len(texts)})"


def student(lab: Lab) -> Iterator[Finding]:
    """The student version is what build makes of the source."""
    import nbformat

    built = nbformat.writes(labs.build(lab), version=nbformat.NO_CONVERT).rstrip("\n") + "\n"
    if not lab.student.is_file() or lab.student.read_text("utf-8") != built:
        named = lab.folder if lab.student.parent == lab.folder else lab.name
        yield None, f"make {lab.student} anew. Next: opslab labs build {named}"


RULES: dict[str, Callable[[Lab], Iterator[Finding]]] = {
    rule.__name__: rule for rule in (form, about, ids, markers, points, leaks, answers, student)
}
