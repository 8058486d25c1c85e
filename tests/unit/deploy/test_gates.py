"""Each gate alone: what it lets pass, what it refuses, and whether it says why."""

import json
import sqlite3
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from mlops_helpers.deploy import bundle, migrations, noninferiority, release_source
from mlops_helpers.deploy.gates import GATES, Gate, Target
from mlops_helpers.deploy.team_code import install, newest
from mlops_helpers.errors import ArtifactError, GateRefused, ParameterError, PipelineError, ServiceError
from tests.support.release_sources import ask_gate, change


@pytest.fixture
def source(tmp_path):
    return release_source.copy(tmp_path / "source")


@pytest.fixture
def ask(source, tmp_path):
    """Return a function that asks a gate, with the source as it is now."""
    return lambda name, **given: ask_gate(name, source, tmp_path, **given)


def test_every_gate_has_its_name_and_a_docstring():
    for name in GATES:
        assert isinstance(GATES[name], Gate)
        assert GATES[name].check.__doc__.split()[0] in {"Refuse", "Make", "Let"}


# configuration


def test_template_is_well_configured(ask):
    assert ask("configuration") == {"files": ["release.toml", "service.toml", "training.toml"]}


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("service.toml", "memory_mb", "memroy_mb", "service.toml: nothing is called memroy_mb"),
        ("service.toml", "replicas = 1", "replicas = 0", "replicas is 0"),
        ("service.toml", "replicas = 1", "replicas = ", "service.toml: "),
        ("training.toml", "threshold = 0.5", "threshold = 5", "model.threshold is 5"),
        ("training.toml", "threshold", "treshold", "nothing is called model.treshold"),
        ("training.toml", '"text_utility.py"', '"../../etc/passwd"', "accepted: the path of a file in the source"),
        ("training.toml", '"text_utility.py"', '"/etc/passwd"', "accepted: the path of a file in the source"),
        ("release.toml", '"feature"', '"featur"', "accepted: feature, fix"),
    ],
)
def test_bad_configuration_is_refused(ask, source, name, old, new, message):
    change(source, name, old, new)
    with pytest.raises(GateRefused, match=message):
        ask("configuration")


# data


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"fewest": 10_000}, "there are 4[0-9][0-9] comments"), ({"spam_share": [0.5, 0.6]}, "of the comments are spam")],
)
def test_implausible_data_are_refused(ask, source, settings, message):
    change(source, "training.toml", "n_comments = 2000", "n_comments = 450")
    with pytest.raises(GateRefused, match=message):
        ask("data_validation", settings=settings)


def test_data_that_break_the_schema_are_refused(ask, source):
    (source / "data").mkdir()
    (source / "data" / "comments.csv").write_text("text,label\nhello,maybe\n")
    change(source, "training.toml", '"simulated"', '"data/comments.csv"')
    with pytest.raises(GateRefused, match="label 'maybe'; accepted: 1, spam, 0, ham"):
        ask("data_validation")


def test_setting_that_is_no_number_is_an_error_of_the_pipeline(ask, source):
    with pytest.raises(PipelineError, match="setting fewest is 'many'; accepted: a number"):
        ask("data_validation", settings={"fewest": "many"})


# quality


@pytest.fixture
def judged(tmp_path):
    """Return a function that makes needs and target of the quality gate from who is right about 600 comments."""
    rng = np.random.default_rng(0)
    label = (rng.random(600) < 0.4).astype(int)
    text = [f"comment {number}" + ("é" if number < 100 else "") for number in range(600)]

    def made(new_wrong, old_wrong=None):
        frame = pd.DataFrame({"text": text, "label": label, "group": "all"})
        scores = {
            key: np.where(np.isin(np.arange(600), wrong), 1 - label, label)
            for key, wrong in {"new": new_wrong, "old": old_wrong or []}.items()
        }
        for name in ("data", "train"):
            (tmp_path / name).mkdir(exist_ok=True)
        frame.to_parquet(tmp_path / "data" / "test.parquet")
        content = {"texts": text, "scores": scores["new"].tolist(), "threshold": 0.5}
        (tmp_path / "train" / "scores.json").write_text(json.dumps(content))
        champion = SimpleNamespace(
            scores=lambda texts: scores["old"].tolist(),
            artifact=SimpleNamespace(threshold=0.5),
            version="r-old",
            sha256="old",
        )
        needs = {"data_validation": tmp_path / "data", "train": tmp_path / "train"}
        return {"needs": needs, "target": Target(champion=None if old_wrong is None else champion)}

    return made


