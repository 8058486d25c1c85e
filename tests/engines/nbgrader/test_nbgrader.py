"""nbgrader takes the same sources, and makes the same student versions."""

import json
import os
import subprocess
import sys

import nbformat

from mlops_helpers.teach import labs
from tests.support.engines import PROJECT

NBGRADER = PROJECT / "build" / "nbgrader" / "bin" / "python"


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


def test_nbgrader_finds_solutions_valid_and_stubs_not():
    lab = labs.load("release-problems")
    code = (
        "import json, sys; from nbgrader.validator import Validator\n"
        "print(json.dumps([Validator().validate(path) for path in sys.argv[1:]]))"
    )
    done = subprocess.run(
        [NBGRADER, "-c", code, lab.source, lab.student],
        env=os.environ | {"JUPYTER_PATH": f"{sys.prefix}/share/jupyter"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    solved, stubs = json.loads(done.stdout.splitlines()[-1])
    assert solved == {}
    assert len(stubs["failed"]) == len(labs.questions(lab))
