"""The parameters cell: what a notebook declares, and giving it values that are checked before anything runs.

The cell tagged ``parameters`` holds one ``name: type = literal  # help`` a line. It is parsed, never
executed.
"""

import ast
import difflib
import io
import tokenize
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mlops_helpers.errors import ParameterError
from mlops_helpers.teach.documents import Cell, Document

if TYPE_CHECKING:
    import pydantic

__all__ = ["Assignment", "Parameter", "assign", "declared", "describe", "parameters_cells"]

PLAIN_TYPES: dict[str, Any] = {t.__name__: t for t in (bool, int, float, str, list, dict, tuple)}
WORDS = {"true": True, "false": False, "none": None, "null": None}  # what people type for Python's constants


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell. ``annotation`` is the type as written, ``type`` what it means."""

    name: str
    annotation: str
    type: Any
    default: Any
    help: str

    def accept(self, given: object) -> Any:
        """Return ``given`` as a value of this parameter's type.

        A string is read as on the command line: literally where the type takes strings, else as a Python
        literal (``None`` and numbers win in unions such as ``str | None``).

        Raises ``ParameterError`` saying what was found, what is accepted, and an example.
        """
        import pydantic  # slow to load: only where a value is given

        if isinstance(given, str) and any("\ud800" <= c <= "\udfff" for c in given):
            raise ParameterError(
                f"parameter {self.name}: found {given!r}, which is not text: bytes that are not UTF-8. "
                f"Example: -p {self.name} {_as_typed(self.default)}"
            )
        for value in _readings(given):
            try:
                return self._strict().validate_python(value)
            except pydantic.ValidationError as error:
                reason = "; ".join(part["msg"] for part in error.errors()[:3])
        found = f"{given!r} ({type(given).__name__})" if not isinstance(given, str) else repr(given)
        raise ParameterError(
            f"parameter {self.name}: found {found}, accepted is {self.annotation}: {reason}. "
            f"Example: -p {self.name} {_as_typed(self.default)}"
        )

    def check_default(self) -> None:
        """Raise ``ParameterError`` where the default is not of the declared type."""
        import pydantic

        try:
            self._strict().validate_python(self.default)
        except pydantic.ValidationError:
            raise ParameterError(f"the default of {self.name}, {self.default!r}, is not {self.annotation}") from None

    def _strict(self) -> "pydantic.TypeAdapter[Any]":
        import pydantic

        # Strict: the text "5" is no int and 1.0 is no int; an int is a float.
        return pydantic.TypeAdapter(self.type, config=pydantic.ConfigDict(strict=True, allow_inf_nan=False))


@dataclass(frozen=True)
class Assignment:
    """Checked values for one notebook. ``changed`` names those that differ from the notebook's defaults."""

    values: dict[str, Any]
    changed: tuple[str, ...]


