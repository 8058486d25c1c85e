"""What a service needs of a model, in a folder whose every byte is verified before it is used.

::

    manifest.json   format, threshold, origin (data hash, code version, library versions), files' hashes
    SHA256SUMS      for ``sha256sum --check``; the artifact's hash is that of manifest.json
    ...             the files of the format

The format, :mod:`~mlops_helpers.model.linear`, is data only and needs the standard library alone; its scores are those
of the pipeline to within 1e-9.
"""

import json
import sys
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_helpers.errors import ArtifactError
from mlops_helpers.model import linear, sealed
from mlops_helpers.model.scorer import Scoring
from mlops_helpers.workspace import atomic_folder

if TYPE_CHECKING:  # training brings scikit-learn, which a service does not have
    from mlops_helpers.model.training import TrainedModel

__all__ = ["Artifact", "Scoring", "export", "load"]

_LIBRARIES = ("scikit-learn", "numpy", "scipy")
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
    scorer: Scoring

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


def export(model: "TrainedModel", folder: Path) -> Artifact:
    """Write a model as an artifact of data only, replacing the folder; return it loaded and compared with the pipeline.

    The same model gives the same bytes. Nothing is left behind when it fails, and nothing but an artifact is replaced.

    Raises ``ArtifactError`` when the pipeline's shape is not supported or the scores differ by more than 1e-9,
    ``WorkspaceError`` when the folder cannot be written.
    """
    _refuse_strangers(Path(folder))
    described, contents = linear.tables(model.pipeline)
    return _write(model, Path(folder), {"format": linear.FORMAT, **described}, contents)


def _refuse_strangers(folder: Path) -> None:
    strangers = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    with suppress(OSError, ValueError, TypeError, KeyError):  # without a manifest of ours, all files are strangers
        manifest = json.loads((folder / sealed.MANIFEST).read_bytes())
        if manifest["format"] == linear.FORMAT:
            own = {sealed.MANIFEST, sealed.SUMS, *manifest["files"]}
            strangers = [path.name for path in folder.iterdir() if path.name not in own]
    if strangers or folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        found = f"holds {', '.join(sorted(strangers)[:3])}" if strangers else "is not a folder"
        raise ArtifactError(
            f"{folder} {found}; an artifact replaces nothing but an artifact. Next: name another folder"
        )


def _write(model: "TrainedModel", folder: Path, described: dict[str, Any], contents: dict[str, bytes]) -> Artifact:
    from importlib.metadata import version  # takes longer to import than all that a service needs of this room

    manifest = described | {
        "threshold": model.threshold,
        "data_sha256": model.data_sha256,
        "code_version": model.code_version,
        "hyperparameters": model.hyperparameters,
        "versions": {
            "python": f"{sys.version_info.major}.{sys.version_info.minor}",
            "unicode": unicodedata.unidata_version,  # decides what a word and a lower-case letter is
            **{name: version(name) for name in _LIBRARIES},
        },
    }
    try:
        expected = model.pipeline.predict_proba(_PROBES)[:, 1]
    except (AttributeError, ValueError) as error:  # scikit-learn's NotFittedError is both
        raise ArtifactError(f"the pipeline cannot score: {error}; accepted: a fitted pipeline of texts") from error
    with atomic_folder(folder) as fresh:
        digest = sealed.write(fresh, manifest, contents)
        scorer = load(fresh, digest).scorer
        for text, wanted, found in zip(_PROBES, expected, scorer.scores(_PROBES), strict=True):
            if not abs(found - wanted) <= 1e-9:
                raise ArtifactError(
                    f"the artifact scores {text!r} {found!r}, the pipeline {wanted!r}; accepted: at most 1e-9 apart. "
                    "This is a defect of the export: nothing was written"
                )
    return load(folder, digest)


def load(folder: Path, expected_sha256: str | None = None) -> Artifact:
    """Read an artifact, verifying every byte before it is used.

    ``expected_sha256`` is the hash that the caller trusts, such as the registry's: without it an artifact can only be
    found whole, not genuine.

    Raises ``ArtifactError`` when it is missing or of another format, ``TamperedArtifactError`` when a hash differs.
    """
    folder = Path(folder)
    try:
        digest, manifest = sealed.read_manifest(folder, expected_sha256)
        threshold, form = manifest["threshold"], manifest.get("format")
        if form != linear.FORMAT:
            raise ArtifactError(f"{folder} is of format {form!r}; accepted: {linear.FORMAT}. {sealed.NEXT}")
        if not (type(threshold) is float and 0 < threshold < 1):
            raise ValueError(f"threshold {threshold!r}; accepted: a number between 0 and 1")

        def content_of(name: str) -> bytes:
            return sealed.read_file(folder, name, manifest)

        return Artifact(folder, digest, manifest, linear.read(manifest, content_of))
    except OSError as error:
        raise ArtifactError(f"no artifact in {folder}: {error.strerror}: {error.filename}. {sealed.NEXT}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{folder} is not an artifact: {error!r}. {sealed.NEXT}") from error
