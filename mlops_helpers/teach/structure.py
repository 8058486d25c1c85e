"""The anatomy of a chapter as rules: small functions over a parsed notebook, each with a name.

A rule yields the cells that break it and what to do. ``CHAPTER_RULES`` is the list for chapters; other kinds
of notebooks take a shorter list of the same functions.
"""

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops_helpers.errors import NotebookError, ParameterError
from mlops_helpers.teach import documents, parameters
from mlops_helpers.teach.documents import CHECK_TAG, Cell, Document

__all__ = ["CHAPTER_RULES", "Breach", "Rule", "check"]

MAX_LINES = 15
MIN_CHECKS = 3
TITLE = re.compile(r"# (\d\d)\. \S+")
TITLE_WORDS = ("do", "learn", "need", "minutes", "consumes", "produces")
MAGIC = re.compile(r"^\s*(!|%{1,2}\w)|\?{1,2}\s*$")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|tmp|Users)/|\b[A-Za-z]:\\")

Finding = tuple[Cell | None, str]


@dataclass(frozen=True)
class Rule:
    """A named rule; ``apply`` yields (cell or None for the whole notebook, what to do)."""

    name: str
    apply: Callable[[Document], Iterator[Finding]]

    @property
    def summary(self) -> str:
        """What the rule demands, in one line."""
        return (self.apply.__doc__ or "").splitlines()[0]


@dataclass(frozen=True)
class Breach:
    """One place where a notebook breaks a rule."""

    path: Path
    cell: Cell | None
    rule: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.cell.id or '-'} ({self.cell.index})" if self.cell else "notebook"
        return f"{self.path}:{place}: {self.rule}: {self.remedy}"


def check(paths: Iterable[str | Path] = (), rules: Sequence[Rule] | None = None) -> list[Breach]:
    """Return every breach of every rule in every notebook; all chapters and their rules by default.

    A file that is not a notebook is a breach of the rule ``readable``. Raises ``NotebookError`` for a path
    without notebooks.
    """
    breaches = []
    for path in documents.select(paths):
        try:
            document = documents.read(path)
        except NotebookError as error:
            breaches.append(Breach(path, None, "readable", str(error)))
            continue
        for rule in CHAPTER_RULES if rules is None else rules:
            breaches += [Breach(path, cell, rule.name, remedy) for cell, remedy in rule.apply(document)]
    return breaches


def _code(document: Document) -> list[Cell]:
    return [cell for cell in document.cells if cell.is_code]


def _after_parameters(document: Document) -> list[Cell]:
    """Return the code cells that follow the parameters cell."""
    code = _code(document)
    places = [place for place, cell in enumerate(code) if "parameters" in cell.tags]
    return code[places[0] + 1 :] if places else []


def _nodes(cell: Cell) -> Iterator[ast.AST]:
    yield from ast.walk(cell.tree) if cell.tree else ()


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
    if _code(document)[0] is not cells[0]:
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
    if following and not any(isinstance(node, ast.Raise) for node in _nodes(following[0])):
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
    for cell in _code(document):
        imports = [node for node in _nodes(cell) if isinstance(node, ast.Import | ast.ImportFrom)]
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


def short_cells(document: Document) -> Iterator[Finding]:
    """A code cell has at most 15 lines."""
    for cell in _code(document):
        if (lines := len(cell.source.rstrip().splitlines())) > MAX_LINES:
            yield cell, f"split it: {lines} lines, at most {MAX_LINES}"


def plain_python(document: Document) -> Iterator[Finding]:
    """Code is plain Python: it parses, without !, %, ? and get_ipython."""
    for cell in _code(document):
        magic = next((line for line in cell.source.splitlines() if MAGIC.search(line)), "")
        if cell.tree is None:
            what = (
                f"replace the magic `{magic.strip()}` by Python"
                if magic
                else "mend its syntax: it does not parse"
            )
            yield cell, what
        elif any(isinstance(node, ast.Name) and node.id == "get_ipython" for node in _nodes(cell)):
            yield cell, "do without get_ipython"


def no_star_imports(document: Document) -> Iterator[Finding]:
    """No star imports: a reader sees where each name comes from."""
    for cell in _code(document):
        for node in _nodes(cell):
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                yield cell, f"name what you import from {node.module}"


def no_sys_path(document: Document) -> Iterator[Finding]:
    """No meddling with sys.path: the package is installed."""
    for cell in _code(document):
        for node in _nodes(cell):
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
    for cell in _code(document):
        if not cell.is_check and (cell.outputs or cell.execution_count is not None):
            yield cell, "clear its output and count: opslab refresh"


def no_errors(document: Document) -> Iterator[Finding]:
    """No error is stored as an output."""
    for cell in _code(document):
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


def _text(value: object) -> str:
    if isinstance(value, dict):
        return "\n".join(_text(part) for key, part in value.items() if not str(key).startswith("image/"))
    if isinstance(value, list | tuple):
        # A multi-line text is stored as a list of lines.
        return "".join(map(_text, value))
    return f"{value}"


def no_pictures_in_checks(document: Document) -> Iterator[Finding]:
    """A check cell stores text only: nbval does not compare pictures."""
    for cell in document.cells:
        if cell.is_check and any(
            kind.startswith("image/") for out in cell.outputs for kind in out.get("data", {})
        ):
            yield cell, "draw in another cell, and state the conclusion here as text"


def clean_up_last(document: Document) -> Iterator[Finding]:
    """Near the end, under a heading that says "clean", a code cell cleans up."""
    places = [
        i for i, cell in enumerate(document.cells) if any("clean" in h.lower() for h in _headings(cell))
    ]
    following = document.cells[places[-1] + 1 : places[-1] + 2] if places else ()
    if not any(cell.is_code for cell in following):
        yield None, "clean up at the end: a heading 'Clean up', then a code cell that is safe to run twice"
    elif sum(cell.is_code for cell in document.cells[places[-1] :]) > MIN_CHECKS:
        yield document.cells[places[-1]], "move the clean-up to the end"


def summary_last(document: Document) -> Iterator[Finding]:
    """The notebook ends with a heading that says "summary" and no code after it."""
    for cell in reversed(document.cells):
        if cell.is_code:
            break
        if any("summary" in heading.lower() for heading in _headings(cell)):
            return
    yield None, "end with a heading 'Summary' that answers the opening's promises"


CHAPTER_RULES: tuple[Rule, ...] = (
    Rule("format", valid_format),
    Rule("kernel", python_kernel),
    Rule("title", title_first),
    Rule("parameters", parameters_typed),
    Rule("validation", validation_follows),
    Rule("imports", one_imports_cell),
    Rule("markdown-first", markdown_first),
    Rule("short-cells", short_cells),
    Rule("plain-python", plain_python),
    Rule("star-imports", no_star_imports),
    Rule("sys-path", no_sys_path),
    Rule("checks", enough_checks),
    Rule("other-outputs", no_other_outputs),
    Rule("errors", no_errors),
    Rule("machine-paths", no_machine_paths),
    Rule("pictures", no_pictures_in_checks),
    Rule("clean-up", clean_up_last),
    Rule("summary", summary_last),
)
