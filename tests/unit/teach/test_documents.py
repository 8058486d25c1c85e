import pytest

from mlops_helpers.errors import NotebookError
from mlops_helpers.teach import documents
from mlops_helpers.teach.imports import imports_of
from tests.support.tiny_notebooks import chapter, code, save


def test_select_takes_files_folders_and_globs_once(tmp_path):
    for name in ("b", "a", "sub/c"):
        save(tmp_path / f"{name}.ipynb", chapter())
    (tmp_path / "notes.txt").write_text("x")
    names = [path.stem for path in documents.select([tmp_path, tmp_path / "a.ipynb", f"{tmp_path}/**/*.ipynb"])]
    assert names == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["missing.ipynb", "missing", "*.ipynb", "notes.txt", ""])
def test_select_refuses_what_names_no_notebook(tmp_path, name):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(NotebookError):
        documents.select([tmp_path / name])


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"nbformat": 3}', '{"nbformat": 4}', '{"nbformat": 4, "cells": [1]}']
)
def test_read_refuses_what_is_no_notebook(tmp_path, text):
    path = tmp_path / "x.ipynb"
    path.write_text(text)
    with pytest.raises(NotebookError, match=r"x\.ipynb"):
        documents.read(path)


def test_imports_are_read_from_the_top_level_only(tmp_path):
    (tmp_path / "beside.py").write_text("")
    path = save(
        tmp_path / "nb.ipynb",
        code("import a.b as c, d\nfrom e.f import g\nfrom . import h\ndef i():\n    import j"),
        code("import beside\nfrom __future__ import annotations\nimport d"),
        code("not python ("),
        {"cell_type": "markdown", "metadata": {}, "source": "import k"},
    )
    assert imports_of([documents.read(path)]) == [("a.b", ""), ("d", ""), ("e.f", "g")]


def test_what_this_package_loads_lazily_follows_its_rooms(tmp_path):
    path = save(tmp_path / "nb.ipynb", code("from mlops_helpers.teach import parameters"))
    found = imports_of([documents.read(path)])
    assert found[0] == ("mlops_helpers.teach", "parameters")
    assert ("pydantic", "") in found
