"""Who may import whom (the plan of the house), and what importing costs."""

import ast
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

import mlops_helpers
from mlops_helpers import errors

PACKAGE = Path(mlops_helpers.__file__).parent
# release_source is what another team commits: data of ours, not code
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "release_source" not in path.parts)
SHARED = {"errors", "workspace"}
# room -> what it may import beside itself and the shared modules; "room.module" allows that module alone
ALLOWED = {
    "errors": set(),
    "workspace": {"errors"},
    "model": set(),
    "serve": {"model.artifact"},
    "observe": set(),
    "deploy": {"model", "serve", "observe"},
    "respond": {"model", "serve", "observe", "deploy"},
    "runbook": {"observe", "respond.runbook*"},  # works on any service, so that it knows none of ours
    "teach": {"model", "serve", "observe", "deploy", "respond"},
    "cli": {"model", "serve", "observe", "deploy", "respond", "teach"},
    "__init__": set(),
}


def room_of(path: Path) -> str:
    if path.parent.name == "respond" and path.name.startswith("runbook"):
        return "runbook"
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> set[str]:
    """Names below mlops_helpers that a module imports, wherever in the module, such as ``model.artifact``."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide who imports whom"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("mlops_helpers.") for name in names if name.startswith("mlops_helpers.")}


def breaches(room: str, names: set[str]) -> list[str]:
    allowed = ALLOWED[room] | SHARED | {room}
    return sorted(
        name
        for name in names
        if name != "__version__"
        and not any(fnmatchcase(name, entry) or fnmatchcase(name, entry + ".*") for entry in allowed)
    )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_room_may(path: Path) -> None:
    found = breaches(room_of(path), imported(ast.parse(path.read_text(encoding="utf-8"))))
    assert not found, f"{path.name} in {room_of(path)}/ may not import {found}"


@pytest.mark.parametrize(
    ("room", "statement"),
    [
        ("serve", "from mlops_helpers.model import training"),
        ("observe", "import mlops_helpers.model.artifact"),
        ("model", "from mlops_helpers.teach import notebooks"),
        ("teach", "from mlops_helpers.cli import main"),
        ("errors", "from mlops_helpers.model import data"),
    ],
)
def test_the_rule_sees_a_breach(room: str, statement: str) -> None:
    assert breaches(room, imported(ast.parse(f"def f():\n    {statement}")))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_publishes_names_that_exist_and_is_of_one_concept(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module says what it is for"
    lines = len(text.splitlines())
    assert lines <= 250, f"{path.name} has {lines} lines: more than one concept"
    if path.name not in {"__init__.py", "__main__.py"}:
        defined = {
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign | ast.AnnAssign)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }
        defined |= {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)}
        defined |= {a.asname or a.name for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names}
        assert "__all__" in defined
        published = next(
            ast.literal_eval(n.value)
            for n in tree.body
            if isinstance(n, ast.Assign | ast.AnnAssign)
            and n.value is not None
            and getattr(n.targets[0] if isinstance(n, ast.Assign) else n.target, "id", "") == "__all__"
        )
        assert set(published) <= defined


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def test_importing_the_package_and_the_command_line_loads_nothing_heavy() -> None:
    heavy = {"numpy", "pandas", "sklearn", "mlflow", "papermill", "nbformat", "pydantic", "matplotlib", "tqdm"}
    assert not heavy & modules_after("import mlops_helpers, mlops_helpers.errors, mlops_helpers.workspace")
    assert not heavy & modules_after("import mlops_helpers.cli")


def test_what_a_service_needs_loads_no_scientific_library() -> None:
    heavy = {"numpy", "pandas", "sklearn", "scipy", "mlflow"}
    assert not heavy & modules_after("from mlops_helpers.model import artifact")


def test_the_error_tree_is_the_one_that_is_drawn() -> None:
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.OpsLabError)
        assert name in errors.__doc__