def _readings(given: object) -> list[object]:
    if not isinstance(given, str):
        return [given]
    word = given.strip().lower()
    try:
        literal = WORDS[word] if word in WORDS else ast.literal_eval(given.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # what literal_eval documents
        return [given]
    return [given, literal] if isinstance(literal, str) else [literal, given]


def _as_typed(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    quoted = "'" + text.replace("'", "'\\''") + "'"
    return text if text and all(c.isalnum() or c in "._-/:+" for c in text) else quoted


def parameters_cells(document: Document) -> list[Cell]:
    """Return the cells tagged ``parameters`` (a good notebook has exactly one)."""
    return [cell for cell in document.cells if cell.is_code and "parameters" in cell.tags]


def declared(document: Document) -> dict[str, Parameter]:
    """Return the notebook's parameters by name, in the order of the cell; none without a parameters cell.

    Raises ``ParameterError`` for a line that is not ``name: type = literal`` or whose type is not understood.
    """
    found: dict[str, Parameter] = {}
    for cell in parameters_cells(document):
        where = f"{document.path}: parameters cell"
        if cell.tree is None:
            raise ParameterError(f"{where} does not parse as Python")
        comments = _comments(cell.source)
        for statement in cell.tree.body:
            if isinstance(statement, ast.ImportFrom) and statement.module == "typing":
                continue  # the types of the following lines may need it
            parameter = _parameter(statement, comments, where)
            if parameter.name in found:
                raise ParameterError(f"{where} declares {parameter.name} twice")
            found[parameter.name] = parameter
    return found


def _parameter(statement: ast.stmt, comments: dict[int, str], where: str) -> Parameter:
    place = f"{where}, line {statement.lineno}"
    if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value):
        raise ParameterError(f"{place}: `{ast.unparse(statement)}` is not of the form name: type = literal  # help")
    name, annotation = statement.target.id, ast.unparse(statement.annotation)
    try:
        default = ast.literal_eval(statement.value)
    except ValueError:
        raise ParameterError(
            f"{place}: the default of {name} is `{ast.unparse(statement.value)}`; a literal is needed. "
            "Derive values in the next cell"
        ) from None
    kind = _type(statement.annotation, place)
    return Parameter(name, annotation, kind, default, comments.get(statement.end_lineno or statement.lineno, ""))


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ").strip() for t in tokens if t.type == tokenize.COMMENT}


def _type(node: ast.expr, place: str) -> Any:
    """Build the type from its syntax: nothing of the notebook is evaluated."""
    match node:
        case ast.Name(id=name) if name in PLAIN_TYPES:
            return PLAIN_TYPES[name]
        case ast.Constant(value=None):
            return types.NoneType
        case ast.Constant(value=str(text)):
            return _type(ast.parse(text, mode="eval").body, place)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return typing.Union[_type(left, place), _type(right, place)]  # noqa: UP007 (built from syntax)
        case ast.Subscript(value=ast.Name(id="Literal") | ast.Attribute(attr="Literal"), slice=inside):
            options = inside.elts if isinstance(inside, ast.Tuple) else [inside]
            return Literal[tuple(ast.literal_eval(option) for option in options)]
        case ast.Subscript(value=ast.Name(id="Optional") | ast.Attribute(attr="Optional"), slice=inside):
            return typing.Optional[_type(inside, place)]  # noqa: UP045
        case ast.Subscript(value=ast.Name(id="list" | "dict" | "tuple" as outer), slice=inside):
            parts = inside.elts if isinstance(inside, ast.Tuple) else [inside]
            arguments = tuple(... if _is_ellipsis(part) else _type(part, place) for part in parts)
            return PLAIN_TYPES[outer][arguments]
    raise ParameterError(
        f"{place}: type `{ast.unparse(node)}` is not understood. Accepted: {', '.join(PLAIN_TYPES)}, "
        "Literal[...], unions with | and containers such as list[str]"
    )


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def assign(documents: Iterable[Document], given: Mapping[str, object]) -> tuple[list[Assignment], list[str]]:
    """Check given values against what the notebooks declare; one ``Assignment`` a notebook, in their order.

    A name that only some declare goes to those; the second result says so, one remark a name.

    Raises ``ParameterError`` for a name that none declares and for a value that is not of the declared type.
    """
    documents = list(documents)
    if not given:  # a defective parameters cell is the business of opslab check, not of every run
        return [Assignment({}, ()) for _ in documents], []
    accepted = [declared(document) for document in documents]
    remarks = []
    for name in given:
        takers = [document.path.name for document, known in zip(documents, accepted, strict=True) if name in known]
        if not takers:
            raise ParameterError(_unknown(name, documents, accepted))
        if len(takers) < len(documents):
            remarks.append(f"{name} goes to {', '.join(takers)} only: the others do not declare it")
    return [_values(document, known, given) for document, known in zip(documents, accepted, strict=True)], remarks


def _values(document: Document, known: dict[str, Parameter], given: Mapping[str, object]) -> Assignment:
    try:
        values = {name: known[name].accept(value) for name, value in given.items() if name in known}
    except ParameterError as error:
        raise ParameterError(f"{document.path}: {error}") from error
    # Types count: True is not 1.
    changed = tuple(name for name, value in values.items() if repr(value) != repr(known[name].default))
    return Assignment(values, changed)


def _unknown(name: str, documents: list[Document], accepted: list[dict[str, Parameter]]) -> str:
    names = {known for parameters in accepted for known in parameters}
    close = difflib.get_close_matches(name, names, n=3)
    guess = f" Did you mean {' or '.join(close)}?" if close else ""
    tables = "\n".join(describe(document) for document in documents)
    return f"parameter {name} is not declared by any selected notebook.{guess}\nAccepted:\n{tables}"


def describe(document: Document) -> str:
    """Return the notebook's parameters as text: names, types, defaults and help."""
    parameters = declared(document)
    if not parameters:
        return f"{document.path}\n  (no parameters)"
    rows = [(p.name, p.annotation, repr(p.default), p.help) for p in parameters.values()]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        f"  {name:<{widths[0]}}  {kind:<{widths[1]}}  = {default:<{widths[2]}}  {text}".rstrip()
        for name, kind, default, text in rows
    ]
    return "\n".join([str(document.path), *lines])
