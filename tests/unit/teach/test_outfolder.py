"""The folder that runs write into: nothing that no run made is touched, and runs of different notebooks add up."""

import json
import os
from pathlib import Path

import nbformat
import pytest

from mlops_helpers.errors import NotebookError, ParameterError, WorkspaceError
from mlops_helpers.teach import notebooks, outfolder, pages
from mlops_helpers.teach.outfolder import OutFolder
from mlops_helpers.teach.results import NotebookResult, Report
from tests.support.tiny_notebooks import check, code, save


def tree(folder: Path) -> dict[str, bytes | None]:
    """Return everything below a folder, with the files' bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def outcome(path: Path, *, failed: bool = False) -> NotebookResult:
    error = NotebookError(f"{path}: it failed") if failed else None
    status = "failed" if failed else "passed"
    return NotebookResult(path, path.stem, status, 1.5, (1, 1), 0, "", (), {"n": 3}, error, "", None, None)


def record(out: Path, *paths: Path, failed: bool = False, printing: str = "hello") -> Report:
    """Write into the folder what a run of these notebooks would, without any kernel."""
    executed = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(printing)])
    with outfolder.locked(out) as folder:
        place = OutFolder(folder)
        layout = place.layout(list(paths))
        place.refuse_foreign(layout.values(), workspaces=True)
        for path in paths:
            place.fresh_workspace(layout[path])
        with place.stage() as stage:
            done = [pages.write_notebook(outcome(p, failed=failed), executed, place, stage, layout) for p in paths]
            report = Report(tuple(done), 2.0, "no kernels", (), folder / "index.html")
            place.publish(pages.write_index(report, place, stage))
    return report


def rows(out: Path) -> dict[str, dict]:
    return {Path(row["source"]).stem: row for row in json.loads((out / "results.json").read_text())["notebooks"]}


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A folder with two notebooks, of which the first links to the second, and a third further down."""
    save(tmp_path / "course/01_a.ipynb", {"cell_type": "markdown", "metadata": {}, "source": "[b](02_b.ipynb)"})
    save(tmp_path / "course/02_b.ipynb", check("print(1)", "1\n"))
    save(tmp_path / "course/more/03_c.ipynb", code("3"))
    return tmp_path / "course"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def in_the_same_folder(course: Path, out: Path) -> Path:
    return course


def in_a_folder_above(course: Path, out: Path) -> Path:
    return course.parent


def in_the_current_folder(course: Path, out: Path) -> Path:
    os.chdir(course)
    return Path()


def by_a_link_to_the_folder(course: Path, out: Path) -> Path:
    out.symlink_to(course)
    return out


def by_a_link_to_the_notebook(course: Path, out: Path) -> Path:
    out.mkdir()
    (course / "01_a.ipynb").rename(out / "true.ipynb")
    (course / "01_a.ipynb").symlink_to(out / "true.ipynb")
    return out


@pytest.mark.parametrize(
    "arrange",
    [
        in_the_same_folder,
        in_a_folder_above,
        in_the_current_folder,
        by_a_link_to_the_folder,
        by_a_link_to_the_notebook,
    ],
)
def test_output_folder_that_holds_a_source_is_refused(course: Path, out: Path, monkeypatch, arrange) -> None:
    monkeypatch.chdir(course.parent)  # and back at the end
    destination, path = arrange(course, out), course / "01_a.ipynb"
    before = tree(course.parent)
    with pytest.raises(ParameterError, match=r"01_a\.ipynb.*opslab run --out FOLDER"):
        notebooks.run([path], out=destination)
    assert tree(course.parent) == before


@pytest.mark.parametrize("name", ["02_b.ipynb", "02_b.html", "index.html", "results.json", "workspaces/02_b/mine.txt"])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_no_run_made_is_neither_overwritten_nor_removed(course: Path, out: Path, monkeypatch, name, kind) -> None:
    monkeypatch.delenv("OPSLAB_WORKSPACE")
    (out / name).parent.mkdir(parents=True)
    if kind == "file":
        (out / name).write_text("mine")
    else:
        (out / name).symlink_to(course / "01_a.ipynb")
    before = tree(course.parent)
    with pytest.raises(WorkspaceError, match=r"opslab run --out FOLDER"):
        notebooks.run([course / "02_b.ipynb"], out=out)
    assert tree(course.parent) == before


