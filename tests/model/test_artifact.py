"""The artifact says what the pipeline says, is the same bytes for the same model, and refuses any other byte."""

import json
import pickle
import subprocess
import sys
from array import array
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline

from mlops_helpers.errors import ArtifactError, TamperedArtifactError, WorkspaceError
from mlops_helpers.model import artifact, pickled, training
from mlops_helpers.model.scorer import Scorer

FILES = ["SHA256SUMS", "manifest.json", "terms.json", "weights.f64"]


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory) -> artifact.Artifact:
    return artifact.export(model, tmp_path_factory.mktemp("export") / "artifact")


@pytest.fixture
def copy(exported: artifact.Artifact, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in FILES:
        (folder / name).write_bytes((exported.folder / name).read_bytes())
    return folder


alphabet = st.one_of(
    st.characters(),  # all of Unicode, lone surrogates included
    st.sampled_from(list("aAbe .,!?-_'\n\t\r\x0b\x0c\x00\x1c\x85\u00a0\u1680\u2028\u3000\u200b\u200d\ufeffİıßŉﬁǅΣς́😀")),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.text(alphabet, max_size=80), min_size=1, max_size=5))
@example([" ".join(["Check out my channel"] * 50)])
@example(["free" * 5000, "a " * 3000])
@example(["CHECK ＣＨＥＣＫ ℂ𝔥𝔢𝔠𝔨 c\u0301h\u200beck"])
def test_scores_are_those_of_the_pipeline(exported: artifact.Artifact, model, texts: list[str]) -> None:
    for text, expected in zip(texts, model.scores(texts), strict=True):
        assert abs(exported.score(text) - expected) <= 1e-9


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_scores_agree_on_texts_made_of_known_terms(exported: artifact.Artifact, model, data: st.DataObject) -> None:
    known = json.loads((exported.folder / "terms.json").read_text())
    pieces = data.draw(st.lists(st.sampled_from(known[0] + known[1][:2000]), min_size=1, max_size=30))
    text = data.draw(st.sampled_from([" ", "", "\u00a0", ", "])).join(pieces)
    assert abs(exported.score(text) - model.scores([text])[0]) <= 1e-9


def test_verdicts_follow_the_threshold(exported: artifact.Artifact, model, tmp_path: Path) -> None:
    text = "check out my channel"
    score = exported.score(text)
    for threshold, spam in ((score, True), (min(score * 1.0001, 0.9999), False)):
        assert artifact.export(replace(model, threshold=threshold), tmp_path / "t").is_spam(text) is spam


def test_the_same_model_gives_the_same_bytes(exported: artifact.Artifact, comments, tmp_path: Path) -> None:
    again = artifact.export(training.train(comments.frame, comments.sha256), tmp_path / "again")
    assert again.sha256 == exported.sha256
    for name in FILES:
        assert (again.folder / name).read_bytes() == (exported.folder / name).read_bytes()


@pytest.mark.parametrize("change", [{"threshold": 0.6}, {"data_sha256": "0" * 64}, {"code_version": "other"}])
def test_what_decides_a_model_changes_its_hash(
    exported: artifact.Artifact, model, tmp_path: Path, change: dict[str, object]
) -> None:
    assert artifact.export(replace(model, **change), tmp_path / "other").sha256 != exported.sha256


def test_the_folder_holds_data_only_and_standard_tools_can_verify_it(exported: artifact.Artifact) -> None:
    assert sorted(path.name for path in exported.folder.iterdir()) == FILES
    done = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=exported.folder, capture_output=True, timeout=30)
    assert done.returncode == 0
    for path in exported.folder.iterdir():
        assert b"sklearn" not in path.read_bytes()


