"""Tiny notebooks, made in the tests that need them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CHECK_TAG = "nbval-check-output"
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
TITLE = """# 01. Try a thing

What you will do, what you will learn, what you need. 5 minutes. Consumes nothing. Produces nothing."""

Cell = dict[str, Any]
Notebook = dict[str, Any]


def markdown(source: str, **extra: Any) -> Cell:
    return {"cell_type": "markdown", "metadata": {}, "source": source, **extra}


def code(source: str, *tags: str, outputs: Iterable[Cell] = (), count: int | None = None) -> Cell:
    metadata = {"tags": list(tags)} if tags else {}
    outputs = list(outputs)
    return {
        "cell_type": "code",
        "metadata": metadata,
        "source": source,
        "outputs": outputs,
        "execution_count": count,
    }


def printed(text: str) -> Cell:
    """Return the output that printing gives."""
    return {"output_type": "stream", "name": "stdout", "text": text}


def check(source: str, text: str, count: int | None = 1) -> Cell:
    """Return a check cell with the text that it printed when it was stored."""
    return code(source, CHECK_TAG, outputs=[printed(text)], count=count)


def parameters(source: str) -> Cell:
    return code(source, "parameters")


def notebook(*cells: Cell, **changes: Any) -> Notebook:
    numbered = [{"id": f"cell-{number}", **cell} for number, cell in enumerate(cells)]
    content = {"cells": numbered, "metadata": {"kernelspec": KERNELSPEC}, "nbformat": 4, "nbformat_minor": 5}
    return content | changes


def chapter() -> Notebook:
    """Return a notebook that breaks no rule."""
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


def save(path: Path, *content: Cell | Notebook) -> Path:
    """Write a notebook, whole or as its cells, and return its path."""
    whole = content[0] if "cells" in content[0] else notebook(*content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole), encoding="utf-8")
    return path


def printed_by_cells(executed: Path) -> list[str]:
    """Return the text that each code cell of an executed copy printed."""
    cells = json.loads(executed.read_text(encoding="utf-8"))["cells"]
    outputs = [cell["outputs"] for cell in cells if cell["cell_type"] == "code"]
    return ["".join("".join(output.get("text", [])) for output in those) for those in outputs]
