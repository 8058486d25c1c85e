"""The gate of what must not ship: secrets, packages that nobody pinned, programs instead of data, too many bytes."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlops_helpers.deploy.gates import Job
from mlops_helpers.deploy.release_settings import ServiceSettings, TrainingSettings, read
from mlops_helpers.deploy.team_code import pinned
from mlops_helpers.errors import GateRefused

__all__ = ["security"]

_SECRETS = {
    "a private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "an access key of a cloud": re.compile(rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a token of a code host": re.compile(rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{50,}|glpat-[\w-]{20,})"),
    "a password": re.compile(rb"(?i)\b(?:password|passwd|secret|api_?key|token)\s*[=:]\s*[\"'][^\"'\s]{8,}[\"']"),
}
_PROGRAMS = {".pkl", ".pickle", ".joblib", ".so", ".dll", ".exe", ".pyc"}


def security(job: Job) -> Mapping[str, Any]:
    """Refuse secrets, unpinned packages, what runs when it is loaded, and a bundle of more than ``largest_mb``."""
    bundle = job.needs["package"]
    size = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
    wrong = [*_secrets(job.source), *_unpinned(job.source), *_programs(bundle)]
    if size > (most := job.setting("largest_mb", 25.0)) * 1e6:
        wrong.append(f"the bundle has {size / 1e6:.1f} MB; accepted: at most {most:g}")
    if wrong:
        raise GateRefused(f"{'; '.join(wrong)}. Next: remove it; a secret that was committed is to be replaced, too")
    job.say(f"{size} bytes")
    return {"bytes": size}


def _secrets(source: Path) -> Iterator[str]:
    for path in sorted(one for one in source.rglob("*") if one.is_file()):
        content = path.read_bytes()
        for what, pattern in _SECRETS.items():
            if found := pattern.search(content):
                line = content.count(b"\n", 0, found.start()) + 1
                yield f"{path.relative_to(source)}, line {line}: {what}"


def _unpinned(source: Path) -> Iterator[str]:
    files = {read(settings, source).requirements for settings in (TrainingSettings, ServiceSettings)}
    for file in sorted(files):
        for requirement, digest in pinned(source / file):
            if not digest:
                yield f"{file}: {requirement} names no hash, so that anything of that name would be taken"


def _programs(bundle: Path) -> Iterator[str]:
    for path in sorted(bundle.rglob("*")):
        if path.suffix in _PROGRAMS and path.is_file():
            yield f"{path.relative_to(bundle)} is a program that nobody can read; accepted: data and sources"