def test_model_like_the_champion_passes(ask, judged):
    facts = ask("quality", **judged(range(40), list(range(2, 42))))
    assert facts["champion"] == "r-old"
    assert facts["slices"]["all"] == [600, 0.0, pytest.approx(-0.0078, abs=0.002)]


def test_model_that_is_worse_overall_is_refused(ask, judged):
    with pytest.raises(GateRefused, match=r"all: -3\.5 points .* 0 gained and 21 lost of 600; accepted: worse by less"):
        ask("quality", **judged(range(30, 600, 28), []))


def test_model_that_is_worse_on_a_slice_alone_is_refused(ask, judged):
    new, old = range(10), range(330, 340)  # a tenth of what is beyond ASCII, where the champion was right
    with pytest.raises(GateRefused) as refusal:
        ask("quality", **judged(new, old))
    assert "beyond ASCII: -10.0 points" in str(refusal.value)
    assert "all:" not in str(refusal.value)


def test_floor_decides_without_a_champion(ask, judged):
    assert ask("quality", **judged(range(40)))["champion"] == ""
    with pytest.raises(GateRefused, match=r"accuracy is above 0\.8[0-9]* with 95 % confidence; accepted: above 0\.85"):
        ask("quality", **judged(range(80)))


def test_interval_keeps_its_level():
    rng = np.random.default_rng(0)
    for n, gained, lost in ((600, 0.005, 0.015), (600, 0.02, 0.03), (100, 0.01, 0.06), (60, 0.0, 0.05)):
        draws = rng.multinomial(n, [gained, lost, 1 - gained - lost], size=1000)
        above = [noninferiority.lower_bound(n, int(g), int(miss)) > gained - lost for g, miss, _ in draws]
        assert np.mean(above) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1000)


def test_interval_has_a_width_where_models_agree():
    z = 1.6448536
    assert noninferiority.lower_bound(600, 0, 0) == pytest.approx(-(z**2) / (600 + z**2), abs=1e-6)
    assert noninferiority.compare("all", 100, 100, 0).low > 0.9
    same = noninferiority.compare("all", 600, 0, 0)  # no difference was seen; of 600, one of half a point may hide
    assert same.not_worse_by(0.005)
    assert not same.not_worse_by(0.004)
    with pytest.raises(ParameterError, match="accepted: counts"):
        noninferiority.compare("all", 3, 2, 2)


# security


@pytest.fixture
def packaged(tmp_path):
    """A folder that stands for a bundle."""
    folder = tmp_path / "packaged"
    folder.mkdir()
    (folder / "app.py").write_text("x = 1\n" * 1000)
    return folder


def test_missing_bundle_is_an_error_that_says_so(tmp_path):
    with pytest.raises(ArtifactError, match="no bundle in"):
        bundle.load(tmp_path)


def test_clean_source_passes_the_security_gate(ask, packaged):
    assert ask("security", needs={"package": packaged})["bytes"] > 1000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("key.pem", "-----BEGIN RSA PRIVATE " + "KEY-----\n", "key.pem, line 1: a private key"),
        ("deploy.py", "\n\npassword = " + "'hunter2hunter2'\n", "deploy.py, line 3: a password"),
        ("cloud.toml", "id = 'AKIA" + "ABCDEFGHIJKLMNOP'\n", "an access key of a cloud"),
        ("requirements.txt", "commentkit>=1.4\n", "requirements.txt: commentkit>=1.4 names no hash"),
    ],
)
def test_secrets_and_unpinned_packages_are_refused(ask, source, packaged, name, content, message):
    (source / name).write_text(content)
    with pytest.raises(GateRefused, match=message):
        ask("security", needs={"package": packaged})


