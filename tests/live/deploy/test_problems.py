"""The ten release problems: each is stopped by the gate that it names, passes once repaired, and hurts without it."""

import pytest

from mlops_helpers.deploy import problems, release_source
from mlops_helpers.deploy.pipeline import run
from mlops_helpers.deploy.problems_harm import readers, served
from mlops_helpers.serve import sli
from tests.support.release_sources import change
from tests.support.shop import make_shop

PROBLEMS = problems.load()


@pytest.fixture
def source(tmp_path):
    return release_source.copy(tmp_path / "source")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return make_shop(tmp_path_factory.mktemp("shop"))


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_problem_is_stopped_by_the_gate_that_it_names(problem, source, shop):
    problem.break_source(source)
    stopped = run(shop.pipeline, source, shop.target, store=shop.store, end="delivery")
    assert (stopped.outcome, stopped.stopped_by) == ("blocked", problem.stopped_by), stopped.reason
    assert "Next: " in stopped.reason or "Accepted: " in stopped.reason or problem.stopped_by == "unit_tests"
    if problem.name == "memory":
        assert "out of memory" in stopped.reason


def test_repaired_problem_passes_all_gates(source, shop):
    problem = PROBLEMS["local_utility"]  # repaired, each of the ten is the template: the test above
    problem.break_source(source)
    problem.repair_source(source)
    passed = run(shop.pipeline, source, shop.target, store=shop.store, end="delivery")
    assert (passed.outcome, passed.stopped_by) == ("ready", ""), passed.reason


CHEAP = ("sources", "unit_tests", "quality", "dependencies", "migration", "rollback")


@pytest.mark.parametrize("name", [one.name for one in PROBLEMS.values() if one.stopped_by in CHEAP])
def test_problem_is_stopped_by_no_other_gate_before_staging(name, source, shop):
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
def test_repair_of_the_learners_own_is_judged_like_any_release(name, edits, stopped_by, source, shop):
    PROBLEMS[name].break_source(source)
    for file, old, new in edits:
        change(source, f"migrations/0002_comments_by_author{file}" if file.endswith(".sql") else file, old, new)
    done = run(shop.pipeline.without("smoke", "load"), source, shop.target, store=shop.store, end="delivery")
    assert done.stopped_by == stopped_by, done.reason


def test_readers_are_hurt_with_all_gates_off(source, shop, tmp_path):
    problem = PROBLEMS["rollback"]
    problem.break_source(source)
    arrivals = readers(1.5, rate=20)
    record = served(shop.champion, shop.made(source), arrivals, tmp_path, taken_back=problem.taken_back)
    reads, comments = (record[record["kind"].eq(kind)] for kind in ("read", "comment"))
    assert sli.availability(reads).ratio == 1
    assert sli.availability(comments).ratio == 0
