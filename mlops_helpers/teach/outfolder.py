"""The folder that runs write into: one run at a time, and nothing is touched in it that no run made.

``.opslab-run.json`` there is the ledger of what runs made: files with their hash, and the folders of workspaces. What
is not in it, or was changed since, belongs to somebody else. A run writes its files into a stage, and they take their
places together at its end; a run that was killed while they did is completed by the next one.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mlops_helpers.errors import ParameterError, WorkspaceError
from mlops_helpers.workspace import atomic_file, writable_folder

__all__ = ["INDEX", "REMEDY", "RESULTS", "OutFolder", "locked", "refuse_sources"]

REMEDY = "opslab run --out FOLDER"
INDEX, RESULTS, LEDGER, WORKSPACES = "index.html", "results.json", ".opslab-run.json", "workspaces"
_STAGE = re.compile(r"\.opslab-run-[0-9a-f]{32}")


def refuse_sources(out: Path, notebooks: Iterable[Path]) -> None:
    """Raise ``ParameterError`` when a notebook lies in the output folder, at any depth, by path or by links."""
    folder = Path(os.path.realpath(out))
    for path in notebooks:
        if any(place.is_relative_to(folder) for place in (Path(os.path.realpath(path)), _shown(path))):
            raise ParameterError(
                f"the output folder {out} holds the notebook {path}, which its executed copy could overwrite. "
                f"Accepted is a folder that holds none of the notebooks to run. Name another: {REMEDY}"
            )


@contextlib.contextmanager
def locked(out: Path, remedy: str = REMEDY) -> Iterator[Path]:
    """Give the output folder, made if missing and resolved, to one run alone; ``remedy`` names another.

    The lock is on the folder itself, leaves no file, and ends with the process however that ends. Some network
    file systems have no locks: there the user keeps runs into one folder apart.

    Raises ``WorkspaceError`` when another run writes there, or nobody can.
    """
    import fcntl  # not on Windows, where opslab check works too

    folder = writable_folder(out, remedy)
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


class OutFolder:
    """What runs made in a folder (resolved, and locked by the caller), and the places of what this run makes.

    ``rows`` are the notebooks' rows in ``results.json`` of earlier runs, as far as the notebooks are still there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ledger = _json(folder / LEDGER)
        self._files: dict[str, str] = dict(ledger.get("files", {}))  # name -> hash
        self._coming: dict[str, str] = dict(ledger.get("coming", {}))  # the same, while a stage takes its place
        self._folders: list[str] = list(ledger.get("folders", []))
        self._stage = str(ledger.get("stage", ""))
        self._recover()
        stored = _json(folder / RESULTS) if self._is_ours(RESULTS) else {}
        self.rows: list[dict[str, Any]] = [row for row in stored.get("notebooks", []) if self._source_exists(row)]

    def source(self, notebook: Path) -> str:
        """Return how the folder knows a notebook: by the path that leads there from the folder, as both may move."""
        return os.path.relpath(_shown(notebook), self.folder)

    def layout(self, notebooks: list[Path]) -> dict[Path, Path]:
        """Return where each notebook's files go below the folder (no suffix).

        A notebook keeps the place that an earlier run gave it. Others lie there as they lie together; where another
        notebook has that place, the names of the folders above make the difference.
        """
        held = {row["source"]: Path(row["executed"]).with_suffix("") for row in self.rows if row["executed"]}
        base = Path(os.path.commonpath([_shown(path).parent for path in notebooks])) if notebooks else Path()
        places: dict[Path, Path] = {}
        for path in notebooks:
            taken = [Path(INDEX).with_suffix(""), Path(WORKSPACES), *held.values(), *places.values()]
            above, place = base, _shown(path).relative_to(base).with_suffix("")
            while any(place.is_relative_to(other) or other.is_relative_to(place) for other in taken) and above.name:
                above, place = above.parent, above.name / place
            places[path] = held.get(self.source(path), place)
        return places

    def refuse_foreign(self, places: Iterable[Path], *, workspaces: bool) -> None:
        """Raise ``WorkspaceError`` when something that no run made stands where this run's files are to be."""
        places = list(places)
        names = [INDEX, RESULTS, *(f"{place}{suffix}" for place in places for suffix in (".ipynb", ".html"))]
        foreign = [name for name in names if not self._is_free(name)]
        if workspaces:
            foreign += [name for name in map(_workspace, places) if not self._is_free_folder(name)]
        if foreign:
            raise WorkspaceError(
                f"{self.folder} holds what no run made there, or what was changed since: {', '.join(foreign[:5])}. "
                f"Accepted is a new folder, or one with nothing but earlier runs' own files in these places. "
                f"Move that away, or name another folder: {REMEDY}"
            )

    def fresh_workspace(self, place: Path) -> Path:
        """Return a notebook's own workspace, emptied of what an earlier run left in it."""
        name = _workspace(place)
        self._folders = sorted({*self._folders, name})
        self._write()  # first: killed before it is used, the folder is known as ours
        shutil.rmtree(self.folder / name, ignore_errors=True)
        return writable_folder(self.folder / name, REMEDY)

    @contextlib.contextmanager
    def stage(self) -> Iterator[Path]:
        """Give a folder for this run's files; they come to nothing unless they are published."""
        self._stage = f".opslab-run-{uuid.uuid4().hex}"
        self._write()
        try:
            yield writable_folder(self.folder / self._stage, REMEDY)
        finally:
            self._recover()

    def publish(self, rows: list[dict[str, Any]]) -> None:
        """Let the staged files take their places, and let go what no row names any more."""
        stage = self.folder / self._stage
        fresh = {str(path.relative_to(stage)): _hash(path) for path in stage.rglob("*") if path.is_file()}
        for name in fresh:
            if not self._is_free(name):
                raise WorkspaceError(
                    f"{self.folder / name} was made or changed by somebody else while the notebooks ran; "
                    f"nothing there is replaced. Move it away, or name another folder: {REMEDY}"
                )
        named = {row[key] for row in rows for key in ("executed", "page")}
        self._coming = {name: value for name, value in self._files.items() if name in named} | fresh
        self._write()
        self._recover()

    def _recover(self) -> None:
        """Complete what was being published, drop any other stage."""
        if not _STAGE.fullmatch(self._stage):
            return
        stage = self.folder / self._stage
        if self._coming:
            for name in sorted(self._coming, key=(INDEX, RESULTS).__contains__):  # these last: they speak of the others
                if (stage / name).is_file() and self._is_free(name):
                    (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (stage / name).replace(self.folder / name)
            for name in self._files.keys() - self._coming.keys():
                if self._is_ours(name):
                    (self.folder / name).unlink()
            self._files, self._coming = self._coming, {}
        shutil.rmtree(stage, ignore_errors=True)
        self._stage = ""
        self._write()

    def _write(self) -> None:
        ledger = {"files": self._files, "coming": self._coming, "folders": self._folders, "stage": self._stage}
        with atomic_file(self.folder / LEDGER) as stage:
            stage.write_text(json.dumps(ledger, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    def _is_ours(self, name: str) -> bool:
        path = self.folder / name
        known = {table[name] for table in (self._files, self._coming) if name in table}
        whole = self._is_below(name) and path.is_file() and not path.is_symlink()
        return bool(known) and whole and _hash(path) in known

    def _is_free(self, name: str) -> bool:
        return self._is_below(name) and (not os.path.lexists(self.folder / name) or self._is_ours(name))

    def _is_free_folder(self, name: str) -> bool:
        path = self.folder / name
        free = not os.path.lexists(path) or (name in self._folders and path.is_dir() and not path.is_symlink())
        return free and self._is_below(name)

    def _is_below(self, name: str) -> bool:
        """Whether the way from the folder to a name leads through true folders only, made already or not."""
        way = [self.folder / parent for parent in Path(name).parents[:-1]]
        plain = all(not os.path.lexists(path) or (path.is_dir() and not path.is_symlink()) for path in way)
        return plain and not Path(name).is_absolute() and ".." not in Path(name).parts

    def _source_exists(self, row: dict[str, Any]) -> bool:
        return os.path.lexists(self.folder / row["source"])


def _shown(path: Path) -> Path:
    """Return the full path where the user sees a notebook: a link lies where it is."""
    return path.parent.resolve() / path.name


def _workspace(place: Path) -> str:
    return f"{WORKSPACES}/{place.as_posix()}"


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or not ours
        return {}
    return content if isinstance(content, dict) else {}


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