@pytest.mark.parametrize("linked", ["more", "workspaces"])
def test_nothing_is_written_through_a_linked_folder(course: Path, out: Path, monkeypatch, linked: str) -> None:
    monkeypatch.delenv("OPSLAB_WORKSPACE")
    out.mkdir()
    (out / linked).symlink_to(course / "more")
    before = tree(course.parent)
    with pytest.raises(WorkspaceError, match=r"opslab run --out FOLDER"):
        notebooks.run([course, course / "more"], out=out)
    assert tree(course.parent) == before


def test_executed_copy_that_somebody_worked_in_is_kept(course: Path, out: Path) -> None:
    record(out, course / "02_b.ipynb")
    (out / "02_b.ipynb").write_text("my answers")
    before = tree(out)
    with pytest.raises(WorkspaceError, match=r"02_b\.ipynb"):
        record(out, course / "02_b.ipynb")
    assert tree(out) == before


def test_file_that_appears_while_notebooks_run_is_kept(course: Path, out: Path) -> None:
    with outfolder.locked(out) as folder:
        place = OutFolder(folder)
        with pytest.raises(WorkspaceError, match="while the notebooks ran"), place.stage() as stage:
            (stage / "index.html").write_text("ours")
            (folder / "index.html").write_text("mine")
            place.publish([])
    assert (out / "index.html").read_text() == "mine"
    assert [path.name for path in out.iterdir() if path.is_dir()] == []


def test_run_of_one_notebook_keeps_the_others(course: Path, out: Path) -> None:
    record(out, course / "01_a.ipynb", course / "02_b.ipynb")
    (out / "workspaces/01_a/model").touch()
    (out / "mine.txt").write_text("mine")
    before = tree(out)
    report = record(out, course / "02_b.ipynb", failed=True, printing="anew")
    after = tree(out)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert changed == {"02_b.ipynb", "02_b.html", "index.html", "results.json", ".opslab-run.json"}
    assert [(row["status"], row["earlier"]) for row in rows(out).values()] == [("passed", True), ("failed", False)]
    assert not report.passed
    assert [result.path.stem for result in report.results] == ["02_b"]
    index = (out / "index.html").read_text()
    assert "1 of 1 notebook did not pass; 1 more from earlier runs" in index
    assert f"in the run of {rows(out)['01_a']['finished']}" in index
    assert 'href="01_a.html"' in index
    assert "it failed" in index
    assert record(out, course / "01_a.ipynb").passed  # this run is judged by its own notebooks
    assert [row["status"] for row in rows(out).values()] == ["passed", "failed"]


def test_page_links_to_pages_of_earlier_runs(course: Path, out: Path) -> None:
    text = nbformat.v4.new_markdown_cell("[b](02_b.ipynb), [none](04_none.ipynb)")
    record(out, course / "02_b.ipynb")
    with outfolder.locked(out) as folder:
        place, path = OutFolder(folder), course / "01_a.ipynb"
        with place.stage() as stage:
            notebook = nbformat.v4.new_notebook(cells=[text])
            pages.write_notebook(outcome(path), notebook, place, stage, place.layout([path]))
            page = (stage / "01_a.html").read_text()
    assert 'href="02_b.html"' in page
    assert 'href="../course/04_none.ipynb"' in page


def test_entry_of_a_notebook_that_is_gone_goes(course: Path, out: Path) -> None:
    record(out, course / "01_a.ipynb", course / "02_b.ipynb", course / "more/03_c.ipynb")
    for path in (course / "01_a.ipynb", course / "more/03_c.ipynb"):
        path.unlink()
    (out / "more/03_c.ipynb").write_text("changed: somebody else's now")
    record(out, course / "02_b.ipynb")
    assert list(rows(out)) == ["02_b"]
    left = {str(path.relative_to(out)) for path in out.rglob("*.*") if not path.name.startswith(".")}
    assert left == {"02_b.ipynb", "02_b.html", "more/03_c.ipynb", "index.html", "results.json"}


def test_notebook_keeps_its_place_and_shares_it_with_no_other(course: Path, out: Path) -> None:
    record(out, course / "01_a.ipynb", course / "more/03_c.ipynb")
    record(out, course / "more/03_c.ipynb")
    assert rows(out)["03_c"]["page"] == "more/03_c.html"
    twin = save(course.parent / "other/01_a.ipynb", code("1"))
    record(out, twin)
    assert sorted(str(path.relative_to(out)) for path in out.rglob("01_a.html")) == ["01_a.html", "other/01_a.html"]
    special = [save(course / f"{name}.ipynb", code("1")) for name in ("index", "x", "x/y", "workspaces/z")]
    layout = OutFolder(out).layout(special)
    assert [str(layout[path]) for path in special] == ["course/index", "x", "course/x/y", "course/workspaces/z"]


