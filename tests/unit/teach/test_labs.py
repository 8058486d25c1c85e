"""Labs: one source, its student version, and the rules that keep both honest."""

import contextlib
import json

import pytest

from mlops_helpers import cli
from mlops_helpers.errors import StructureError
from mlops_helpers.teach import documents, labs, labs_answers, labs_regions, labs_rules
from tests.support import tiny_notebooks

HEAD = 'def double(n):\n    """Return it twice."""\n    '
SOLVED = HEAD + "### BEGIN SOLUTION\n    return n + n + nothing_added\n    ### END SOLUTION"
STUBBED = HEAD + "# YOUR CODE HERE\n    raise NotImplementedError()"
HIDDEN = "### BEGIN HIDDEN TESTS\nassert double(-1.5) == -3, 'hidden'\n### END HIDDEN TESTS\n"
VISIBLE = f"assert double(2) == 4, 'twice'\n{HIDDEN}x = 1"
CHECKS = """from mlops_helpers.teach.grading_checks import worth


@worth("double", 60, "Add it to itself.")
def test_double(student, rng):
    assert student.call("double", 3) == 6


@worth(points=40, question="double")
def test_double_of_text(student):
    assert student.call("double", "ab") == "abab"
"""


def cell(kind, name, source, **nbgrader):
    raw = {"cell_type": kind, "id": name, "metadata": {}, "source": source}
    if nbgrader:
        flags = {"grade": False, "solution": False, "locked": False, "task": False}
        raw["metadata"]["nbgrader"] = {"schema_version": 3, "grade_id": name} | flags | nbgrader
    return raw if kind == "markdown" else raw | {"outputs": [], "execution_count": None}


@pytest.fixture
def lab(tmp_path):
    """A lab that breaks no rule."""
    folder = tmp_path / "twice"
    cells = [
        cell("markdown", "title", "# Lab: add up"),
        cell("code", "given", "nothing_added = 0", locked=True),
        cell("markdown", "ask", "Write `double`."),
        cell("code", "double", SOLVED, solution=True),
        cell("code", "check-double", VISIBLE, grade=True, locked=True, points=100),
    ]
    about = {"lab": "twice", "minutes": 60, "difficulty": {"double": "basic"}}
    metadata = {"kernelspec": tiny_notebooks.KERNELSPEC, "opslab": about}
    documents.write(folder / "lab.ipynb", tiny_notebooks.notebook(*cells, metadata=metadata))
    (folder / "checks.py").write_text(CHECKS)
    for kind, count in labs_rules.ENOUGH.items():
        (folder / "answers" / kind / "double").mkdir(parents=True)
        for number in range(count):
            (folder / "answers" / kind / "double" / f"{number}.py").write_text(f"return n * 2 + {number}\n")
    assert cli.main(["labs", "build", str(folder)]) == 0
    return labs.load(folder)


def change(lab, edit, build=True):
    """Edit the source's JSON, and build the student version where that is possible and asked for."""
    content = json.loads(lab.source.read_text())
    for raw in content["cells"]:
        raw["source"] = "".join(raw["source"])
    edit(content, {raw["id"]: raw for raw in content["cells"]})
    lab.source.write_text(json.dumps(content))
    with contextlib.suppress(StructureError):
        changed = labs.load(lab.folder)
        if build:
            documents.write(changed.student, labs.build(changed))


def broken(lab):
    return {breach.rule for breach in labs_rules.breaches(labs.load(lab.folder))}


def test_a_good_lab_breaks_no_rule(lab, capsys):
    assert labs_rules.breaches(lab) == []
    assert cli.main(["labs", "check", str(lab.folder)]) == 0
    assert "1 labs checked, 0 breaches" in capsys.readouterr().out


def test_the_student_version_has_stubs_and_nothing_hidden(lab):
    content = json.loads(lab.source.read_text())
    content["cells"][1] |= {"outputs": [{"output_type": "stream", "name": "stdout", "text": "6"}], "execution_count": 3}
    lab.source.write_text(json.dumps(content))
    built = {one["id"]: one for one in labs.build(lab)["cells"]}
    assert built["double"]["source"] == STUBBED
    assert built["check-double"]["source"] == "assert double(2) == 4, 'twice'\nx = 1"
    assert (built["given"]["outputs"], built["given"]["execution_count"]) == ([], None)
    locks = {name: (one["metadata"].get("deletable"), one["metadata"].get("editable")) for name, one in built.items()}
    assert locks == {"title": (None, None), "ask": (None, None), "double": (False, None)} | dict.fromkeys(
        ("given", "check-double"), (False, False)
    )
    assert labs.questions(lab) == {"double": SOLVED}