def test_programs_and_too_many_bytes_are_refused(ask, packaged):
    (packaged / "model.pkl").write_bytes(b"cos\nsystem\n")
    with pytest.raises(GateRefused, match=r"model\.pkl is a program"):
        ask("security", needs={"package": packaged})
    (packaged / "model.pkl").unlink()
    with pytest.raises(GateRefused, match=r"accepted: at most 0\.0001"):
        ask("security", needs={"package": packaged}, settings={"largest_mb": 0.0001})


def test_newest_package_is_not_the_last_by_name(tmp_path, source):
    for version in ("1.9.0", "1.10.0"):
        (tmp_path / f"commentkit-{version}-py3-none-any.whl").write_bytes(
            release_source.wheel(f"commentkit-{version}", b"x = 1")
        )
    assert newest(tmp_path)["commentkit"].name == "commentkit-1.10.0-py3-none-any.whl"
    (tmp_path / "requirements.txt").write_text("commentkit>=1.9,<1.10  # comment\n\n")
    install(tmp_path / "requirements.txt", tmp_path, tmp_path / "into")
    assert (tmp_path / "into" / "commentkit-1.9.0.dist-info").is_dir()


# database


def test_migration_of_the_template_passes_and_can_be_taken_back(ask):
    assert ask("migration")["migrations"]
    (made,) = ask("migration").values()
    assert made == []  # a second time in the same scratch: it is there


MIGRATIONS = [
    (
        "migration",
        "ALTER TABLE comments RENAME COLUMN text TO body;",
        "ALTER TABLE comments RENAME COLUMN body TO text;",
    ),
    ("migration", "ALTER TABLE comments ADD COLUMN language TEXT;", "ALTER TABLE comments DROP COLUMN language;"),
    ("migration", "CREATE TABEL x (y);", "DROP TABLE x;"),
    ("rollback", "CREATE INDEX by_author ON comments (author);", None),
    ("rollback", "CREATE TABLE x (y);", "DROP TABLE z;"),
    ("rollback", "CREATE INDEX by_author ON comments (author);", "DROP INDEX by_author; DELETE FROM decisions;"),
]


@pytest.mark.parametrize(("stopped_by", "forward", "back"), MIGRATIONS)
def test_migration_that_the_running_blog_cannot_live_with_is_refused(ask, source, stopped_by, forward, back):
    (source / "migrations" / "0003_more.sql").write_text(forward)
    if back is not None:
        (source / "migrations" / "0003_more.undo.sql").write_text(back)
    if stopped_by == "rollback":
        ask("migration")
        for path in (source.parent / "scratch" / "blog").iterdir():
            path.unlink()
    with pytest.raises(GateRefused, match=r"cannot read the database|could not be rolled back"):
        ask(stopped_by)


def test_failed_migration_leaves_the_database_as_it_was(tmp_path):
    (tmp_path / "0001.sql").write_text("CREATE TABLE a (x); INSERT INTO a VALUES (1); CREATE TABLE a (x);")
    with pytest.raises(ServiceError, match=r"0001\.sql fails: .*already exists"):
        migrations.apply(tmp_path, tmp_path / "db")
    with sqlite3.connect(tmp_path / "db") as db:
        assert [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")] == ["migrations"]
    db.close()


# error budget


@pytest.mark.parametrize(
    ("kind", "remaining", "passes"),
    [
        ("feature", 0.4, True),
        ("feature", 0.0, False),
        ("model", -0.2, False),
        ("feature", float("nan"), False),
        ("emergency fix", -0.2, True),
        ("security", float("nan"), True),
    ],
)
def test_spent_budget_lets_urgent_changes_through_only(ask, source, kind, remaining, passes):
    change(source, "release.toml", '"feature"', f'"{kind}"')
    target = Target(remaining=remaining)
    if passes:
        assert ask("error_budget", target=target)["reason"].startswith(f"ships: {kind}")
    else:
        with pytest.raises(GateRefused, match=f"waits: {kind}, (the budget is spent|while the budget is unknown)"):
            ask("error_budget", target=target)
