"""What a service needs of a model, as data only: no pickle, no code, nothing of scikit-learn to run it.

An artifact is a folder::

    manifest.json   format, threshold, blocks, origin (data hash, code version, library versions), files' hashes
    terms.json      the vocabularies, one list a block, in the order of the weights
    weights.f64     little-endian float64: for each block all idf, then all coefficients
    SHA256SUMS      for ``sha256sum --check``; the artifact's hash is that of manifest.json

Loading needs the standard library alone and refuses files whose bytes are not those that the hashes name. Scores are
those of the pipeline, to within 1e-9.
"""

import hashlib
import json
import math
import sys
import unicodedata
from array import array
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_helpers.errors import ArtifactError, TamperedArtifactError
from mlops_helpers.model.scorer import ANALYZERS, Scorer
from mlops_helpers.workspace import atomic_folder

if TYPE_CHECKING:  # training brings scikit-learn, which a service does not have
    from sklearn.feature_extraction.text import TfidfVectorizer

    from mlops_helpers.model.training import TrainedModel

__all__ = ["FORMAT", "Artifact", "export", "load"]

FORMAT = "opslab-linear-text/1"
LONGEST_NGRAM = 16  # longer ones would make the time of scoring explode
_MANIFEST, _TERMS, _WEIGHTS, _SUMS = "manifest.json", "terms.json", "weights.f64", "SHA256SUMS"
_FILES = {_MANIFEST, _TERMS, _WEIGHTS, _SUMS}
_NEXT = "Next: export the model again, or take the artifact from the registry"

_PROBES = (
    "",
    " \t\n ",
    "a",
    "Check out my NEW channel!!! http://www.example.com/x?y=1",
    "great great great song, great song",
    "İstanbul ΑΣ ß ŉ ﬁ Ǆ",
    "e\u0301 \u200bzero\u200bwidth \ufeff nbsp\u00a0here",
    "日本語 テスト 한국어 👍🏽👍🏽",
    "\ud800 lone \x00 nul",
)


