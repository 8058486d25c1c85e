"""The one folder that a run may write to, and writing there so that nothing half-written stays behind."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlops_helpers.errors import WorkspaceError

__all__ = [
    "atomic_file",
    "atomic_folder",
    "cache",
    "one_at_a_time",
    "project_root",
    "workspace",
    "workspace_path",
    "writable_folder",
]


def project_root() -> Path:
    """Return the checkout that the current folder lies in, or the current folder outside a checkout.

    A checkout is known by its ``pyproject.toml`` beside ``mlops_helpers/``.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "pyproject.toml").is_file() and (folder / "mlops_helpers").is_dir():
            return folder
    return here


def workspace(*parts: str) -> Path:
    """Return a folder below the workspace, made if missing.

    The workspace is ``OPSLAB_WORKSPACE`` if set, else ``build/workspace`` of the checkout, so that a notebook
    finds the same folder from wherever it is started.

    Raises ``WorkspaceError`` when the folder cannot be made or written.
    """
    return writable_folder(workspace_path(*parts), "export OPSLAB_WORKSPACE=FOLDER")


def workspace_path(*parts: str) -> Path:
    """Return where :func:`workspace` would be, and make nothing."""
    return _path("OPSLAB_WORKSPACE", "workspace", parts)


def cache(*parts: str) -> Path:
    """Return a folder for what may be thrown away and made again (downloads, prepared databases).

    It is ``OPSLAB_CACHE`` if set, else ``build/cache`` of the checkout; unlike the workspace, all notebooks share it.

    Raises ``WorkspaceError`` when the folder cannot be made or written.
    """
    return writable_folder(_path("OPSLAB_CACHE", "cache", parts), "export OPSLAB_CACHE=FOLDER")


def _path(variable: str, default: str, parts: tuple[str, ...]) -> Path:
    return Path(os.environ.get(variable) or project_root() / "build" / default).joinpath(*parts)


def writable_folder(folder: Path, remedy: str) -> Path:
    """Make a folder if it is missing, see that files can be made in it, and return it resolved.

    Raises ``WorkspaceError`` otherwise; ``remedy`` is the command that would name another folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # os.access is no answer: root, ACLs, read-only mounts
            pass
    except OSError as error:
        raise _not_writable(folder, error, remedy) from error
    return folder.resolve()


def _not_writable(path: Path, error: OSError, remedy: str = "export OPSLAB_WORKSPACE=FOLDER") -> WorkspaceError:
    return WorkspaceError(
        f"cannot write to {path}: {error.strerror or error}. "
        f"A writable folder with free space is needed; name one: {remedy}"
    )


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; it becomes ``path`` on success and vanishes on any failure.

    Raises ``WorkspaceError`` when the folder cannot be written or the disk is full.
    """
    with _staged(path) as stage:
        yield stage / path.name
        (stage / path.name).replace(path)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder; it becomes ``path`` (replacing a folder there) on success, else vanishes.

    Killed between the two renames of a replacement, it leaves no folder at ``path``, but never a mixture.

    Raises ``WorkspaceError`` when the parent folder cannot be written or the disk is full.
    """
    with _staged(path) as stage:
        fresh = stage / path.name
        fresh.mkdir()
        yield fresh
        old = stage / "replaced"
        try:
            if path.exists():
                path.rename(old)
            fresh.rename(path)
        except BaseException:  # an interrupt between the two, too, must leave one of them
            if old.exists() and not path.exists():
                old.rename(path)
            raise


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Let whoever else asks for the same file, in any process, wait until the block has ended, however it ends."""
    import fcntl  # POSIX only, and needed by few

    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _staged(path: Path) -> Iterator[Path]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise _not_writable(path.parent, error) from error
    try:
        yield stage
    except OSError as error:
        if error.filename is None or str(stage) in f"{error.filename}\n{error.filename2}":
            raise _not_writable(path.parent, error) from error
        raise
    finally:
        shutil.rmtree(stage, ignore_errors=True)
