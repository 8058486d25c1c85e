"""What a model was made by: the code, the libraries and the commit."""

import hashlib
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

from mlops_helpers.workspace import project_root

__all__ = ["code_version", "git_commit", "pinned_requirements"]


@cache
def code_version() -> str:
    """Return a hash of everything but data that decides a model: this room's code and the versions it computes with."""
    here = Path(__file__).parent
    names = ("text", "schema", "training", "artifact", "sealed", "linear")
    parts = [(here / f"{name}.py").read_bytes() for name in names]
    parts += [f"{name}=={version(name)}".encode() for name in ("numpy", "scipy", "scikit-learn")]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def git_commit() -> str:
    """Return the checkout's commit, with ``+changes`` when files differ from it; ``none`` outside a repository."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=project_root(), capture_output=True, text=True, check=True, timeout=20
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):  # no git, no repository, or not ours to read
        return "none"


def pinned_requirements() -> list[str]:
    """Return the requirements of the pipeline at the installed versions; MLflow would search for them for seconds."""
    return [f"{name}=={version(name)}" for name in ("numpy", "scikit-learn", "scipy")]