@dataclass(frozen=True)
class Artifact:
    """A verified artifact: its folder, its hash (of the manifest, which names all others) and its manifest."""

    folder: Path
    sha256: str
    manifest: dict[str, Any]
    scorer: Scorer

    @property
    def threshold(self) -> float:
        """A comment is spam when its score is at least this."""
        return float(self.manifest["threshold"])

    def score(self, text: str) -> float:
        """Return the spam score of a text, 0 to 1."""
        return self.scorer.score(text)

    def is_spam(self, text: str) -> bool:
        """Whether the score of a text reaches the threshold."""
        return self.score(text) >= self.threshold


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _block(name: str, vectorizer: "TfidfVectorizer") -> dict[str, Any]:
    """Describe a fitted vectorizer, or raise ``ArtifactError`` for a setting that format 1 cannot express."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    if type(vectorizer) is not TfidfVectorizer:
        raise ArtifactError(f"block {name!r} is a {type(vectorizer).__name__}; {FORMAT} holds TfidfVectorizer only")
    settings, defaults = vectorizer.get_params(), TfidfVectorizer().get_params()
    free = {"analyzer", "ngram_range", "sublinear_tf", "min_df", "max_df", "max_features", "dtype"}
    odd = sorted(key for key, value in settings.items() if key not in free and value != defaults[key])
    if odd or settings["analyzer"] not in ANALYZERS:
        found = ", ".join(f"{key}={settings[key]!r}" for key in odd or ["analyzer"])
        raise ArtifactError(
            f"block {name!r} has {found}, which {FORMAT} cannot express; accepted: analyzer word or char_wb, any "
            "ngram_range, sublinear_tf, min_df, max_df, max_features, everything else as by default"
        )
    return {
        "name": name,
        "analyzer": settings["analyzer"],
        "ngrams": list(settings["ngram_range"]),
        "sublinear_tf": bool(settings["sublinear_tf"]),
        "terms": len(vectorizer.vocabulary_),
    }


def export(model: "TrainedModel", folder: Path) -> Artifact:
    """Write a model as an artifact, replacing the folder, and return it loaded and compared with the pipeline.

    The same model gives the same bytes. Nothing is left behind when it fails, and nothing but an artifact is replaced.

    Raises ``ArtifactError`` when the pipeline's shape is not supported or the scores differ by more than 1e-9,
    ``WorkspaceError`` when the folder cannot be written.
    """
    folder = Path(folder)
    strangers = [path.name for path in folder.iterdir() if path.name not in _FILES] if folder.is_dir() else []
    if strangers or folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        found = f"holds {', '.join(sorted(strangers)[:3])}" if strangers else "is not a folder"
        raise ArtifactError(
            f"{folder} {found}; an artifact replaces nothing but an artifact. Next: name another folder"
        )
    pipeline = model.pipeline
    try:
        union, regression = pipeline.named_steps["tfidf"], pipeline.named_steps["model"]
        transformers = union.transformer_list
        coefficients, intercept = regression.coef_[0], float(regression.intercept_[0])
    except (AttributeError, KeyError) as error:
        raise ArtifactError(
            f"the pipeline's steps are {list(pipeline.named_steps)}: {error}; accepted: a fitted pipeline as "
            "training.make_pipeline() gives it"
        ) from error
    blocks, terms, weights, at = [], [], array("d"), 0
    for name, vectorizer in transformers:
        block = _block(name, vectorizer)
        blocks.append(block)
        terms.append(vectorizer.get_feature_names_out().tolist())
        weights.frombytes(vectorizer.idf_.astype("<f8").tobytes())
        weights.frombytes(coefficients[at : at + block["terms"]].astype("<f8").tobytes())
        at += block["terms"]
    contents = {_TERMS: json.dumps(terms, separators=(",", ":")).encode(), _WEIGHTS: weights.tobytes()}
    manifest = {
        "format": FORMAT,
        "threshold": model.threshold,
        "intercept": intercept,
        "blocks": blocks,
        "data_sha256": model.data_sha256,
        "code_version": model.code_version,
        "hyperparameters": model.hyperparameters,
        "versions": {
            "python": f"{sys.version_info.major}.{sys.version_info.minor}",
            "unicode": unicodedata.unidata_version,  # decides what a word and a lower-case letter is
            "scikit-learn": version("scikit-learn"),
        },
        "files": {name: {"sha256": _sha256(data), "bytes": len(data)} for name, data in contents.items()},
    }
    contents[_MANIFEST] = (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode()
    contents[_SUMS] = _sums({name: _sha256(data) for name, data in contents.items()}).encode()
    with atomic_folder(folder) as fresh:
        for name, data in contents.items():
            (fresh / name).write_bytes(data)
        scorer = load(fresh).scorer
        for text, expected in zip(_PROBES, pipeline.predict_proba(_PROBES)[:, 1], strict=True):
            if abs(scorer.score(text) - expected) > 1e-9:
                raise ArtifactError(
                    f"the artifact scores {text!r} {scorer.score(text)!r}, the pipeline {expected!r}; accepted: at "
                    "most 1e-9 apart. This is a defect of the export: nothing was written"
                )
    return load(folder)


def load(folder: Path, expected_sha256: str | None = None) -> Artifact:
    """Read an artifact, verifying every byte before it is used.

    ``expected_sha256`` is the hash that the caller trusts, such as the registry's: without it an artifact can only be
    found whole, not genuine.

    Raises ``ArtifactError`` when it is missing or of another format, ``TamperedArtifactError`` when a hash differs.
    """
    folder = Path(folder)
    try:
        raw, sums = (folder / _MANIFEST).read_bytes(), (folder / _SUMS).read_text("utf-8")
        found = _sha256(raw)
        if expected_sha256 is not None and found != expected_sha256:
            raise TamperedArtifactError(f"{folder} has the hash {found}, expected is {expected_sha256}. {_NEXT}")
        manifest = json.loads(raw)
        if manifest.get("format") != FORMAT:
            raise ArtifactError(f"{folder} is of format {manifest.get('format')!r}; accepted: {FORMAT}. {_NEXT}")
        hashes = {name: manifest["files"][name]["sha256"] for name in (_TERMS, _WEIGHTS)} | {_MANIFEST: found}
        if sums != _sums(hashes):
            raise TamperedArtifactError(f"{folder / _SUMS} does not name the files that are there. {_NEXT}")
        contents = {name: _verified(folder / name, manifest["files"][name]) for name in (_TERMS, _WEIGHTS)}
        weights = array("d")
        weights.frombytes(contents[_WEIGHTS])
        if sys.byteorder == "big":
            weights.byteswap()
        terms = json.loads(contents[_TERMS])
        _check(manifest, terms, weights)
        return Artifact(folder, found, manifest, Scorer(manifest, terms, weights))
    except OSError as error:
        raise ArtifactError(f"no artifact in {folder}: {error.strerror}: {error.filename}. {_NEXT}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{folder} is not an artifact: {error!r}. {_NEXT}") from error


def _sums(hashes: dict[str, str]) -> str:
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(hashes.items()))


def _check(manifest: dict[str, Any], terms: list[list[str]], weights: array) -> None:
    """Raise ``ValueError`` for values with which scoring would fail, never end, or let everything pass."""
    lengths = [len(names) for names in terms]
    if lengths != [block["terms"] for block in manifest["blocks"]] or len(weights) != 2 * sum(lengths):
        raise ValueError("terms, weights and manifest are not of one length")
    for block, names in zip(manifest["blocks"], terms, strict=True):
        low, high = block["ngrams"]
        if not (type(low) is type(high) is int and 1 <= low <= high <= LONGEST_NGRAM):
            raise ValueError(f"ngrams {block['ngrams']}; accepted: two whole numbers from 1 to {LONGEST_NGRAM}")
        if not (isinstance(names, list) and len(set(names)) == len(names) and all(type(name) is str for name in names)):
            raise ValueError("terms are not distinct texts")
        if type(block["sublinear_tf"]) is not bool or block["analyzer"] not in ANALYZERS:
            raise ValueError(f"block {block}; accepted: sublinear_tf true or false, analyzer {' or '.join(ANALYZERS)}")
    threshold, intercept = manifest["threshold"], manifest["intercept"]
    if not (type(threshold) is float and 0 < threshold < 1):
        raise ValueError(f"threshold {threshold!r}; accepted: a number between 0 and 1")
    if not (math.isfinite(intercept) and all(map(math.isfinite, weights))):
        raise ValueError("intercept and weights are not all finite")


def _verified(path: Path, named: dict[str, Any]) -> bytes:
    size = path.stat().st_size
    if size != named["bytes"]:  # before reading: a replaced file may be huge
        raise TamperedArtifactError(f"{path} has {size} bytes, its manifest names {named['bytes']}. {_NEXT}")
    content = path.read_bytes()
    if _sha256(content) != named["sha256"]:
        raise TamperedArtifactError(
            f"{path} has the hash {_sha256(content)}, its manifest names {named['sha256']}. {_NEXT}"
        )
    return content