def test_moved_folders_know_their_runs(course: Path, out: Path) -> None:
    record(out, course / "01_a.ipynb", course / "02_b.ipynb")
    moved = course.parent.parent / f"{course.parent.name} moved"
    course.parent.rename(moved)
    record(moved / "out", moved / "course/01_a.ipynb")
    assert [row["earlier"] for row in rows(moved / "out").values()] == [False, True]


@pytest.mark.parametrize("replaced", range(4))
def test_run_killed_while_files_take_their_places_is_completed(course: Path, out: Path, monkeypatch, replaced) -> None:
    record(out, course / "01_a.ipynb", course / "02_b.ipynb")
    moved, original = [], Path.replace

    def replace(self: Path, target: Path) -> Path:
        if ".opslab-run-" in str(self) and ".opslab-run" not in str(target):
            moved.append(target)
            if len(moved) > replaced:  # also the second time: a killed process cleans nothing up
                raise SystemExit
        return original(self, target)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Path, "replace", replace)
        record(out, course / "02_b.ipynb", printing="anew")
    assert len(moved) > replaced
    place = OutFolder(out)
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == [".opslab-run.json"]
    assert "anew" in (out / "02_b.ipynb").read_text()
    assert "anew" in (out / "02_b.html").read_text()
    assert [row["earlier"] for row in place.rows] == [True, False]
    assert "1 more from earlier runs" in (out / "index.html").read_text()


def test_run_that_did_not_end_changes_nothing(course: Path, out: Path) -> None:
    record(out, course / "02_b.ipynb")
    before = tree(out)
    with outfolder.locked(out) as folder, pytest.raises(KeyboardInterrupt), OutFolder(folder).stage() as stage:
        (stage / "02_b.html").write_text("half")
        raise KeyboardInterrupt
    assert tree(out) == before
    killed = OutFolder(out).stage()
    killed.__enter__()
    assert tree(out) != before
    OutFolder(out)
    assert tree(out) == before


@pytest.mark.parametrize("name", ["../mine.txt", "{mine}", "sub/../../mine.txt", "link/mine.txt"])
def test_forged_ledger_removes_nothing_outside_the_folder(course: Path, out: Path, tmp_path: Path, name: str) -> None:
    record(out, course / "02_b.ipynb")
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    (out / "link").symlink_to(tmp_path)
    ledger = json.loads((out / ".opslab-run.json").read_text())
    ledger["files"][name.format(mine=mine)] = outfolder._hash(mine)
    ledger["stage"] = "../course"
    (out / ".opslab-run.json").write_text(json.dumps(ledger))
    record(out, course / "02_b.ipynb")
    assert mine.read_text() == "mine"
    assert (course / "01_a.ipynb").is_file()


@pytest.mark.parametrize("ledger", ["", "[]", "{"])
def test_damaged_ledger_owns_nothing(course: Path, out: Path, ledger: str) -> None:
    record(out, course / "02_b.ipynb")
    (out / ".opslab-run.json").write_text(ledger)
    before = tree(out)
    with pytest.raises(WorkspaceError, match="opslab run --out FOLDER"):
        record(out, course / "02_b.ipynb")
    assert tree(out) == before


def test_folder_belongs_to_one_run_at_a_time(course: Path, out: Path) -> None:
    with outfolder.locked(out), pytest.raises(WorkspaceError, match=r"another run writes to .*out; .*--out FOLDER"):
        notebooks.run([course / "02_b.ipynb"], out=out)
    assert list(out.iterdir()) == []


def test_file_in_the_place_of_the_folder_is_refused(course: Path, out: Path) -> None:
    out.write_text("a file")
    with pytest.raises(WorkspaceError, match="--out FOLDER"):
        notebooks.run([course / "02_b.ipynb"], out=out)
    assert out.read_text() == "a file"


def test_wrong_parameter_and_wrong_path_are_refused_before_anything_runs(course: Path, out: Path) -> None:
    path = save(course / "04_n.ipynb", code("n: int = 1  # n", "parameters"))
    for values in ({"m": "1"}, {"n": "one"}):
        with pytest.raises(ParameterError):
            notebooks.run([path], values, out=out)
    with pytest.raises(NotebookError):
        notebooks.run([course / "missing.ipynb"], out=out)
    assert not out.exists()
