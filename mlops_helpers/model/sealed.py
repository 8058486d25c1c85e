"""A folder of files under one hash: ``manifest.json`` names the bytes of all others, its own hash names the folder.

``SHA256SUMS`` repeats the hashes for ``sha256sum --check``.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from mlops_helpers.errors import TamperedArtifactError

__all__ = ["MANIFEST", "NEXT", "SUMS", "read_file", "read_manifest", "write"]

MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
NEXT = "Next: export the model again, or take the artifact from the registry"


def write(folder: Path, manifest: dict[str, Any], contents: dict[str, bytes]) -> str:
    """Write files with a manifest that names them into an empty folder, and return the folder's hash."""
    files = {name: {"sha256": _sha256(data), "bytes": len(data)} for name, data in contents.items()}
    raw = (json.dumps(manifest | {"files": files}, indent=2, sort_keys=True) + "\n").encode()
    digest = _sha256(raw)
    sums = _sums({name: _sha256(data) for name, data in contents.items()} | {MANIFEST: digest})
    for name, data in {**contents, MANIFEST: raw, SUMS: sums.encode()}.items():
        (folder / name).write_bytes(data)
    return digest


def read_manifest(folder: Path, expected_sha256: str | None) -> tuple[str, dict[str, Any]]:
    """Return a folder's hash and its manifest.

    Raises ``TamperedArtifactError`` when the hash is not the expected one or the sums are not those of the manifest.
    """
    raw, sums = (folder / MANIFEST).read_bytes(), (folder / SUMS).read_text("utf-8")
    found = _sha256(raw)
    if expected_sha256 is not None and found != expected_sha256:
        raise TamperedArtifactError(f"{folder} has the hash {found}, expected is {expected_sha256}. {NEXT}")
    manifest = json.loads(raw)
    if sums != _sums({name: entry["sha256"] for name, entry in manifest["files"].items()} | {MANIFEST: found}):
        raise TamperedArtifactError(f"{folder / SUMS} does not name the files that are there. {NEXT}")
    return found, manifest


def read_file(folder: Path, name: str, manifest: dict[str, Any]) -> bytes:
    """Return the bytes of a file. Raises ``TamperedArtifactError`` when they are not those that the manifest names."""
    path, named = folder / name, manifest["files"][name]
    size = path.stat().st_size
    if size != named["bytes"]:  # before reading: a replaced file may be huge
        raise TamperedArtifactError(f"{path} has {size} bytes, its manifest names {named['bytes']}. {NEXT}")
    content = path.read_bytes()
    found = _sha256(content)
    if found != named["sha256"]:
        raise TamperedArtifactError(f"{path} has the hash {found}, its manifest names {named['sha256']}. {NEXT}")
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sums(hashes: dict[str, str]) -> str:
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(hashes.items()))
