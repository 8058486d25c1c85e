"""Versions keep their identity, aliases move and move back, what is not genuine is not opened."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pytest
import yaml

from mlops_helpers.errors import RegistryError, TamperedArtifactError
from mlops_helpers.model import evaluation, provenance, registry, training


@pytest.fixture(scope="module")
def judged(comments, model) -> evaluation.Evaluation:
    return evaluation.evaluate(comments.frame["label"], model.scores(comments.frame["text"]))


@pytest.fixture(scope="module")
def store(tmp_path_factory, comments, model, judged) -> registry.Registry:
    """A registry of two versions; tests may add some, and give aliases of their own."""
    store = registry.Registry(tmp_path_factory.mktemp("registry") / "a folder with spaces, ü & %41")
    store.register(model, judged, note="first")
    store.register(training.train(comments.frame.head(500), "half"), judged)
    return store


@contextmanager
def changed(path: Path, content: bytes) -> Iterator[None]:
    """Let a file hold something else while the block runs."""
    original = path.read_bytes()
    path.write_bytes(content)
    yield
    path.write_bytes(original)


def test_a_version_carries_its_identity(store, comments, judged) -> None:
    version = store.get(1)
    assert version.number == 1
    assert version.tags["data_sha256"] == comments.sha256
    assert version.tags["code_version"] == provenance.code_version()
    assert version.tags["threshold"] == "0.5"
    assert version.metrics["mcc"] == pytest.approx(judged.mcc.value)
    run = store.client.get_run(version.run_id)
    assert run.data.tags["note"] == "first"
    assert run.data.params["c"] == "10.0"
    signature = yaml.safe_load(next(store.folder.rglob("MLmodel")).read_text())["signature"]
    assert json.loads(signature["inputs"]) == [{"type": "string", "name": "text", "required": True}]
    assert registry.Registry(store.folder).get(1) == version


def test_what_comes_back_is_what_was_registered(store, comments, model) -> None:
    texts = comments.frame["text"].head(20)
    assert (store.pipeline(1).predict_proba(texts) == model.pipeline.predict_proba(texts)).all()
    artifact = store.artifact(1)
    assert artifact.sha256 == store.get(1).artifact_sha256
    assert artifact.score(texts.iloc[0]) == pytest.approx(model.scores(texts)[0], abs=1e-9)


def test_aliases_move_and_roll_back_once(store) -> None:
    store.set_alias("champion", 1)
    with pytest.raises(RegistryError, match="'previous-champion'"):
        store.roll_back()
    store.set_alias("champion", 2)
    store.set_alias("champion", 2)  # the same again keeps the way back
    assert store.get("champion").number == 2
    assert store.roll_back().number == 1
    with pytest.raises(RegistryError):
        store.roll_back()
    assert store.get("champion").aliases == ("champion",)
    assert store.history()["aliases"].tolist()[:2] == ["champion", ""]


def test_a_rollback_to_a_broken_artifact_changes_nothing(store) -> None:
    store.set_alias("live", 1)
    store.set_alias("live", 2)
    with changed(store.artifact(1).folder / "weights.f64", b"gone"), pytest.raises(TamperedArtifactError):
        store.roll_back("live")
    assert (store.get("live").number, store.get("previous-live").number) == (2, 1)


def test_a_changed_pickle_is_not_opened(store) -> None:
    source = store.client.get_model_version_download_uri(store.name, "1")
    path = Path(mlflow.artifacts.download_artifacts(source, tracking_uri=store.uri)) / "model.pkl"
    with changed(path, b"cos\nsystem\n(S'touch opened'\ntR."), pytest.raises(TamperedArtifactError, match="not opened"):
        store.pipeline(1)


def test_an_exchanged_artifact_is_refused(store) -> None:
    own, other = store.artifact(1).folder, store.artifact(2).folder
    originals = {path: path.read_bytes() for path in own.iterdir()}
    for path in other.iterdir():  # whole in itself, but not what was registered
        (own / path.name).write_bytes(path.read_bytes())
    with pytest.raises(TamperedArtifactError, match="expected is"):
        store.artifact(1)
    for path, content in originals.items():
        path.write_bytes(content)


@pytest.mark.parametrize("which", [77, "nobody"])
def test_a_version_that_is_not_there_is_answered_with_those_that_are(store, tmp_path: Path, which: int | str) -> None:
    with pytest.raises(RegistryError, match="There is none yet"):
        registry.Registry(tmp_path).get(which)
    store.set_alias("challenger", 1)
    with pytest.raises(RegistryError, match=r"Versions: \d; aliases: .*challenger"):
        store.get(which)