def set_source(name, text):
    return lambda content, cells: cells[name].update(source=text)


def set_about(name, **nbgrader):
    return lambda content, cells: cells[name]["metadata"]["nbgrader"].update(nbgrader)


@pytest.mark.parametrize(
    ("rule", "edit"),
    [
        ("form", lambda content, cells: cells["given"].update(execution_count=1)),
        ("form", set_source("given", "!ls\nnothing_added = 0")),
        ("form", lambda content, cells: content["cells"].pop(2)),
        ("about", lambda content, cells: content["metadata"]["opslab"].update(lab="thrice")),
        ("about", lambda content, cells: content["metadata"]["opslab"].update(minutes=5)),
        ("about", lambda content, cells: content["metadata"]["opslab"].update(difficulty={"triple": "basic"})),
        ("ids", set_about("given", schema_version=2)),
        ("ids", set_about("given", grade_id="")),
        ("ids", set_about("given", grade_id="double")),
        ("ids", lambda content, cells: cells["given"]["metadata"]["nbgrader"].pop("grade_id")),
        ("ids", lambda content, cells: cells["given"]["metadata"]["nbgrader"].pop("task")),
        ("ids", set_about("check-double", locked=False)),
        ("ids", set_about("check-double", points=None)),
        ("markers", set_source("double", SOLVED.replace("### END SOLUTION", ""))),
        ("markers", set_source("double", SOLVED.replace("### BEGIN SOLUTION", ""))),
        ("markers", set_source("double", SOLVED.replace("    return", "    ### BEGIN SOLUTION\n    return"))),
        ("markers", set_source("double", "def double(n):\n    return n * 2")),
        ("markers", set_source("double", f"{SOLVED}\n{SOLVED}")),
        ("markers", set_source("given", f"nothing_added = 0\n{SOLVED}")),
        ("markers", set_source("check-double", VISIBLE.replace("### END HIDDEN TESTS", ""))),
        ("markers", set_source("given", "nothing_added = 0\n### BEGIN HIDDEN TESTS\n### END HIDDEN TESTS")),
        ("points", set_about("check-double", points=50)),
        ("leaks", set_source("ask", "Write `return n + n + nothing_added`.")),
        ("leaks", set_source("given", "nothing_added = 0  # assert double(-1.5) == -3, 'hidden'")),
        ("leaks", set_source("ask", "It is judged by test_double_of_text.")),
        ("leaks", lambda content, cells: cells["ask"]["metadata"].update(note="return n + n + nothing_added")),
    ],
)
def test_each_rule_sees_its_breach(lab, rule, edit):
    change(lab, edit)
    assert rule in broken(lab)
    assert cli.main(["labs", "check", str(lab.folder)]) == 1


@pytest.mark.parametrize(
    ("rule", "old", "new"),
    [
        ("points", '"double", 60', '"double", 70'),
        ("points", '"double", 60', '"triple", 60'),
        ("points", '@worth(points=40, question="double")\n', ""),
        ("points", '"double", 60', '"double", 30 + 30'),
        ("points", "def test_double(", "def test_double("),
        ("points", "import worth", "import"),
    ],
)
def test_checks_that_do_not_fit_are_seen(lab, rule, old, new):
    text = CHECKS.replace(old, new) if old != new else CHECKS.split("\n\n\n@worth(question")[0].replace("60", "100")
    lab.checks.write_text(text)
    assert rule in broken(lab)


def test_answers_are_counted_and_are_not_copies(lab):
    first, second = (lab.folder / "answers" / "right" / "double" / f"{number}.py" for number in (0, 1))
    first.unlink()
    assert broken(lab) == {"answers"}
    first.write_text(second.read_text())
    assert broken(lab) == {"answers"}
    first.write_text("return 2 * n")
    assert broken(lab) == set()
    (lab.folder / "answers" / "wrong" / "triple").mkdir()
    assert broken(lab) == {"answers"}


def test_wrong_answers_may_be_edits_of_the_solution(lab):
    path = lab.folder / "answers" / "wrong" / "double.yaml"
    path.write_text("minus:\n- {old: return n + n + nothing_added, new: return n - n}\nwhole: return 4\n")
    texts = labs_answers.answers(lab, "wrong")["double"]
    assert (texts["minus"], texts["whole"]) == ("return n - n", "return 4")
    assert broken(lab) == set()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("- 1", "is list; accepted: names"),
        ("minus: 3", "3; accepted: old and new"),
        ("minus: [{old: return 1}]", "accepted: old and new"),
        ("minus: [{old: return 1, new: return 2}]", "these lines 0 times, not once: return 1"),
    ],
)
def test_edits_that_change_nothing_are_refused(lab, content, reason):
    (lab.folder / "answers" / "wrong" / "double.yaml").write_text(content)
    with pytest.raises(StructureError, match=reason):
        labs_answers.answers(lab, "wrong")


