"""A notebook file as this course sees it: finding, reading and writing ``.ipynb`` files.

Reading needs nothing beyond the standard library, so that bad input is refused before anything slow is
loaded.
"""

import ast
import functools
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_helpers.errors import NotebookError
from mlops_helpers.workspace import atomic_file, project_root

__all__ = ["CHECK_TAG", "Cell", "Document", "read", "select", "write"]

CHECK_TAG = "nbval-check-output"


@dataclass(frozen=True)
class Cell:
    """One cell. ``index`` counts from 0 with the markdown cells; ``id`` is empty where the file has none."""

    index: int
    id: str
    kind: str
    source: str
    tags: tuple[str, ...]
    outputs: tuple[dict[str, Any], ...]
    execution_count: int | None

    @property
    def is_code(self) -> bool:
        """Whether the kernel executes this cell."""
        return self.kind == "code"

    @property
    def is_check(self) -> bool:
        """Whether nbval compares this cell's output with the stored one."""
        return self.is_code and CHECK_TAG in self.tags

    @functools.cached_property
    def tree(self) -> ast.Module | None:
        """The cell's syntax tree, or None where it is not code or does not parse as Python."""
        try:
            return ast.parse(self.source) if self.is_code else None
        except (SyntaxError, ValueError):  # ValueError: null bytes
            return None

    @property
    def nodes(self) -> Iterator[ast.AST]:
        """All nodes of the syntax tree; none where it does not parse."""
        return ast.walk(self.tree or ast.Module(body=[], type_ignores=[]))


@dataclass(frozen=True)
class Document:
    """A notebook as it is stored. ``content`` is the file's JSON: treat it as read-only."""

    path: Path
    content: dict[str, Any]

    @functools.cached_property
    def cells(self) -> tuple[Cell, ...]:
        """All cells in order."""
        return tuple(_cell(index, raw) for index, raw in enumerate(self.content["cells"]))

    @property
    def code(self) -> list[Cell]:
        """The code cells in order."""
        return [cell for cell in self.cells if cell.is_code]

    @property
    def title(self) -> str:
        """The first heading, or the file's name where there is none."""
        for cell in self.cells:
            for line in cell.source.splitlines() if cell.kind == "markdown" else ():
                if line.startswith("#"):
                    return line.lstrip("#").strip()
        return self.path.stem


def _cell(index: int, raw: dict[str, Any]) -> Cell:
    source = raw.get("source", "")
    tags = raw.get("metadata", {}).get("tags", [])
    return Cell(
        index=index,
        id=str(raw.get("id", "")),
        kind=str(raw.get("cell_type", "")),
        source=source if isinstance(source, str) else "".join(source),
        tags=tuple(tags) if isinstance(tags, list) else (),
        outputs=tuple(raw.get("outputs", ())),
        execution_count=raw.get("execution_count"),
    )


def select(paths: Iterable[str | Path] = ()) -> list[Path]:
    """Return the notebooks that ``paths`` name: files, folders (the notebooks directly in them) and globs.

    Without paths: ``notebooks/`` of the checkout, that is, all chapters. The order is that of the arguments,
    sorted by name within each; a notebook named twice is taken once.

    Raises ``NotebookError`` for a path that does not exist or selects no notebook.
    """
    found: dict[str, Path] = {}
    default = os.path.relpath(project_root() / "notebooks")  # messages are short where the user stands
    for given in map(Path, list(paths) or [default]):
        for path in _matches(given):
            found.setdefault(os.path.realpath(path), path)  # unlike resolve(), it bears links in a circle
    return list(found.values())


def _matches(given: Path) -> list[Path]:
    if given.is_file() or (given.is_symlink() and not given.exists()):  # a broken link is one unreadable notebook
        if given.suffix != ".ipynb":
            raise NotebookError(f"{given} is not a notebook. Notebooks are files whose name ends in .ipynb")
        return [given]
    if given.is_dir():
        matches = sorted(given.glob("*.ipynb"))
    else:
        # A glob that the shell did not expand (quoted, or a shell without globs).
        base = Path(given.anchor)
        matches = sorted(m for m in base.glob(str(given.relative_to(base))) if m.suffix == ".ipynb")
    matches = [m for m in matches if not m.is_dir() and not any(part.startswith(".ipynb_") for part in m.parts)]
    if not matches:
        what = "has no notebook in it" if given.is_dir() else "does not exist"
        raise NotebookError(f"{given} {what}. Name notebooks, folders or globs: opslab run 'notebooks/0*.ipynb'")
    return matches


def read(path: Path) -> Document:
    """Read one notebook.

    Raises ``NotebookError`` when the file cannot be read or is not a notebook in nbformat 4.
    """
    try:
        return parse(path, path.read_bytes())
    except OSError as error:
        raise NotebookError(f"{path}: cannot be read: {error.strerror or error}") from error


def parse(path: Path, text: bytes) -> Document:
    """Return the notebook that stood in a file as ``text`` (UTF-8).

    Raises ``NotebookError`` when it is not a notebook in nbformat 4.
    """
    try:
        content = json.loads(text.decode("utf-8"))
    except ValueError as error:  # broken JSON and broken UTF-8 alike
        raise NotebookError(
            f"{path}: is not a notebook: not valid JSON ({error}). "
            f"Look for a merge conflict or a cut-off file; git has the last good one: git checkout -- {path}"
        ) from error
    if not isinstance(content, dict) or content.get("nbformat") != 4:
        version = content.get("nbformat", "none") if isinstance(content, dict) else "none"
        raise NotebookError(
            f"{path}: nbformat {version} found, 4 is needed. "
            f"Convert it: jupyter nbconvert --to notebook --nbformat 4 --inplace {path}"
        )
    cells = content.get("cells")
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise NotebookError(f"{path}: is not a notebook: no list of cells in it")
    return Document(path, content)


def write(path: Path, notebook: dict[str, Any]) -> None:
    """Write a notebook in one stable form of JSON (``nbformat``'s: indent 1, sorted keys, split lines).

    Raises ``WorkspaceError`` when the folder cannot be written; what stood there before then stays.
    """
    import nbformat  # slow to load: only where something is written

    text = nbformat.writes(nbformat.from_dict(notebook), version=nbformat.NO_CONVERT)
    with atomic_file(path) as stage:
        stage.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
        if path.exists():
            shutil.copymode(path, stage)
