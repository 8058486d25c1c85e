"""Tiny notebooks, made in the tests that need them."""

import json
from pathlib import Path

import pytest

CHECK = "nbval-check-output"
TITLE = """# 01. Try a thing

What you will do, what you will learn, what you need. 5 minutes. Consumes nothing. Produces nothing."""


def markdown(source, **extra):
    return {"cell_type": "markdown", "metadata": {}, "source": source, **extra}


def code(source, *tags, outputs=(), count=None, **extra):
    return {
        "cell_type": "code",
        "metadata": {"tags": list(tags)} if tags else {},
        "source": source,
        "outputs": list(outputs),
        "execution_count": count,
        **extra,
    }


def printed(text):
    return {"output_type": "stream", "name": "stdout", "text": text}


def check(source, text, count=1):
    return code(source, CHECK, outputs=[printed(text)], count=count)


def parameters(source):
    return code(source, "parameters")


def notebook(*cells, **changes):
    cells = [{"id": f"cell-{i}", **cell} for i, cell in enumerate(cells)]
    kernelspec = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return {
        "cells": cells,
        "metadata": {"kernelspec": kernelspec},
        "nbformat": 4,
        "nbformat_minor": 5,
    } | changes


def chapter():
    """A notebook that breaks no rule."""
    return notebook(
        markdown(TITLE),
        markdown("Parameters."),
        parameters("n: int = 3  # how many"),
        markdown("Validate."),
        code("if n < 1:\n    raise ValueError(f'n={n}; from 1 on, for example 3')"),
        markdown("Imports."),
        code("import math"),
        markdown("One."),
        check("print(n)", "3\n", 4),
        markdown("Two."),
        check("print(n + 1)", "4\n", 5),
        markdown("Three."),
        check("print(math.floor(2.5))", "2\n", 6),
        markdown("## Clean up"),
        code("n = None"),
        markdown("## Summary\n\nDone."),
    )


@pytest.fixture
def save(tmp_path):
    """Return a function that writes a notebook and gives its path."""

    def write(name, content, *more):
        path = tmp_path / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        if more or "cells" not in content:
            content = notebook(content, *more)
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return write


@pytest.fixture(autouse=True)
def no_shared_workspace(monkeypatch):
    monkeypatch.delenv("OPSLAB_WORKSPACE", raising=False)


@pytest.fixture
def cells():
    """The builders above, for tests that cannot import a conftest."""
    import types

    return types.SimpleNamespace(
        **{f.__name__: f for f in (markdown, code, printed, check, parameters, notebook, chapter)}
    )


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"
