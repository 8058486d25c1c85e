"""The gates that start a process: unit tests, and the bundle with what it needs."""

import json
import shutil

import pytest

from mlops_helpers.deploy import bundle, release_source
from mlops_helpers.errors import GateRefused, TamperedArtifactError
from tests.support.release_sources import ask_gate, change


@pytest.fixture
def source(tmp_path):
    return release_source.copy(tmp_path / "source")


@pytest.fixture
def ask(source, tmp_path):
    """Return a function that asks a gate, with the source as it is now."""
    return lambda name, **given: ask_gate(name, source, tmp_path, **given)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, artifact):
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(artifact.folder, folder / "artifact")
    content = {"texts": ["hello", "subscribe to my channel"], "scores": [0.1, 0.9], "threshold": 0.5}
    (folder / "scores.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def packaged(tmp_path_factory, trained):
    """The hash and the folder of the template's bundle; not to be changed."""
    folder = tmp_path_factory.mktemp("packaged")
    facts = ask_gate("package", release_source.copy(folder / "source"), folder, needs={"train": trained})
    return facts["bundle"], folder / "output"


def test_template_passes_its_unit_tests(ask):
    assert "passed" in ask("unit_tests")["tests"]


def test_failing_unit_tests_are_refused_with_what_they_print(ask, source):
    (source / "tests" / "test_more.py").write_text("def test_sum():\n    assert 1 + 1 == 3\n")
    with pytest.raises(GateRefused, match=r"the unit tests fail:(?s:.)*assert .1 . 1. == 3"):
        ask("unit_tests")


def test_bundle_has_all_that_it_needs_and_nothing_else(packaged, tmp_path):
    sha256, folder = packaged
    made = bundle.load(folder, sha256)
    assert sorted(path.name for path in (made.folder / "app").iterdir() if path.is_file()) == [
        "blocked.txt",
        "commentkit.py",
        "scriptkit.py",
        "text_utility.py",
    ]
    assert made.scores(["what a fine day"])[0] < 0.5 < made.scores(["subscribe to my channel www.example.com"])[0]
    copied = made.copy(tmp_path / "copy")
    assert copied.sha256 == made.sha256


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (
            "requirements.txt",
            "commentkit==1.4.0",
            "commentkit==1.5.0",
            "no package fits commentkit==1.5.0; .* 1.4.0, 2.0",
        ),
        ("requirements.txt", "sha256:e", "sha256:f", "has the hash"),
        ("requirements.txt", "commentkit==1.4.0", "commentkit=1.4.0", "is no requirement"),
        ("service.toml", '"requirements.txt"', '"requirements-x.txt"', "requirements-x.txt cannot be read"),
        ("service.toml", '"text_utility.py"', '"Text_Utility.py"', "no file Text_Utility.py"),
        ("text_utility.py", "import commentkit", "import commentkit, numpy", "No module named 'numpy'"),
    ],
)
def test_impossible_package_is_refused(ask, source, trained, name, old, new, message):
    change(source, name, old, new)
    with pytest.raises(GateRefused, match=message):
        ask("package", needs={"train": trained})


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "app" / "text_utility.py").write_text("def clean(text):\n    return ''\n"),
        lambda folder: (folder / "app" / "json.py").write_text("# another module of that name"),
        lambda folder: (folder / "migrations").joinpath("0003.sql").write_text("DROP TABLE comments;"),
        lambda folder: (folder / "probes.json").unlink(),
        lambda folder: (folder / "bundle.json").write_text('{"files": {}}'),
    ],
)
def test_tampered_bundle_is_refused(packaged, tmp_path, damage):
    sha256, folder = packaged
    shutil.copytree(folder, tmp_path / "bundle")
    damage(tmp_path / "bundle")
    with pytest.raises(TamperedArtifactError):
        bundle.load(tmp_path / "bundle", sha256)
