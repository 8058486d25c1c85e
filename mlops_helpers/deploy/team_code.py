"""Running code that a team wrote, in a process of its own, with the packages that it asks for.

In this process it could change what is judged, and two releases' modules of one name cannot be loaded side by side.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from mlops_helpers.errors import PipelineError

__all__ = ["cleaned", "install", "newest", "pinned", "run_python", "stage_utility", "unpack"]

UTILITY = "text_utility"
_SECONDS = 60.0
_HASH = re.compile(r"\s--hash=sha256:([0-9a-f]{64})")
_CLEAN = """
import json, sys, text_utility
json.dump([text_utility.clean(text) for text in json.load(sys.stdin)], sys.stdout)
"""


def run_python(
    arguments: Sequence[str],
    *,
    path: Sequence[Path],
    folder: Path,
    given: str = "",
    environment: Mapping[str, str] | None = None,
    seconds: float = _SECONDS,
) -> str:
    """Run Python with modules found in ``path`` first, and return what it prints.

    Raises ``PipelineError`` with its last words when it fails or takes longer than ``seconds``.
    """
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(one) for one in path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONIOENCODING": "utf-8",
        **(environment or {}),
    }
    command = [sys.executable, "-P", *arguments]
    try:
        done = subprocess.run(
            command, cwd=folder, env=variables, input=given.encode(), capture_output=True, timeout=seconds
        )
    except subprocess.TimeoutExpired as error:
        raise PipelineError(f"it took longer than {seconds:g} s") from error
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace").strip().splitlines()
        raise PipelineError("\n".join(said[-15:]) or f"it ended with exit code {done.returncode}")
    return done.stdout.decode()


def stage_utility(source: Path, utility: str, files: Sequence[str], requirements: str, into: Path) -> None:
    """Put a text utility, the files that it reads and the packages that it asks for into a folder.

    Raises ``PipelineError`` naming what the source, or its ``packages``, does not have.
    """
    into.mkdir(parents=True, exist_ok=True)
    for name, target in ((utility, f"{UTILITY}.py"), *((file, Path(file).name) for file in files)):
        if not (source / name).is_file():
            raise PipelineError(f"the source has no file {name}. Next: add it, or correct the setting that names it")
        shutil.copyfile(source / name, into / target)
    install(source / requirements, source / "packages", into)


def cleaned(texts: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> list[str]:
    """Return texts as the utility in a folder cleans them. Raises ``PipelineError`` when it fails."""
    given = json.dumps(list(texts))
    found: Any = json.loads(
        run_python(["-c", _CLEAN], path=[folder], folder=folder, given=given, environment=environment)
    )
    return [str(text) for text in found]


def pinned(requirements: Path) -> list[tuple[Requirement, str]]:
    """Return what a requirements file asks for: each with the hash that its line names, or "".

    Raises ``PipelineError`` for a line that is no requirement, or a file that is missing.
    """
    try:
        lines = requirements.read_text("utf-8").splitlines()
    except OSError as error:
        raise PipelineError(f"{requirements.name} cannot be read: {error.strerror}") from error
    found = []
    for line in lines:
        text = line.partition("#")[0].strip()
        if text:
            digest = _HASH.search(text)
            try:
                found.append((Requirement(_HASH.sub("", text).strip()), digest[1] if digest else ""))
            except InvalidRequirement as error:
                raise PipelineError(f"{requirements.name}: {line!r} is no requirement: {error}") from error
    return found


def install(requirements: Path, packages: Path, into: Path) -> None:
    """Unpack the newest fitting wheel of each requirement, from a folder and no network.

    Raises ``PipelineError`` when none fits, or it is not the one that the requirement's hash names.
    """
    for requirement, digest in pinned(requirements):
        wheel = _newest(requirement, packages)
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if digest and found != digest:
            raise PipelineError(f"{wheel.name} has the hash {found}, {requirements.name} names {digest}")
        unpack(wheel, into)


def unpack(wheel: Path, into: Path) -> None:
    """Unpack a wheel of pure Python."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(into)  # it leaves out .. and absolute paths


def newest(packages: Path) -> dict[str, Path]:
    """Return the newest wheel of each package in a folder."""
    found: dict[str, tuple[Version, Path]] = {}
    for wheel in packages.glob("*.whl"):
        name, version, _, _ = parse_wheel_filename(wheel.name)
        if name not in found or found[name][0] < version:
            found[name] = (version, wheel)
    return {name: wheel for name, (_, wheel) in found.items()}


def _newest(requirement: Requirement, packages: Path) -> Path:
    versions = {}
    for wheel in packages.glob("*.whl"):
        name, version, _, _ = parse_wheel_filename(wheel.name)
        if name == canonicalize_name(requirement.name):
            versions[version] = wheel
    fitting = sorted(requirement.specifier.filter(versions))
    if not fitting:
        there = ", ".join(map(str, sorted(versions))) or "none"
        raise PipelineError(f"no package fits {requirement}; there are of {requirement.name}: {there}")
    return versions[fitting[-1]]
