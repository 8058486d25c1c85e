"""Rules on what cells contain and store, wherever they stand. Each yields (cell, what to do)."""

import ast
import re
from collections.abc import Iterator

from mlops_helpers.teach.documents import CHECK_TAG, Cell, Document

__all__ = [
    "enough_checks",
    "no_errors",
    "no_machine_paths",
    "no_other_outputs",
    "no_pictures_in_checks",
    "no_star_imports",
    "no_sys_path",
    "plain_python",
    "short_cells",
]

MAX_LINES = 15
MIN_CHECKS = 3
MAGIC = re.compile(r"^\s*(!|%{1,2}\w)|\?{1,2}\s*$")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|tmp|Users)/|\b[A-Za-z]:\\")

Finding = tuple[Cell | None, str]


def _text(value: object) -> str:
    if isinstance(value, dict):
        return "\n".join(_text(part) for key, part in value.items() if not str(key).startswith("image/"))
    if isinstance(value, list | tuple):
        # A multi-line text is stored as a list of lines.
        return "".join(map(_text, value))
    return f"{value}"


def short_cells(document: Document) -> Iterator[Finding]:
    """A code cell has at most 15 lines."""
    for cell in document.code:
        if (lines := len(cell.source.rstrip().splitlines())) > MAX_LINES:
            yield cell, f"split it: {lines} lines, at most {MAX_LINES}"


def plain_python(document: Document) -> Iterator[Finding]:
    """Code is plain Python: it parses, without !, %, ? and get_ipython."""
    for cell in document.code:
        magic = next((line for line in cell.source.splitlines() if MAGIC.search(line)), "")
        if cell.tree is None:
            what = f"replace the magic `{magic.strip()}` by Python" if magic else "mend its syntax: it does not parse"
            yield cell, what
        elif any(isinstance(node, ast.Name) and node.id == "get_ipython" for node in cell.nodes):
            yield cell, "do without get_ipython"


def no_star_imports(document: Document) -> Iterator[Finding]:
    """No star imports: a reader sees where each name comes from."""
    for cell in document.code:
        for node in cell.nodes:
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                yield cell, f"name what you import from {node.module}"


def no_sys_path(document: Document) -> Iterator[Finding]:
    """No meddling with sys.path: the package is installed."""
    for cell in document.code:
        for node in cell.nodes:
            attribute = isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path"
            imported = isinstance(node, ast.ImportFrom) and node.module == "sys"
            if attribute or (imported and any(alias.name == "path" for alias in getattr(node, "names", ()))):
                yield cell, "leave sys.path alone"


def enough_checks(document: Document) -> Iterator[Finding]:
    """At least three check cells, each with a stored output and an execution count."""
    cells = [cell for cell in document.cells if cell.is_check]
    if len(cells) < MIN_CHECKS:
        yield None, f"tag at least {MIN_CHECKS} cells {CHECK_TAG} (found {len(cells)})"
    for cell in cells:
        if not cell.outputs or cell.execution_count is None:
            yield cell, "store its output: opslab refresh"


def no_other_outputs(document: Document) -> Iterator[Finding]:
    """Cells that are not checks are stored without outputs and execution counts."""
    for cell in document.code:
        if not cell.is_check and (cell.outputs or cell.execution_count is not None):
            yield cell, "clear its output and count: opslab refresh"


def no_errors(document: Document) -> Iterator[Finding]:
    """No error is stored as an output."""
    for cell in document.code:
        if any(output.get("output_type") == "error" for output in cell.outputs):
            yield cell, "mend what raises, then: opslab refresh"


def no_machine_paths(document: Document) -> Iterator[Finding]:
    """No absolute path of one machine, in sources or in outputs."""
    for cell in document.cells:
        for where, text in (("source", cell.source), ("output", _text(cell.outputs))):
            if match := MACHINE_PATH.search(text):
                yield (
                    cell,
                    f"take the path {match[0]} out of the {where}: show names relative to the workspace",
                )


def no_pictures_in_checks(document: Document) -> Iterator[Finding]:
    """A check cell stores text only: nbval does not compare pictures."""
    for cell in document.cells:
        if cell.is_check and any(kind.startswith("image/") for out in cell.outputs for kind in out.get("data", {})):
            yield cell, "draw in another cell, and state the conclusion here as text"