@pytest.mark.parametrize("name", FILES)
def test_any_changed_byte_is_refused(copy: Path, name: str) -> None:
    original = (copy / name).read_bytes()
    for at in sorted({0, len(original) // 3, len(original) // 2, len(original) - 2}):
        (copy / name).write_bytes(original[:at] + bytes([original[at] ^ 1]) + original[at + 1 :])
        with pytest.raises(ArtifactError):
            artifact.load(copy)
    (copy / name).write_bytes(original)
    artifact.load(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_shorter_or_longer_file_is_refused(copy: Path, name: str) -> None:
    original = (copy / name).read_bytes()
    for content in (b"", original[:-1], original + b"\n"):
        (copy / name).write_bytes(content)
        with pytest.raises(ArtifactError):
            artifact.load(copy)
    (copy / name).unlink()
    with pytest.raises(ArtifactError, match="Next: export the model again"):
        artifact.load(copy)


def test_a_whole_but_foreign_artifact_is_refused_by_the_expected_hash(copy: Path, exported: artifact.Artifact) -> None:
    assert artifact.load(copy, exported.sha256).sha256 == exported.sha256
    with pytest.raises(TamperedArtifactError, match=f"has the hash {exported.sha256}, expected is 00"):
        artifact.load(copy, "0" * 64)


def forge(folder: Path, manifest: bytes = b"", weights: array | None = None, **changes: object) -> None:
    """Change an artifact and make all hashes fit, as somebody would who knows the format."""
    parsed = json.loads((folder / "manifest.json").read_text()) if not manifest else {}
    if weights is not None:
        (folder / "weights.f64").write_bytes(weights.tobytes())
    for name in ("terms.json", "weights.f64"):
        content = (folder / name).read_bytes()
        if not manifest:
            parsed["files"][name] = {"sha256": sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "manifest.json").write_bytes(manifest or json.dumps(parsed | changes).encode())
    names = ("manifest.json", "terms.json", "weights.f64")
    lines = [f"{sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(lines))


def test_a_careful_forgery_is_whole_and_known_by_its_hash_only(copy: Path, exported: artifact.Artifact) -> None:
    forge(copy, threshold=0.9)
    assert artifact.load(copy).threshold == 0.9
    with pytest.raises(TamperedArtifactError, match="expected is"):
        artifact.load(copy, exported.sha256)


BLOCK = {"name": "word", "analyzer": "word", "ngrams": [1, 2], "sublinear_tf": True}


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "opslab-linear-text/99"},
        {"format": None},
        {"blocks": []},
        {"blocks": [{"analyzer": "eval", "ngrams": [1, 2], "sublinear_tf": True, "terms": 1}]},
        {"files": {}},
        {"files": {"../../etc/passwd": {"sha256": "x", "bytes": 1}}},
        {"intercept": "x"},
        {"intercept": float("inf")},
        {"threshold": float("nan")},
        {"threshold": None},
        {"threshold": 1.5},
    ],
)
def test_a_forged_manifest_is_refused_as_an_artifact_error(copy: Path, changes: dict[str, object]) -> None:
    forge(copy, **changes)
    with pytest.raises(ArtifactError):
        artifact.load(copy)


@pytest.mark.parametrize("content", [b"[]", b"nonsense", b"\xff\xfe", b'{"a":' * 50_000])
def test_a_manifest_that_is_none_is_refused(copy: Path, content: bytes) -> None:
    forge(copy, content)
    with pytest.raises(ArtifactError):
        artifact.load(copy)


@pytest.mark.parametrize("ngrams", [[1, 10**9], [0, 2], [2, 1], [1.0, 2.0], ["1", "2"], [1], [True, True]])
def test_ngrams_that_would_fail_or_never_end_are_refused(copy: Path, exported, ngrams: list[object]) -> None:
    blocks = [{**block, "ngrams": ngrams} for block in exported.manifest["blocks"]]
    forge(copy, blocks=blocks)
    with pytest.raises(ArtifactError, match="not an artifact"):
        artifact.load(copy)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(copy: Path, value: float) -> None:
    weights = array("d")
    weights.frombytes((copy / "weights.f64").read_bytes())
    weights[5] = value
    forge(copy, weights=weights)
    with pytest.raises(ArtifactError, match="not all finite"):
        artifact.load(copy)


def test_weights_of_another_length_are_refused(copy: Path) -> None:
    weights = array("d")
    weights.frombytes((copy / "weights.f64").read_bytes())
    forge(copy, weights=weights[:-2])
    with pytest.raises(ArtifactError, match="not of one length"):
        artifact.load(copy)


def test_squares_that_are_none_and_repeated_terms_are_refused(copy: Path) -> None:
    weights = array("d")
    weights.frombytes((copy / "weights.f64").read_bytes())
    weights[5] = -1.0
    forge(copy, weights=weights)
    with pytest.raises(ArtifactError, match="not all positive"):
        artifact.load(copy)
    weights[5] = 1.0
    terms = json.loads((copy / "terms.json").read_text())
    terms[0][1] = terms[0][0]
    (copy / "terms.json").write_text(json.dumps(terms))
    forge(copy, weights=weights)
    with pytest.raises(ArtifactError, match="not distinct"):
        artifact.load(copy)


def test_scores_far_on_the_ham_side_do_not_overflow(copy: Path) -> None:
    forge(copy, intercept=-1e6)
    assert artifact.load(copy).score("hello") == 0


def test_an_export_replaces_nothing_but_an_artifact(model, tmp_path: Path) -> None:
    precious = tmp_path / "file"
    precious.write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for place in ("file", "folder", "link"):
        with pytest.raises(ArtifactError, match="replaces nothing but an artifact"):
            artifact.export(model, tmp_path / place)
    assert precious.read_text() == (tmp_path / "folder" / "thesis.txt").read_text() == "precious"
    first = artifact.export(model, tmp_path / "new")
    assert artifact.export(model, tmp_path / "new").sha256 == first.sha256


def fitted(comments, **steps: object) -> Pipeline:
    frame = comments.frame.head(200)
    return Pipeline(list(steps.items())).fit(frame["text"], frame["label"])


def union(vectorizer: object) -> FeatureUnion:
    return FeatureUnion([("word", vectorizer)])


@pytest.mark.parametrize(
    ("vectorizer", "found"),
    [
        (TfidfVectorizer(strip_accents="unicode"), "strip_accents='unicode'"),
        (TfidfVectorizer(stop_words="english"), "stop_words='english'"),
        (TfidfVectorizer(analyzer="char", ngram_range=(2, 3)), "analyzer='char'"),
        (TfidfVectorizer(norm="l1"), "norm='l1'"),
        (CountVectorizer(), "CountVectorizer"),
    ],
)
def test_an_unsupported_pipeline_is_refused_by_name(comments, model, tmp_path: Path, vectorizer, found: str) -> None:
    odd = replace(model, pipeline=fitted(comments, tfidf=union(vectorizer), model=LogisticRegression()))
    with pytest.raises(ArtifactError, match=found):
        artifact.export(odd, tmp_path / "odd")
    assert list(tmp_path.iterdir()) == []


def test_a_pipeline_of_another_shape_is_refused(comments, model, tmp_path: Path) -> None:
    odd = fitted(comments, tfidf=TfidfVectorizer(), svd=TruncatedSVD(5), model=LogisticRegression())
    with pytest.raises(ArtifactError, match="the pipeline's steps are"):
        artifact.export(replace(model, pipeline=odd), tmp_path / "odd")


def test_an_export_that_disagrees_with_the_pipeline_is_refused(model, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Scorer, "score", lambda self, text: 0.123)
    with pytest.raises(ArtifactError, match="at most 1e-9 apart"):
        artifact.export(model, tmp_path / "wrong")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sublinear", [True, False])
@pytest.mark.parametrize("ngrams", [(1, 1), (2, 3)])
def test_other_settings_of_the_supported_shape_are_exact_too(
    comments, model, tmp_path: Path, sublinear: bool, ngrams: tuple[int, int]
) -> None:
    char = TfidfVectorizer(analyzer="char_wb", ngram_range=ngrams, sublinear_tf=sublinear, min_df=2)
    pipeline = fitted(comments, tfidf=union(char), model=LogisticRegression())
    exported = artifact.export(replace(model, pipeline=pipeline), tmp_path / "artifact")
    texts = comments.frame["text"].tail(50).tolist()
    for text, expected in zip(texts, pipeline.predict_proba(texts)[:, 1], strict=True):
        assert abs(exported.score(text) - expected) <= 1e-9


@pytest.fixture(scope="module")
def other(comments, model) -> training.TrainedModel:
    """A model that the linear format cannot express."""
    pipeline = fitted(
        comments, tfidf=TfidfVectorizer(), svd=TruncatedSVD(5, random_state=0), model=LogisticRegression()
    )
    return replace(model, pipeline=pipeline)


@pytest.fixture
def pickled_artifact(other, tmp_path: Path) -> artifact.Artifact:
    return artifact.export_any(other, tmp_path / "pickled")


def test_any_pipeline_can_be_served_and_says_why_it_is_a_pickle(pickled_artifact, other, comments) -> None:
    manifest, texts = pickled_artifact.manifest, comments.frame["text"].head(20).tolist()
    assert manifest["format"] == "opslab-sklearn-pickle/1"
    assert "the pipeline's steps are ['tfidf', 'svd', 'model']" in manifest["fallback_reason"]
    assert manifest["data_sha256"] == other.data_sha256
    again = artifact.load(pickled_artifact.folder, pickled_artifact.sha256)
    assert again.threshold == 0.5
    assert not again.scorer.inline
    assert again.scorer.scores(texts) == other.scores(texts).tolist()
    assert again.score(texts[0]) == pytest.approx(other.scores(texts)[0])
    assert again.scorer.scores([]) == []


def test_what_the_linear_format_can_express_is_linear(exported: artifact.Artifact, model, tmp_path: Path) -> None:
    made = artifact.export_any(model, tmp_path / "any")
    assert made.sha256 == exported.sha256
    assert made.scorer.inline


def test_scores_that_disagree_fall_back_to_the_pipeline(model, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Scorer, "score", lambda self, text: float("nan"))
    made = artifact.export_any(model, tmp_path / "any")
    assert "at most 1e-9 apart" in made.manifest["fallback_reason"]
    assert sorted(path.name for path in made.folder.iterdir()) == ["SHA256SUMS", "manifest.json", "pipeline.pkl"]
    assert made.score("hello") == model.scores(["hello"])[0]


class Opened:
    """Leaves a trace when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("print('opened')",)


def test_a_pickle_is_opened_only_for_a_hash_that_the_caller_names(pickled_artifact, capsys) -> None:
    folder = pickled_artifact.folder
    (folder / "pipeline.pkl").write_bytes(pickle.dumps(Opened()))
    with pytest.raises(ArtifactError, match=r"opening one runs code.*expected_sha256=HASH"):
        artifact.load(folder)
    with pytest.raises(TamperedArtifactError):
        artifact.load(folder, pickled_artifact.sha256)
    with pytest.raises(TamperedArtifactError, match="expected is 00"):
        artifact.load(folder, "0" * 64)
    assert capsys.readouterr().out == ""


def test_a_pickle_of_another_scikit_learn_is_refused(pickled_artifact, monkeypatch) -> None:
    monkeypatch.setattr(pickled, "_installed", lambda: "0.1.2")
    with pytest.raises(ArtifactError, match=r"here is 0\.1\.2; accepted: the same major\.minor"):
        artifact.load(pickled_artifact.folder, pickled_artifact.sha256)


def test_a_pickle_that_cannot_be_made_leaves_nothing(other, tmp_path: Path) -> None:
    pipeline = Pipeline([("tfidf", TfidfVectorizer(tokenizer=lambda text: text.split())), *other.pipeline.steps[1:]])
    with pytest.raises(ArtifactError, match="cannot be pickled"):
        artifact.export_any(replace(other, pipeline=pipeline), tmp_path / "none")
    with pytest.raises(ArtifactError, match="cannot score"):
        artifact.export_any(replace(other, pipeline=training.make_pipeline()), tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_a_service_loads_no_scientific_library(exported: artifact.Artifact) -> None:
    code = (
        "import sys; from pathlib import Path; from mlops_helpers.model import artifact; "
        "artifact.load(Path(sys.argv[1])).is_spam('hello'); print(*sys.modules)"
    )
    command = [sys.executable, "-c", code, str(exported.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert not {"numpy", "pandas", "sklearn", "scipy", "mlflow"} & set(done.stdout.split())


def test_a_place_that_cannot_be_written(model, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceError, match="writable folder"):
        artifact.export(model, tmp_path / "file" / "artifact")
