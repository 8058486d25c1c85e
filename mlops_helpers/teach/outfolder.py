"""The folder that a run writes into: one run at a time, each notebook's place in it, and the previous run's files."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from mlops_helpers.errors import WorkspaceError
from mlops_helpers.workspace import writable_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["REMEDY", "forget_previous", "layout", "locked"]

REMEDY = "opslab run --out FOLDER"


@contextlib.contextmanager
def locked(out: Path, remedy: str = REMEDY) -> Iterator[Path]:
    """Give the output folder, made if missing and resolved, to one run alone; ``remedy`` names another.

    The lock is on the folder itself, leaves no file, and ends with the process however that ends. Without it (no
    ``fcntl`` on Windows, no locks on some network file systems) runs into one folder at the same time destroy each
    other's workspaces: the user keeps them apart.

    Raises ``WorkspaceError`` when another run writes there, or nobody can.
    """
    folder = writable_folder(out, remedy)
    if fcntl is None:
        yield folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorkspaceError(f"another run writes to {out}; wait for it, or name another: {remedy}") from None
        except OSError:  # the file system has no locks
            pass
        yield folder
    finally:
        os.close(descriptor)


def layout(paths: list[Path]) -> dict[Path, Path]:
    """Return where each notebook's files go below the output folder (no suffix): as they lie together."""
    full = [path.parent.resolve() / path.name for path in paths]  # a link lies where the user sees it
    base = Path(os.path.commonpath([path.parent for path in full])) if full else Path()
    return {path: whole.relative_to(base).with_suffix("") for path, whole in zip(paths, full, strict=True)}


def forget_previous(out: Path) -> dict[str, float]:
    """Remove what the previous run wrote into ``out``; return how long each notebook took, in seconds.

    Only files that its ``results.json`` names are removed: the folder may be the user's own.
    """
    record = out / "results.json"
    try:
        rows = json.loads(record.read_text(encoding="utf-8"))["notebooks"]
        names = [row[key] for row in rows for key in ("executed", "page") if row[key]]
        seconds = {row["notebook"]: float(row["seconds"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or not ours
        return {}
    for name in [*names, "index.html", "results.json"]:
        path = (out / name).resolve()
        if path.is_relative_to(out):
            path.unlink(missing_ok=True)
    return seconds
