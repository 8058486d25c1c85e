"""Rules on the anatomy of a notebook: which cells stand where. Each yields (cell, what to do)."""

import ast
import re
from collections.abc import Iterator

from mlops_helpers.errors import ParameterError
from mlops_helpers.teach import parameters
from mlops_helpers.teach.documents import Cell, Document

__all__ = [
    "clean_up_last",
    "markdown_first",
    "one_imports_cell",
    "parameters_typed",
    "python_kernel",
    "summary_last",
    "title_first",
    "valid_format",
    "validation_follows",
]

TITLE = re.compile(r"# (\d\d)\. \S+")
TITLE_WORDS = ("do", "learn", "need", "minutes", "consumes", "produces")
AFTER_CLEAN_UP = 3  # code cells

Finding = tuple[Cell | None, str]


def _after_parameters(document: Document) -> list[Cell]:
    """Return the code cells that follow the parameters cell."""
    code = document.code
    places = [place for place, cell in enumerate(code) if "parameters" in cell.tags]
    return code[places[0] + 1 :] if places else []


def _headings(cell: Cell) -> list[str]:
    return re.findall(r"^#+\s+(.*)$", cell.source, re.MULTILINE) if cell.kind == "markdown" else []


def valid_format(document: Document) -> Iterator[Finding]:
    """The file is valid nbformat 4.5 or newer, and each cell has an id of its own."""
    import nbformat  # slow to load

    if document.content.get("nbformat_minor", 0) < 5:
        yield None, "save it as nbformat 4.5 (JupyterLab does; cells then have ids)"
        return
    seen: set[str] = set()
    for cell in document.cells:
        if not cell.id or cell.id in seen:
            yield cell, "give the cell an id of its own"
        seen.add(cell.id)
    if len(seen) == len(document.cells) and "" not in seen:
        try:
            nbformat.validate(document.content)
        except nbformat.ValidationError as error:
            yield None, f"mend what breaks the format: {str(error).splitlines()[0]}"


def python_kernel(document: Document) -> Iterator[Finding]:
    """The kernelspec is python3, which every installation has."""
    name = document.content.get("metadata", {}).get("kernelspec", {}).get("name")
    if name != "python3":
        yield None, f"set metadata.kernelspec.name to python3 (found {name!r})"


def title_first(document: Document) -> Iterator[Finding]:
    """The first cell is "# NN. Verb ..." with do, learn, need, minutes, consumes, produces."""
    cell = document.cells[0] if document.cells else None
    match = TITLE.match(cell.source) if cell is not None and cell.kind == "markdown" else None
    if cell is None or match is None:
        yield cell, "open with a markdown cell '# NN. Verb ...'"
        return
    if document.path.name[:2].isdigit() and not document.path.name.startswith(match[1]):
        yield cell, f"number the title as the file: {document.path.name[:2]}, not {match[1]}"
    words = set(re.findall(r"\w+", cell.source.lower()))
    if missing := [word for word in TITLE_WORDS if word not in words]:
        yield cell, f"say in the title cell also: {', '.join(missing)}"


def parameters_typed(document: Document) -> Iterator[Finding]:
    """One cell tagged parameters, first of the code: "name: type = literal  # help" a line."""
    cells = parameters.parameters_cells(document)
    if len(cells) != 1:
        yield None, f"tag exactly one code cell 'parameters' (found {len(cells)})"
        return
    if document.code[0] is not cells[0]:
        yield cells[0], "move the parameters before all other code"
    try:
        for parameter in parameters.declared(document).values():
            if not parameter.help:
                yield cells[0], f"explain {parameter.name} in a comment on its line"
            parameter.check_default()
    except ParameterError as error:
        yield cells[0], str(error)


def validation_follows(document: Document) -> Iterator[Finding]:
    """The code cell after the parameters raises on a bad value."""
    following = _after_parameters(document)
    if following and not any(isinstance(node, ast.Raise) for node in following[0].nodes):
        yield (
            following[0],
            "validate the parameters here: raise with what was found, what is accepted, an example",
        )
    if not following and parameters.parameters_cells(document):
        yield None, "follow the parameters with a cell that validates them"


def one_imports_cell(document: Document) -> Iterator[Finding]:
    """All imports stand in one cell, the first after the validation.

    ``from typing import ...`` may also open the parameters cell, whose types may need it.
    """
    having = []
    for cell in document.code:
        imports = [node for node in cell.nodes if isinstance(node, ast.Import | ast.ImportFrom)]
        if "parameters" in cell.tags:
            imports = [node for node in imports if getattr(node, "module", "") != "typing"]
        if imports:
            having.append(cell)
    place = _after_parameters(document)[1:2]
    if place and place[0] not in having:
        yield place[0], "make this, the code cell after the validation, the imports cell"
    for cell in having:
        if place and cell is not place[0]:
            yield cell, "move the imports to the imports cell"


def markdown_first(document: Document) -> Iterator[Finding]:
    """A markdown cell stands before each code cell."""
    for before, cell in zip((None, *document.cells), document.cells, strict=False):
        if cell.is_code and (before is None or before.kind != "markdown"):
            yield cell, "say in a markdown cell before it what it does or what to predict"


def clean_up_last(document: Document) -> Iterator[Finding]:
    """Near the end, under a heading that says "clean", a code cell cleans up."""
    places = [i for i, cell in enumerate(document.cells) if any("clean" in h.lower() for h in _headings(cell))]
    following = document.cells[places[-1] + 1 : places[-1] + 2] if places else ()
    if not any(cell.is_code for cell in following):
        yield None, "clean up at the end: a heading 'Clean up', then a code cell that is safe to run twice"
    elif sum(cell.is_code for cell in document.cells[places[-1] :]) > AFTER_CLEAN_UP:
        yield document.cells[places[-1]], "move the clean-up to the end"


def summary_last(document: Document) -> Iterator[Finding]:
    """The notebook ends with a heading that says "summary" and no code after it."""
    for cell in reversed(document.cells):
        if cell.is_code:
            break
        if any("summary" in heading.lower() for heading in _headings(cell)):
            return
    yield None, "end with a heading 'Summary' that answers the opening's promises"
