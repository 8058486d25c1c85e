"""The ten release problems: each is stopped by the gate that it names, passes once repaired, and hurts without it.

That no other gate stops one, and that each of the ten hurts, on Docker as well, takes minutes: ``make bench
NAME=release`` shows it.
"""

import math
from importlib.resources import files
from types import SimpleNamespace

import pytest

from mlops_helpers.deploy import bundle as bundles
from mlops_helpers.deploy import bundle_image, problems, release_source, stages
from mlops_helpers.deploy.docker_engine import engine
from mlops_helpers.deploy.gates import Job, Target
from mlops_helpers.deploy.gates_sources import dependencies, sources
from mlops_helpers.deploy.images import INPUTS, build_service_image
from mlops_helpers.deploy.pipeline import run
from mlops_helpers.deploy.pipeline_store import Store, tree_hash
from mlops_helpers.deploy.problems_harm import earlier, readers, served, unguarded
from mlops_helpers.errors import GateRefused, ParameterError, PipelineError
from mlops_helpers.serve import sli

PROBLEMS = problems.load()
TITLES = """missing dependency, different library version, different local utility, database problem, operating-system
difference, too slow under real load, difficult to roll back, sources from many repositories, not enough memory,
config typo"""


@pytest.fixture
def source(tmp_path):
    return release_source.copy(tmp_path / "source")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A store, the shipped pipeline, and the bundle of the release that serves."""
    folder = tmp_path_factory.mktemp("shop")
    shipped = files("mlops_helpers.deploy").joinpath("pipelines/release.yaml").read_text("utf-8")
    store = Store(folder / "store")
    assert "seconds: 2" in shipped  # chapter 07 shortens it in the same way
    assert "fast: 0.99" in shipped
    pipeline = stages.parse(shipped.replace("seconds: 2", "seconds: 1").replace("fast: 0.99", "fast: 0.95"))

    def made(source):
        return bundles.load(run(unguarded(pipeline), source, store=store, end="package").bundle)

    champion = made(earlier(folder / "earlier"))
    target = Target(champion=champion, remaining=0.5)
    return SimpleNamespace(store=store, pipeline=pipeline, made=made, champion=champion, target=target)


def test_the_ten_are_those_of_the_lecture_in_its_order():
    assert [one.title for one in PROBLEMS.values()] == [" ".join(title.split()) for title in TITLES.split(",")]
    assert [one.number for one in PROBLEMS.values()] == list(range(1, 11))


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_a_problem_says_what_it_is_and_its_repair_gives_the_template_back(problem, source):
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


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_the_gate_that_is_named_stops_it(problem, source, shop):
    problem.break_source(source)
    stopped = run(shop.pipeline, source, shop.target, store=shop.store, end="delivery")
    assert (stopped.outcome, stopped.stopped_by) == ("blocked", problem.stopped_by), stopped.reason
    assert "Next: " in stopped.reason or "Accepted: " in stopped.reason or problem.stopped_by == "unit_tests"
    if problem.name == "memory":
        assert "out of memory" in stopped.reason


def test_repaired_it_passes_all_gates(source, shop):
    problem = PROBLEMS["local_utility"]  # repaired, each of the ten is the template: the test above
    problem.break_source(source)
    problem.repair_source(source)
    passed = run(shop.pipeline, source, shop.target, store=shop.store, end="delivery")
    assert (passed.outcome, passed.stopped_by) == ("ready", ""), passed.reason


CHEAP = ("sources", "unit_tests", "quality", "dependencies", "migration", "rollback")


@pytest.mark.parametrize("name", [one.name for one in PROBLEMS.values() if one.stopped_by in CHEAP])
def test_with_its_gate_off_no_gate_before_staging_stops_it(name, source, shop):
    problem = PROBLEMS[name]
    problem.break_source(source)
    rest = shop.pipeline.without(problem.stopped_by, "smoke", "load")
    passed = run(rest, source, shop.target, store=shop.store, end="delivery")
    assert (passed.outcome, passed.stopped_by) == ("ready", ""), passed.reason


RENAMED = "ALTER TABLE comments RENAME COLUMN author TO name;"
BACK = "ALTER TABLE comments RENAME COLUMN name TO author;"


@pytest.mark.parametrize(
    ("name", "edits", "stopped_by"),
    [
        (
            "database_migration",
            [
                (".sql", RENAMED, "CREATE VIEW named AS SELECT *, author AS name FROM comments;"),
                (
                    ".sql",
                    "SELECT name, count(*) FROM comments GROUP BY name",
                    "SELECT author, 1 FROM comments GROUP BY 1",
                ),
                (".sql", "new.name", "new.author"),
                (".undo.sql", BACK, "DROP VIEW named;"),
            ],
            "",
        ),
        (
            "database_migration",  # the blog that runs says SELECT *, and so meets the new column
            [(".sql", RENAMED, "ALTER TABLE comments ADD COLUMN name TEXT;")],
            "migration",
        ),
        ("operating_system", [("text_utility.py", ".split(os.linesep)[:-1]", ".splitlines()")], ""),
        ("operating_system", [("blocked.txt", "\r\n", "\n")], ""),
        ("rollback", [(".undo.sql", "DROP TABLE", "DROP TABLE authors; DROP TRIGGER count_by_author; --")], ""),
    ],
)
def test_a_repair_of_the_learners_own_is_judged_like_any_release(name, edits, stopped_by, source, shop):
    PROBLEMS[name].break_source(source)
    for file, old, new in edits:
        path = source / (f"migrations/0002_comments_by_author{file}" if file.endswith(".sql") else file)
        before = path.read_bytes().decode()
        assert old in before
        path.write_bytes(before.replace(old, new).encode())
    done = run(shop.pipeline.without("smoke", "load"), source, shop.target, store=shop.store, end="delivery")
    assert done.stopped_by == stopped_by, done.reason


def test_with_all_gates_off_readers_are_hurt(source, shop, tmp_path):
    problem = PROBLEMS["rollback"]
    problem.break_source(source)
    arrivals = readers(1.5, rate=20)
    record = served(shop.champion, shop.made(source), arrivals, tmp_path, taken_back=problem.taken_back)
    reads, comments = (record[record["kind"].eq(kind)] for kind in ("read", "comment"))
    assert sli.availability(reads).ratio == 1
    assert sli.availability(comments).ratio == 0


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


# the two gates


def job(source, **needs):
    return Job(source, source, source, needs, {}, {}, Target(), print, print)


def test_data_of_the_revision_that_release_toml_names_pass(source):
    assert sources(job(source)) == {"data": "simulated"}


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ('revision = "8"\nnote = "other labels"\n', r"revision '8' \(other labels\).*written for 'simulated'"),
        ("", "None"),
    ],
)
def test_data_of_another_revision_are_refused(source, about, said):
    (source / "data").mkdir()
    (source / "data" / "revision.toml").write_text(about)
    training = source / "training.toml"
    training.write_text(training.read_text().replace('"simulated"', '"data/comments.csv"'))
    with pytest.raises(GateRefused, match=said):
        sources(job(source))


def test_a_release_that_names_no_revision_is_no_source(source):
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
def test_an_import_that_the_bundle_does_not_bring_is_found_wherever_it_stands(tmp_path, line):
    app = tmp_path / "app"
    app.mkdir()
    (app / "brought.py").write_text("import os.path\n")
    (app / "text_utility.py").write_text(f"import brought\n{line}\n")
    with pytest.raises(GateRefused, match=r"pandas \(in text_utility.py\)"):
        dependencies(job(tmp_path, package=tmp_path))
    (app / "text_utility.py").write_text("import brought\nfrom json import dumps\n")
    assert dependencies(job(tmp_path, package=tmp_path)) == {"imports": ["brought", "json", "os"]}


# the image of a bundle


@pytest.mark.engine("docker")
def test_the_image_of_a_bundle_is_named_by_its_code_and_is_not_taken_for_the_services(source, shop):
    service = build_service_image()
    bundle = shop.made(source)
    names = [bundle_image.build_bundle_image(bundle) for _ in range(2)]
    try:
        assert names[0] == names[1]
        assert build_service_image().id == service.id
        assert bundle_image.build_bundle_image(shop.champion) == names[0]  # another model, the same code
        with engine() as client:
            labels = client.images.get(names[0]).labels
            said = client.containers.run(
                names[0],
                ["-c", "import text_utility; print(text_utility.clean('\u03a4\u03b9'))"],
                entrypoint="python3",
                remove=True,
                network_mode="none",
            )
        assert said.decode().strip() == "ti"
        assert labels[INPUTS] == names[0].rpartition(":")[2]
    finally:
        with engine() as client:
            for name in set(names):
                client.images.remove(name)
