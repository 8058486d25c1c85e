"""Storing the outputs of check cells."""

import json

from mlops_helpers.errors import CellError, NotebookError, WorkspaceError
from mlops_helpers.teach import documents, notebooks
from tests.support.tiny_notebooks import check, code, markdown, notebook, printed, save


def test_refresh_stores_check_outputs_only_and_twice_the_same(tmp_path):
    content = notebook(
        code("1", outputs=[printed("old")], count=99),
        check("import sys\nprint(1)\nprint(2, file=sys.stderr)\nprint(3)", "old", None),
        check("4", "old", 7),
        markdown("é"),
    )
    content["cells"][0]["metadata"]["papermill"] = {"duration": 1}
    path = save(tmp_path / "nb.ipynb", content)
    (first,) = notebooks.refresh([path])
    assert (first.changed, first.error) == (True, None)
    text = path.read_text(encoding="utf-8")
    cells = json.loads(text)["cells"]
    assert [(cell["execution_count"], len(cell["outputs"])) for cell in cells[:3]] == [(None, 0), (2, 2), (3, 1)]
    assert cells[2]["outputs"][0]["execution_count"] == 3
    assert cells[0]["metadata"] == {}
    assert text.endswith("}\n")
    (second,) = notebooks.refresh([path])
    assert not second.changed
    assert path.read_text(encoding="utf-8") == text
    assert notebooks.run([path], out=tmp_path / "out").passed


def test_refresh_leaves_alone_what_raises_is_edited_or_cannot_be_stored(tmp_path, monkeypatch):
    """One refresh of six notebooks, of which two go well, one of them through a link."""
    names = ("raises", "edited", "read_only", "no_room", "good", "linked")
    raises, edited, read_only, no_room, good, linked = paths = [tmp_path / f"{name}.ipynb" for name in names]
    for path in (read_only, no_room, good):
        save(path, check("print(1)", "?"))
    save(raises, check("1 / 0", "?"))
    edit = (
        "import pathlib\np = pathlib.Path('edited.ipynb')\np.write_text(p.read_text().replace(chr(63), '!')) and None"
    )
    save(edited, code(edit), check("print(1)", "?"))
    target = save(tmp_path / "real/linked.ipynb", check("print(1)", "?"))
    linked.symlink_to(target)
    target.chmod(0o640)
    read_only.chmod(0o444)
    (tmp_path / "broken.ipynb").write_text("{")
    before = {path: path.read_bytes() for path in paths}
    write = documents.write

    def refuses(path, content):
        if path == no_room:
            raise WorkspaceError("export OPSLAB_WORKSPACE=FOLDER") from OSError(30, "Read-only file system")
        write(path, content)

    monkeypatch.setattr(documents, "write", refuses)
    done = {item.path: item for item in notebooks.refresh([*paths, tmp_path / "broken.ipynb"])}
    assert [path for path in done if done[path].changed] == [good, linked]
    assert isinstance(done[raises].error, CellError)
    assert isinstance(done[tmp_path / "broken.ipynb"].error, NotebookError)
    assert "edited while" in str(done[edited].error)
    assert edited.read_bytes() == before[edited].replace(b"?", b"!")
    assert "cannot be stored: it is read-only" in str(done[read_only].error)
    assert "cannot be stored: Read-only file system" in str(done[no_room].error)
    assert "OPSLAB_WORKSPACE" not in f"{done[read_only].error} {done[no_room].error}"
    assert all(path.read_bytes() == before[path] for path in (raises, read_only, no_room))
    assert linked.is_symlink()
    assert "1\\n" in target.read_text()
    assert target.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.glob(".*")) == []


def test_notebook_that_vanishes_fails_alone(tmp_path):
    path = save(tmp_path / "nb.ipynb", code("import pathlib\npathlib.Path('nb.ipynb').unlink()"))
    (done,) = notebooks.refresh([path])
    assert "cannot be read" in str(done.error)
