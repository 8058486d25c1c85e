"""Versions keep their identity, aliases move and move back, what is not genuine is not opened."""

import json
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
import yaml
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from mlops_helpers.errors import RegistryError, TamperedArtifactError
from mlops_helpers.model import evaluation, provenance, registry, training


@pytest.fixture(scope="module")
def judged(comments, model) -> evaluation.Evaluation:
    return evaluation.evaluate(comments.frame["label"], model.scores(comments.frame["text"]))


@pytest.fixture
def store(tmp_path: Path) -> registry.Registry:
    return registry.Registry(tmp_path / "a folder with spaces, ü & %41")


def test_a_version_carries_its_identity(store, comments, model, judged) -> None:
    version = store.register(model, judged, note="first")
    assert version.number == 1
    assert version.tags["data_sha256"] == comments.sha256
    assert version.tags["code_version"] == provenance.code_version()
    assert version.tags["threshold"] == "0.5"
    assert version.metrics["mcc"] == pytest.approx(judged.mcc.value)
    run = store.client.get_run(version.run_id)
    assert run.data.tags["note"] == "first"
    assert run.data.params["c"] == "10.0"
    (path,) = store.folder.rglob("MLmodel")
    signature = yaml.safe_load(path.read_text())["signature"]
    assert json.loads(signature["inputs"]) == [{"type": "string", "name": "text", "required": True}]


def test_what_comes_back_is_what_was_registered(store, comments, model, judged) -> None:
    store.set_alias("champion", store.register(model, judged).number)
    texts = comments.frame["text"].head(20)
    assert (store.pipeline("champion").predict_proba(texts) == model.pipeline.predict_proba(texts)).all()
    artifact = store.artifact("champion")
    assert artifact.sha256 == store.get("champion").artifact_sha256
    assert artifact.score(texts.iloc[0]) == pytest.approx(model.scores(texts)[0], abs=1e-9)


def test_any_fitted_pipeline_can_be_registered(store, comments, model, judged) -> None:
    frame = comments.frame.head(300)
    pipeline = make_pipeline(TfidfVectorizer(), MultinomialNB()).fit(frame["text"], frame["label"])
    version = store.register(replace(model, pipeline=pipeline), judged)
    store.set_alias("champion", version.number)
    artifact = store.artifact("champion")
    assert artifact.sha256 == version.artifact_sha256
    assert artifact.score("check out my channel") == pipeline.predict_proba(["check out my channel"])[0, 1]


def test_retraining_registers_the_same_artifact(store, comments, model, judged) -> None:
    first = store.register(model, judged)
    again = store.register(training.train(comments.frame, comments.sha256), judged)
    assert again.number == 2
    assert again.artifact_sha256 == first.artifact_sha256


def test_aliases_move_and_roll_back_once(store, model, judged) -> None:
    for _ in range(3):
        store.register(model, judged)
    store.set_alias("champion", 1)
    with pytest.raises(RegistryError, match="'previous-champion'"):
        store.roll_back()
    store.set_alias("champion", 2)
    store.set_alias("champion", 2)  # saying it twice keeps the way back
    assert store.get("champion").number == 2
    assert store.roll_back().number == 1
    assert store.get("champion").aliases == ("champion",)
    with pytest.raises(RegistryError):
        store.roll_back()
    assert store.get("champion").number == 1
    assert store.history()["aliases"].tolist() == ["champion", "", ""]


def test_a_rollback_to_a_broken_artifact_changes_nothing(store, model, judged) -> None:
    store.set_alias("champion", store.register(model, judged).number)
    store.set_alias("champion", store.register(model, judged).number)
    (store.artifact(1).folder / "weights.f64").write_bytes(b"gone")
    with pytest.raises(TamperedArtifactError):
        store.roll_back()
    assert store.get("champion").number == 2
    assert store.get("previous-champion").number == 1


def test_a_changed_pickle_is_not_opened(store, model, judged) -> None:
    store.register(model, judged)
    (path,) = store.folder.rglob("model.pkl")
    path.write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    with pytest.raises(TamperedArtifactError, match="it was not opened"):
        store.pipeline(1)


def test_an_exchanged_artifact_is_refused(store, comments, model, judged) -> None:
    store.register(model, judged)
    half = comments.frame.head(500)
    store.register(training.train(half, "half"), judged)
    mine, other = store.artifact(1).folder, store.artifact(2).folder
    for path in other.iterdir():  # whole in itself, but not what was registered
        (mine / path.name).write_bytes(path.read_bytes())
    with pytest.raises(TamperedArtifactError, match="expected is"):
        store.artifact(1)


@pytest.mark.parametrize("which", [7, "champion"])
def test_what_is_not_there_is_said_with_what_is(store, model, judged, which: int | str) -> None:
    with pytest.raises(RegistryError, match="There is none yet"):
        store.get(which)
    store.register(model, judged)
    store.set_alias("challenger", 1)
    with pytest.raises(RegistryError, match="Versions: 1; aliases: challenger"):
        store.get(which)


def test_a_failed_registration_leaves_no_version(store, model, judged, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mlflow.sklearn, "log_model", fail)
    with pytest.raises(OSError, match="No space left"):
        store.register(model, judged)
    assert store.history().empty
    assert sorted(path.name for path in store.folder.iterdir()) == ["mlflow.db", "runs"]


def test_what_mlflow_cannot_store_is_said_in_our_words(store, model, judged, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise mlflow.exceptions.MlflowException("(sqlite3.OperationalError) database or disk is full\nmore")

    monkeypatch.setattr(mlflow, "log_metrics", fail)
    with pytest.raises(RegistryError, match=r"disk is full\. Next: free space"):
        store.register(model, judged)
    assert mlflow.active_run() is None


def test_opening_a_new_registry_at_once_replaces_nobodys_database(tmp_path: Path, model, judged, monkeypatch) -> None:
    folder = tmp_path / "registry"
    copyfile = registry.shutil.copyfile

    def slow_copy(source: Path, target: Path) -> None:
        copyfile(source, target)
        monkeypatch.setattr(registry.shutil, "copyfile", copyfile)
        registry.Registry(folder).register(model, judged)  # another process, just now

    monkeypatch.setattr(registry.shutil, "copyfile", slow_copy)
    late = registry.Registry(folder)
    assert late.get(1).number == 1
    assert late.register(model, judged).number == 2
    assert sorted(path.name for path in folder.iterdir()) == ["mlflow.db", "runs"]


def test_global_tracking_stays_with_the_caller(store, model, judged) -> None:
    before = mlflow.get_tracking_uri()
    store.register(model, judged)
    assert mlflow.get_tracking_uri() == before
    assert mlflow.active_run() is None


def test_reopening_keeps_everything(store, model, judged) -> None:
    store.register(model, judged)
    assert registry.Registry(store.folder).get(1).artifact_sha256 == store.get(1).artifact_sha256


def test_the_commit_is_none_outside_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert provenance.git_commit() == "none"
