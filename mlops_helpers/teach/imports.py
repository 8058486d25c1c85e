"""What a set of notebooks imports, read from their syntax: the list that a kernel server may load ahead."""

import ast
import functools
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from mlops_helpers.teach.documents import Document

__all__ = ["Import", "imports_of"]

#: A module, and the name taken from it (itself perhaps a module) or "".
Import = tuple[str, str]

OWN = "mlops_helpers"


def imports_of(documents: Iterable[Document]) -> list[Import]:
    """Return the imports at the top level of the notebooks' code cells, in order, each once.

    This package's rooms load heavy libraries only where they use them, that is, inside functions; for a
    notebook that imports a room those libraries follow it in the list. Left out is what a file beside one of
    the notebooks would shadow: loaded ahead, the wrong module would win.
    """
    found: dict[Import, None] = {}
    beside: set[str] = set()
    for document in documents:
        folder = document.path.resolve().parent
        beside |= {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}
        for cell in document.cells:
            for item in _imported(cell.tree.body if cell.tree else []):
                found.setdefault(item)
                found.update(dict.fromkeys(_behind(item)))
    return [item for item in found if item[0].partition(".")[0] not in beside]


def _imported(nodes: Iterable[ast.AST]) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level and node.module != "__future__":
            yield from ((node.module, "" if alias.name == "*" else alias.name) for alias in node.names)


def _behind(item: Import) -> list[Import]:
    """Return what the modules of this package behind ``item`` import, at any depth."""
    reached: dict[Import, None] = {}
    ahead = [item]
    while ahead:
        module, name = ahead.pop()
        if module.partition(".")[0] != OWN:
            continue
        for source in filter(None, (_source(module), _source(f"{module}.{name}") if name else None)):
            for following in _imported(ast.walk(_tree(source))):
                if following not in reached:
                    reached[following] = None
                    ahead.append(following)
    return list(reached)


@functools.cache
def _source(module: str) -> Path | None:
    # Submodules of this package are plain files: find_spec would execute the packages above them.
    root = importlib.util.find_spec(OWN)
    if root is None or not root.submodule_search_locations:
        return None
    base = Path(root.submodule_search_locations[0]).joinpath(*module.split(".")[1:])
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


@functools.cache
def _tree(source: Path) -> ast.Module:
    try:
        return ast.parse(source.read_text(encoding="utf-8"))
    except (SyntaxError, OSError) as error:  # the notebook that imports it will say so, with its traceback
        print(f"opslab: {source} is not read for preloading: {error}", file=sys.stderr)
        return ast.Module(body=[], type_ignores=[])
