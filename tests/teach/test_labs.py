"""Labs: one source, its student version, and the rules that keep both honest."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from mlops_helpers import cli
from mlops_helpers.errors import ParameterError, StructureError
from mlops_helpers.teach import documents, labs, labs_answers, labs_regions, labs_rules

NBGRADER = Path(__file__).parents[2] / "build" / "nbgrader" / "bin" / "python"
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
    kernelspec = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    about = {"lab": "twice", "minutes": 60, "difficulty": {"double": "basic"}}
    content = {"cells": cells, "metadata": {"kernelspec": kernelspec, "opslab": about}} | {
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    documents.write(folder / "lab.ipynb", content)
    (folder / "checks.py").write_text(CHECKS)
    for kind, count in labs_rules.ENOUGH.items():
        (folder / kind / "double").mkdir(parents=True)
        for number in range(count):
            (folder / kind / "double" / f"{number}.py").write_text(f"return n * 2 + {number}\n")
    assert cli.main(["labs", "build", str(folder)]) == 0
    return labs.load(folder)


def change(lab, edit):
    """Edit the source's JSON, and build the student version where that is possible."""
    content = json.loads(lab.source.read_text())
    for raw in content["cells"]:
        raw["source"] = "".join(raw["source"])
    edit(content, {raw["id"]: raw for raw in content["cells"]})
    lab.source.write_text(json.dumps(content))
    try:
        changed = labs.load(lab.folder)
        documents.write(changed.student, labs.build(changed))
    except StructureError:
        pass


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


def test_building_twice_gives_the_same_bytes(lab):
    before = lab.student.read_bytes()
    assert cli.main(["labs", "build", str(lab.folder)]) == 0
    assert lab.student.read_bytes() == before


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
    (lab.folder / "right" / "double" / "0.py").unlink()
    assert broken(lab) == {"answers"}
    (lab.folder / "right" / "double" / "0.py").write_text((lab.folder / "right" / "double" / "1.py").read_text())
    assert broken(lab) == {"answers"}
    (lab.folder / "right" / "double" / "0.py").write_text("return 2 * n")
    assert broken(lab) == set()
    (lab.folder / "mutants" / "triple").mkdir()
    assert broken(lab) == {"answers"}


def test_wrong_answers_may_be_edits_of_the_solution(lab):
    path = lab.folder / "mutants" / "double.yaml"
    path.write_text("minus:\n- {old: return n + n + nothing_added, new: return n - n}\nwhole: return 4\n")
    texts = labs_answers.answers(lab, "mutants")["double"]
    assert (texts["minus"], texts["whole"]) == ("return n - n", "return 4")
    assert broken(lab) == set()


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("- 1", "is list; accepted: names"),
        ("minus: 3", "3; accepted: old and new"),
        ("minus: [{old: return 1}]", "accepted: old and new"),
        ("minus: [{old: return 1, new: return 2}]", "these lines 0 times, not once: return 1"),
    ],
)
def test_edits_that_change_nothing_are_refused(lab, told, said):
    (lab.folder / "mutants" / "double.yaml").write_text(told)
    with pytest.raises(StructureError, match=said):
        labs_answers.answers(lab, "mutants")


def test_a_student_version_that_is_not_the_built_one_is_seen(lab, capsys):
    lab.student.write_text(lab.student.read_text().replace("YOUR CODE HERE", "Your code here"))
    assert broken(lab) == {"student"}
    assert cli.main(["labs", "check", str(lab.folder)]) == 1
    assert "Next: opslab labs build twice" in capsys.readouterr().out
    lab.student.unlink()
    assert broken(lab) == {"student"}


def test_what_is_no_lab_is_refused(lab, tmp_path, capsys):
    with pytest.raises(ParameterError, match=r"there is no lab 'nonsense'; labs: .*quality"):
        labs.load("nonsense")
    assert cli.main(["labs", "build", "nonsense"]) == 2
    change(lab, lambda content, cells: content["metadata"].pop("opslab"))
    with pytest.raises(StructureError, match=r"metadata\.opslab is None; accepted"):
        labs.load(lab.folder)
    assert cli.main(["labs", "check", str(lab.folder)]) == 1
    assert "readable" in capsys.readouterr().out


def test_an_answer_takes_the_place_of_the_region_as_deep_as_it_stood():
    given = labs_regions.replace(SOLVED, "if n:\n    return 2 * n\nreturn 0")
    space = {}
    exec(given, space)
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


@pytest.mark.engine("nbgrader")
def test_nbgrader_makes_the_same_student_versions(tmp_path):
    for name in labs.names():
        source = tmp_path / "source" / name / f"{name}.ipynb"
        source.parent.mkdir(parents=True)
        source.write_bytes(labs.load(name).source.read_bytes())
    code = (
        "import sys; from nbgrader.apps import NbGraderAPI; from traitlets.config import Config\n"
        "api = NbGraderAPI(config=Config({'CourseDirectory': {'root': '.'},\n"
        "    'GenerateAssignment': {'no_database': True}, 'SaveCells': {'enabled': False}}))\n"
        "made = {name: api.generate_assignment(name) for name in sys.argv[1:]}\n"
        "sys.exit('\\n'.join(one['log'] for one in made.values() if not one['success']) or 0)"
    )
    done = subprocess.run(
        [NBGRADER, "-c", code, *labs.names()], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    for name in labs.names():
        theirs = nbformat.read(tmp_path / "release" / name / f"{name}.ipynb", 4)
        assert [one.source for one in theirs.cells] == [one.source for one in labs.build(labs.load(name)).cells]


@pytest.mark.engine("nbgrader")
def test_nbgrader_finds_solutions_valid_and_stubs_not():
    lab = labs.load("release-problems")
    code = (
        "import json, sys; from nbgrader.validator import Validator\n"
        "print(json.dumps([Validator().validate(path) for path in sys.argv[1:]]))"
    )
    done = subprocess.run(
        [NBGRADER, "-c", code, lab.source, lab.student],
        env=os.environ | {"JUPYTER_PATH": str(Path(sys.prefix) / "share" / "jupyter")},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    solved, stubs = json.loads(done.stdout.splitlines()[-1])
    assert solved == {}
    assert len(stubs["failed"]) == len(labs.questions(lab))
