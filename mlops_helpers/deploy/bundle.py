"""What ships: model, text utility, packages, configuration and migrations in one folder, every byte known by its hash.

::

    bundle.json    the hashes of all other files; its own hash is the bundle's identity
    artifact/      the model
    app/           what the filter's process finds beside its own code: text_utility.py, what it reads, its packages
    service.toml   how the filter is run
    migrations/    what the database needs first
    probes.json    texts with the scores that the quality gate judged
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_helpers.deploy.pipeline_store import hashes
from mlops_helpers.deploy.release_settings import ServiceSettings, read
from mlops_helpers.deploy.team_code import UTILITY, run_python
from mlops_helpers.errors import ArtifactError, TamperedArtifactError
from mlops_helpers.model import artifact as artifacts
from mlops_helpers.serve.preparing import VARIABLE
from mlops_helpers.workspace import atomic_folder

__all__ = ["Bundle", "load", "seal"]

_MANIFEST = "bundle.json"
_SCORES = """
import json, sys
from mlops_helpers.model import artifact
from mlops_helpers.serve.preparing import prepared
scorer = prepared(artifact.load(sys.argv[1], sys.argv[2])).scorer
json.dump(scorer.scores(json.load(sys.stdin)), sys.stdout)
"""


@dataclass(frozen=True)
class Bundle:
    """A verified bundle; ``sha256`` stands for every byte of it."""

    folder: Path
    sha256: str
    artifact: artifacts.Artifact
    service: ServiceSettings

    @property
    def version(self) -> str:
        """The name that it serves by."""
        return f"r-{self.sha256[:10]}"

    @property
    def migrations(self) -> Path:
        """The folder of what the database needs first."""
        return self.folder / "migrations"

    def declared(self) -> dict[str, str]:
        """Return the variables of the filter's process that do not depend on where the bundle lies."""
        return {VARIABLE: UTILITY, **self.service.environment}

    def placed(self, runtime: str) -> dict[str, Any]:
        """Return ``environment`` and ``image`` of a filter of this bundle on a runtime, making the image if need be."""
        if runtime == "process":
            here = {"PYTHONPATH": str((self.folder / "app").resolve()), "PYTHONDONTWRITEBYTECODE": "1"}
            return {"environment": {**self.declared(), **here}, "image": ""}
        from mlops_helpers.deploy.bundle_image import build_bundle_image

        return {"environment": self.declared(), "image": build_bundle_image(self)}

    def probes(self) -> tuple[list[str], list[float]]:
        """Return texts and the scores that were judged."""
        probes = json.loads((self.folder / "probes.json").read_text("utf-8"))
        return probes["texts"], probes["scores"]

    def scores(self, texts: Sequence[str]) -> list[float]:
        """Return the spam scores of texts, computed in a process with the bundle's environment.

        Raises ``PipelineError`` with its last words when it cannot.
        """
        command = ["-c", _SCORES, str(self.artifact.folder), self.artifact.sha256]
        found: list[float] = json.loads(
            run_python(
                command,
                path=[self.folder / "app"],
                folder=self.folder,
                given=json.dumps(list(texts)),
                environment=self.declared(),
            )
        )
        return found

    def copy(self, folder: Path) -> "Bundle":
        """Copy it, and return the verified copy."""
        with atomic_folder(folder) as fresh:
            shutil.copytree(self.folder, fresh, dirs_exist_ok=True)
        return load(folder, self.sha256)


def seal(folder: Path) -> Bundle:
    """Write the hashes of what was put into a folder, and return it as a bundle."""
    manifest = {"files": hashes(folder)}
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return load(folder)


def load(folder: Path, expected_sha256: str | None = None) -> Bundle:
    """Verify every byte of a bundle and return it.

    Raises ``ArtifactError`` when there is none, ``TamperedArtifactError`` when a file was changed, added or removed, or
    its hash is not the expected one.
    """
    folder = Path(folder)
    try:
        raw = (folder / _MANIFEST).read_bytes()
        named: dict[str, Any] = json.loads(raw)["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"no bundle in {folder}: {error!r}. Next: run the pipeline, which makes one") from error
    found = hashlib.sha256(raw).hexdigest()
    if expected_sha256 is not None and found != expected_sha256:
        raise TamperedArtifactError(f"the bundle in {folder} has the hash {found}, expected is {expected_sha256}")
    here = hashes(folder)
    del here[_MANIFEST]
    if wrong := sorted(name for name in named.keys() | here.keys() if named.get(name) != here.get(name)):
        raise TamperedArtifactError(
            f"the bundle in {folder} is not what was made: {', '.join(wrong[:3])} changed, added or missing. "
            "Next: run the pipeline again"
        )
    model = folder / "artifact"
    digest = hashlib.sha256((model / "manifest.json").read_bytes()).hexdigest()  # trusted: the bundle names its bytes
    return Bundle(folder, found, artifacts.load(model, digest), read(ServiceSettings, folder))