# the student version


def test_building_again_gives_the_same_bytes(lab):
    before = lab.student.read_bytes()
    assert cli.main(["labs", "build", str(lab.folder)]) == 0
    assert lab.student.read_bytes() == before


def answer(content):
    (cell,) = [cell for cell in content["cells"] if "NotImplementedError" in "".join(cell["source"])]
    cell["source"] = "def double(n):\n    return n + n"


def draw(content):
    content["cells"][0]["attachments"] = {"sketch.png": {"image/png": "iVBORw0KGgo="}}


def run_a_cell(content):
    content["cells"][1]["outputs"] = [tiny_notebooks.printed("my result")]


def forget_the_hash(content):
    del content["metadata"]["opslab"]["built"]


@pytest.mark.parametrize(
    "work", [answer, draw, run_a_cell, forget_the_hash, lambda content: content["cells"].append(content["cells"][0])]
)
def test_a_students_work_is_never_overwritten(lab, capsys, work):
    content = json.loads(lab.student.read_text())
    work(content)
    lab.student.write_text(json.dumps(content))
    before = lab.student.read_bytes()
    change(lab, set_source("ask", "Write `double` once more."), build=False)
    assert cli.main(["labs", "build", str(lab.folder)]) == 2
    refusal = capsys.readouterr().err
    assert str(lab.student) in refusal
    assert "Next: move each away, such as: mv " in refusal
    assert lab.student.read_bytes() == before


@pytest.mark.parametrize("content", ["", "my notes", "[]", '{"nbformat": 4, "cells": []}'])
def test_a_file_that_no_build_wrote_is_never_overwritten(lab, content):
    lab.student.write_text(content)
    assert cli.main(["labs", "build", str(lab.folder)]) == 2
    assert lab.student.read_text() == content


def test_an_untouched_student_version_is_made_anew(lab):
    content = json.loads(lab.student.read_text())
    content["metadata"]["language_info"] = {"name": "python"}  # Jupyter adds it
    for cell in content["cells"]:
        cell["source"] = "".join(cell["source"])
    lab.student.write_text(json.dumps(content))
    change(lab, set_source("ask", "Write `double` once more."), build=False)
    assert cli.main(["labs", "build", str(lab.folder)]) == 0
    assert "once more" in lab.student.read_text()


def test_the_labs_of_the_project_are_built_where_students_work():
    lab = labs.load("quality")
    assert lab.student == labs.CHECKOUT / "notebooks" / "labs" / "quality.ipynb"
    assert labs.is_untouched(lab.student)


def test_a_student_version_that_is_not_the_built_one_is_seen(lab, capsys):
    lab.student.write_text(lab.student.read_text().replace("YOUR CODE HERE", "Your code here"))
    assert broken(lab) == {"student"}
    assert cli.main(["labs", "check", str(lab.folder)]) == 1
    assert f"Next: opslab labs build {lab.folder}" in capsys.readouterr().out
    lab.student.unlink()
    assert broken(lab) == {"student"}


def test_what_is_no_lab_is_refused(lab, capsys):
    assert cli.main(["labs", "build", "nonsense"]) == 2
    change(lab, lambda content, cells: content["metadata"].pop("opslab"))
    with pytest.raises(StructureError, match=r"metadata\.opslab is None; accepted"):
        labs.load(lab.folder)
    assert cli.main(["labs", "check", str(lab.folder)]) == 1
    assert "readable" in capsys.readouterr().out


def test_an_answer_takes_the_place_of_the_region_as_deep_as_it_stood():
    space = {}
    exec(labs_regions.replace(SOLVED, "if n:\n    return 2 * n\nreturn 0"), space)
    assert (space["double"](4), space["double"](0)) == (8, 0)
    assert labs_regions.replace(SOLVED, "    return 2 * n") == labs_regions.replace(SOLVED, "return 2 * n")


@pytest.mark.parametrize("name", labs.names())
def test_the_labs_of_the_project_keep_the_rules(name):
    assert [str(breach) for breach in labs_rules.breaches(labs.load(name))] == []


def test_they_are_listed_and_their_rules_are_published(capsys):
    assert cli.main(["labs", "list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in labs.names())
    assert cli.main(["labs", "check", "--rules"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(labs_rules.RULES)
