"""The artifact says what the pipeline says, is the same bytes for the same model, and refuses any other byte."""

import json
from array import array
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline

from mlops_helpers.errors import ArtifactError, TamperedArtifactError
from mlops_helpers.model import artifact as artifacts
from mlops_helpers.model import training
from mlops_helpers.model.scorer import Scorer

FILES = ["SHA256SUMS", "manifest.json", "terms.json", "weights.f64"]
ALPHABET = st.one_of(
    st.characters(),  # all of Unicode, lone surrogates included
    st.sampled_from(list("aAbe .,!?-_'\n\t\r\x0b\x0c\x00\x1c\x85\u00a0\u1680\u2028\u3000\u200b\u200d\ufeffİıßŉﬁǅΣς́😀")),
)


@pytest.fixture
def copy(artifact, tmp_path: Path) -> Path:
    """A copy of the artifact's folder that a test may damage."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in FILES:
        (folder / name).write_bytes((artifact.folder / name).read_bytes())
    return folder


# what it says


@settings(max_examples=60)
@given(texts=st.lists(st.text(ALPHABET, max_size=80), min_size=1, max_size=20))
@example(texts=[" ".join(["Check out my channel"] * 50)])
@example(texts=["free" * 5000, "a " * 3000])
@example(texts=["CHECK ＣＨＥＣＫ ℂ𝔥𝔢𝔠𝔨 c\u0301h\u200beck"])
def test_scores_are_those_of_the_pipeline(artifact, model, texts: list[str]) -> None:
    for text, expected in zip(texts, model.scores(texts), strict=True):
        assert abs(artifact.score(text) - expected) <= 1e-9


@settings(max_examples=40)
@given(data=st.data())
def test_scores_agree_on_texts_made_of_known_terms(artifact, model, data: st.DataObject) -> None:
    words, characters = json.loads((artifact.folder / "terms.json").read_text())
    pieces = data.draw(st.lists(st.sampled_from(words + characters[:2000]), min_size=1, max_size=30))
    text = data.draw(st.sampled_from([" ", "", "\u00a0", ", "])).join(pieces)
    assert abs(artifact.score(text) - model.scores([text])[0]) <= 1e-9


def test_verdicts_follow_the_threshold(artifact, model, tmp_path: Path) -> None:
    text = "check out my channel"
    score = artifact.score(text)
    for threshold, spam in ((score, True), (min(score * 1.0001, 0.9999), False)):
        assert artifacts.export(replace(model, threshold=threshold), tmp_path / "t").is_spam(text) is spam


def test_the_same_model_gives_the_same_bytes(artifact, comments, tmp_path: Path) -> None:
    again = artifacts.export(training.train(comments.frame, comments.sha256), tmp_path / "again")
    assert again.sha256 == artifact.sha256
    assert sorted(path.name for path in again.folder.iterdir()) == FILES
    for name in FILES:
        assert (again.folder / name).read_bytes() == (artifact.folder / name).read_bytes()
        assert b"sklearn" not in (again.folder / name).read_bytes()  # data only


def test_scores_far_on_the_ham_side_do_not_overflow(copy: Path) -> None:
    forge(copy, intercept=-1e6)
    assert artifacts.load(copy).score("hello") == 0


# what it refuses to load


@pytest.mark.parametrize("name", FILES)
def test_any_changed_missing_or_additional_byte_is_refused(copy: Path, name: str) -> None:
    original = (copy / name).read_bytes()
    places = sorted({0, len(original) // 3, len(original) // 2, len(original) - 2})
    changed = [original[:at] + bytes([original[at] ^ 1]) + original[at + 1 :] for at in places]
    for content in (*changed, b"", original[:-1], original + b"\n"):
        (copy / name).write_bytes(content)
        with pytest.raises(ArtifactError):
            artifacts.load(copy)
    (copy / name).write_bytes(original)
    artifacts.load(copy)
    (copy / name).unlink()
    with pytest.raises(ArtifactError, match="Next: export the model again"):
        artifacts.load(copy)


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
    lines = [f"{sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in FILES[1:]]
    (folder / "SHA256SUMS").write_text("".join(lines))


def test_a_careful_forgery_is_known_by_its_hash_only(copy: Path, artifact) -> None:
    assert artifacts.load(copy, artifact.sha256).sha256 == artifact.sha256
    forge(copy, threshold=0.9)
    assert artifacts.load(copy).threshold == 0.9
    with pytest.raises(TamperedArtifactError, match=f"expected is {artifact.sha256}"):
        artifacts.load(copy, artifact.sha256)


BLOCK = {"name": "word", "analyzer": "word", "ngrams": [1, 2], "sublinear_tf": True, "terms": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "opslab-linear-text/99"},
        {"format": None},
        {"blocks": []},
        {"blocks": [BLOCK | {"analyzer": "eval"}]},
        {"files": {}},
        {"files": {"../../etc/passwd": {"sha256": "x", "bytes": 1}}},
        {"intercept": "x"},
        {"intercept": float("inf")},
        {"threshold": float("nan")},
        {"threshold": None},
        {"threshold": 1.5},
    ],
)
def test_a_forged_manifest_is_refused(copy: Path, changes: dict[str, object]) -> None:
    forge(copy, **changes)
    with pytest.raises(ArtifactError):
        artifacts.load(copy)


@pytest.mark.parametrize("content", [b"[]", b"nonsense", b"\xff\xfe", b'{"a":' * 50_000])
def test_a_manifest_that_is_no_object_is_refused(copy: Path, content: bytes) -> None:
    forge(copy, content)
    with pytest.raises(ArtifactError):
        artifacts.load(copy)


@pytest.mark.parametrize("ngrams", [[1, 10**9], [0, 2], [2, 1], [1.0, 2.0], ["1", "2"], [1], [True, True]])
def test_ngrams_that_would_fail_or_never_end_are_refused(copy: Path, artifact, ngrams: list[object]) -> None:
    forge(copy, blocks=[{**block, "ngrams": ngrams} for block in artifact.manifest["blocks"]])
    with pytest.raises(ArtifactError, match="not an artifact"):
        artifacts.load(copy)


@pytest.mark.parametrize(
    ("sixth", "reason"),
    [([float("nan")], "finite"), ([float("inf")], "finite"), ([-1.0], "positive"), ([], "not of one length")],
)
def test_weights_that_make_no_sense_are_refused(copy: Path, sixth: list[float], reason: str) -> None:
    weights = array("d")
    weights.frombytes((copy / "weights.f64").read_bytes())
    forge(copy, weights=weights[:5] + array("d", sixth) + weights[6:])
    with pytest.raises(ArtifactError, match=reason):
        artifacts.load(copy)


def test_repeated_terms_are_refused(copy: Path) -> None:
    terms = json.loads((copy / "terms.json").read_text())
    terms[0][1] = terms[0][0]
    (copy / "terms.json").write_text(json.dumps(terms))
    forge(copy)
    with pytest.raises(ArtifactError, match="not distinct"):
        artifacts.load(copy)


# what an export replaces, and what it refuses to write


def test_an_export_replaces_nothing_but_an_artifact(model, artifact, tmp_path: Path) -> None:
    own = {
        "thesis": {"thesis.txt": b"precious"},
        "my-pipeline": {"pipeline.pkl": b"precious"},  # names that an artifact's files have, too
        "my-site": {"manifest.json": b'{"name": "precious", "files": {"manifest.json": 1}}', "terms.json": b"[]"},
        "with-notes": {name: (artifact.folder / name).read_bytes() for name in FILES} | {"notes.txt": b"precious"},
    }
    for folder, files in own.items():
        (tmp_path / folder).mkdir()
        for name, content in files.items():
            (tmp_path / folder / name).write_bytes(content)
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to(artifact.folder)
    for place in (*own, "file", "link"):
        with pytest.raises(ArtifactError, match=r"replaces nothing but an artifact\. Next: name another folder"):
            artifacts.export(model, tmp_path / place)
    for folder, files in own.items():
        assert {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()} == files
    assert (tmp_path / "file").read_text() == "precious"
    (tmp_path / "new").mkdir()
    first = artifacts.export(model, tmp_path / "new")
    assert artifacts.export(model, tmp_path / "new").sha256 == first.sha256


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
        artifacts.export(odd, tmp_path / "odd")
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_disagrees_with_the_pipeline_is_refused(model, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Scorer, "score", lambda self, text: 0.123)
    with pytest.raises(ArtifactError, match="at most 1e-9 apart"):
        artifacts.export(model, tmp_path / "wrong")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sublinear", [True, False])
@pytest.mark.parametrize("ngrams", [(1, 1), (2, 3)])
def test_other_settings_of_the_supported_shape_are_exact_too(
    comments, model, tmp_path: Path, sublinear: bool, ngrams: tuple[int, int]
) -> None:
    char = TfidfVectorizer(analyzer="char_wb", ngram_range=ngrams, sublinear_tf=sublinear, min_df=2)
    pipeline = fitted(comments, tfidf=union(char), model=LogisticRegression())
    exported = artifacts.export(replace(model, pipeline=pipeline), tmp_path / "artifact")
    texts = comments.frame["text"].tail(50).tolist()
    for text, expected in zip(texts, pipeline.predict_proba(texts)[:, 1], strict=True):
        assert abs(exported.score(text) - expected) <= 1e-9
