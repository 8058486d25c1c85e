"""Gates for what comes from elsewhere: are these the revisions that belong together, and is everything there?"""

import ast
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlops_helpers.deploy.gates import Job
from mlops_helpers.errors import GateRefused, PipelineError

__all__ = ["dependencies", "imported", "sources"]

REVISION = "revision.toml"  # beside a file of data: what its repository says of it


def sources(job: Job) -> Mapping[str, Any]:
    """Refuse data of another revision than the one that the release was written for.

    ``[revisions]`` of ``release.toml`` names it; the data say theirs in ``revision.toml`` beside them. Of simulated
    comments and published corpora the name is the revision.
    """
    wanted = _table(job.source / "release.toml", "revisions").get("data")
    source = str(_table(job.source / "training.toml", "data").get("source"))
    beside = job.source / Path(source).parent / REVISION
    about = tomllib.loads(beside.read_text("utf-8")) if beside.is_file() else {"revision": source}
    found = about.get("revision")
    if found != wanted:
        note = f" ({about['note']})" if "note" in about else ""
        raise GateRefused(
            f"the data {source} are revision {found!r}{note}, release.toml was written for {wanted!r}; accepted: one "
            "and the same. Next: name data of that revision in training.toml, or adapt the code to these and say so in "
            "release.toml"
        )
    return {"data": found}


def dependencies(job: Job) -> Mapping[str, Any]:
    """Refuse a bundle whose code imports what it does not bring, wherever the import stands: also within a function.

    A service that starts proves only that what is imported at its start is there.
    """
    app = job.needs["package"] / "app"
    brought = {path.stem for path in app.iterdir()} | set(sys.stdlib_module_names)
    needed = {(path, name) for path in sorted(app.rglob("*.py")) for name in imported(path.read_text("utf-8"))}
    missing = sorted((name, str(path.relative_to(app))) for path, name in needed if name not in brought)
    if missing:
        said = ", ".join(f"{name} (in {path})" for name, path in missing)
        raise GateRefused(
            f"the bundle's code imports what is not in it: {said}; accepted: the standard library, and what the "
            "service's requirements name. Next: add it to requirements.txt with its version and hash"
        )
    return {"imports": sorted({name for _, name in needed})}


def imported(code: str) -> Iterator[str]:
    """Yield the first part of each absolute import of a module, wherever in it."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]


def _table(path: Path, name: str) -> dict[str, Any]:
    found = tomllib.loads(path.read_text("utf-8")).get(name)
    if not isinstance(found, dict):
        raise PipelineError(f"{path.name} has no table [{name}]. Next: take release_source's as a model")
    return found
