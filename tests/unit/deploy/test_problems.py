"""The ten release problems as data, and the two gates that only they need."""

import math

import pytest

from mlops_helpers.deploy import problems, release_source, stages
from mlops_helpers.deploy.gates import Job, Target
from mlops_helpers.deploy.gates_sources import dependencies, sources
from mlops_helpers.deploy.pipeline_store import tree_hash
from mlops_helpers.deploy.problems_harm import readers
from mlops_helpers.errors import GateRefused, ParameterError, PipelineError
from mlops_helpers.serve import sli

PROBLEMS = problems.load()
TITLES = """missing dependency, different library version, different local utility, database problem, operating-system
difference, too slow under real load, difficult to roll back, sources from many repositories, not enough memory,
config typo"""


@pytest.fixture
def source(tmp_path):
    return release_source.copy(tmp_path / "source")


def test_problems_are_those_of_the_lecture_in_its_order():
    assert [one.title for one in PROBLEMS.values()] == [" ".join(title.split()) for title in TITLES.split(",")]
    assert [one.number for one in PROBLEMS.values()] == list(range(1, 11))


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_problem_says_what_it_is_and_its_repair_gives_the_template_back(problem, source):
    whole = tree_hash(source)
    problem.break_source(source)
    assert tree_hash(source) != whole
    with pytest.raises(ParameterError, match="it was changed"):
        problem.break_source(source)
    problem.repair_source(source)
    assert tree_hash(source) == whole
    with pytest.raises(ParameterError, match="it was changed"):
        problem.repair_source(source)
    assert problem.stopped_by in {stage.name for stage in stages.load().stages}
    assert callable(getattr(sli, problem.hurts))
    assert problem.symptom and problem.repair


def test_readers_are_of_all_kinds():
    comments = [one.comment for one in readers(20, rate=40) if one.kind == "comment"]
    share = {
        "greek": sum("\u0370" <= max(one.text) <= "\u03ff" for one in comments) / len(comments),
        "long": sum(len(one.text) > 9000 for one in comments) / len(comments),
        "blocked": sum(one.campaign == "blocked" for one in comments) / len(comments),
    }
    assert all(
        math.isclose(share[name], wanted, abs_tol=0.02)
        for name, wanted in {"greek": 0.2, "long": 0.1, "blocked": 0.1}.items()
    ), share


def job(source, **needs):
    return Job(source, source, source, needs, {}, {}, Target(), print, print)


def test_data_of_the_revision_that_release_toml_names_pass(source):
    assert sources(job(source)) == {"data": "simulated"}


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ('revision = "8"\nnote = "other labels"\n', r"revision '8' \(other labels\).*written for 'simulated'"),
        ("", "None"),
    ],
)
def test_data_of_another_revision_are_refused(source, about, message):
    (source / "data").mkdir()
    (source / "data" / "revision.toml").write_text(about)
    training = source / "training.toml"
    training.write_text(training.read_text().replace('"simulated"', '"data/comments.csv"'))
    with pytest.raises(GateRefused, match=message):
        sources(job(source))


def test_release_that_names_no_revision_is_no_source(source):
    (source / "release.toml").write_text('change = "feature"\n')
    with pytest.raises(PipelineError, match=r"release.toml has no table \[revisions\]"):
        sources(job(source))


@pytest.mark.parametrize(
    "line",
    [
        "import pandas",
        "import pandas.io as p",
        "from pandas import x",
        "def f():\n    import pandas",
        "try:\n    import pandas\nexcept ImportError:\n    pandas = None",
    ],
)
def test_import_that_the_bundle_does_not_bring_is_found_wherever_it_stands(tmp_path, line):
    app = tmp_path / "app"
    app.mkdir()
    (app / "brought.py").write_text("import os.path\n")
    (app / "text_utility.py").write_text(f"import brought\n{line}\n")
    with pytest.raises(GateRefused, match=r"pandas \(in text_utility.py\)"):
        dependencies(job(tmp_path, package=tmp_path))
    (app / "text_utility.py").write_text("import brought\nfrom json import dumps\n")
    assert dependencies(job(tmp_path, package=tmp_path)) == {"imports": ["brought", "json", "os"]}
