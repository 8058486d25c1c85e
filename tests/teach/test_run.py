"""What runs kernels: few and tiny notebooks."""

import json
import os
import re
from pathlib import Path

import pytest

from mlops_helpers.errors import CellError, NotebookError, ParameterError, WorkspaceError
from mlops_helpers.teach import notebooks
from mlops_helpers.teach.kernels import KernelHost

NASTY = "a = b # c\n\"q\" 'r' é 👍🏽 \\n {x} \t"


def run(paths, given=None, **options):
    return notebooks.run(paths, given, **options)


def only(report):
    (result,) = report.results
    return result


def outputs(path: Path) -> list[str]:
    """Return the text that each code cell of an executed copy printed."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = [["".join(out.get("text", [])) for out in cell["outputs"]] for cell in cells if cell["cell_type"] == "code"]
    return ["".join(parts) for parts in text]


def test_a_run_leaves_copies_pages_index_and_results(save, cells, out):
    good = save("01_good", cells.chapter())
    bad = save("02_bad", cells.markdown("# 02. Fail"), cells.code("x = 1\nx / 0"), cells.code("x"))
    wrong = save("03_wrong", cells.check("print(1)", "2\n"), cells.check("print(3)", "3\n"))
    broken = save("04_broken", cells.chapter())
    broken.write_text("{")
    report = run([good, bad, wrong, broken], out=out)

    assert not report.passed
    assert [result.status for result in report.results] == ["passed", "failed", "mismatch", "failed"]
    assert [result.checks for result in report.results] == [3, 0, 2, 0]
    failed = report.results[1]
    assert isinstance(failed.error, CellError)
    assert (failed.error.cell, failed.error.source) == (1, "x = 1\nx / 0")
    assert "ZeroDivisionError" in failed.error.traceback
    assert "\x1b" not in failed.explain()
    assert "02_bad.ipynb: cell 1" in failed.explain()
    assert (out / "02_bad.ipynb").is_file()
    assert "print(1)" not in report.results[2].explain()
    index = (out / "index.html").read_text()
    assert "3 of 4 notebooks did not pass" in index
    assert "ZeroDivisionError" in index
    assert 'href="01_good.html"' in index
    rows = json.loads((out / "results.json").read_text())["notebooks"]
    assert [row["status"] for row in rows] == [result.status for result in report.results]
    assert "Try a thing" in (out / "01_good.html").read_text()

    (out / "mine.txt").write_text("x")
    assert run([good], out=out).passed
    assert {path.name for path in out.iterdir() if path.is_file()} == {
        "mine.txt",
        "01_good.ipynb",
        "01_good.html",
        "index.html",
        "results.json",
    }


def test_parameters_arrive_exactly_and_changed_ones_are_not_compared(save, cells, out):
    path = save(
        "nb",
        cells.parameters("text: str = 'x'  # text\npair: tuple[int, int] = (1, 2)  # pair\nf: float = 1.0  # f"),
        cells.check("print(repr(text), pair, f)", "'x' (1, 2) 1.0\n"),
    )
    result = only(run([path], {"text": NASTY, "pair": "(3, 4)", "f": "2"}, out=out))
    assert result.status == "passed"
    assert result.not_compared == "parameters changed: text, pair, f"
    assert result.cells == (2, 2)
    assert outputs(result.executed)[-1] == f"{NASTY!r} (3, 4) 2.0\n"
    assert only(run([path], {"text": "y"}, out=out, compare=True)).status == "mismatch"
    same = only(run([path], {"text": "x"}, out=out))
    assert (same.status, same.checks) == ("passed", 1)


def test_nothing_runs_when_a_parameter_is_wrong(save, cells, out):
    path = save("nb", cells.parameters("n: int = 1  # n"), cells.code("n"))
    for given in ({"m": "1"}, {"n": "one"}):
        with pytest.raises(ParameterError):
            run([path], given, out=out)
    with pytest.raises(NotebookError):
        run([path.with_name("missing.ipynb")], out=out)
    assert not out.exists()
    out.write_text("a file where the folder should be")
    with pytest.raises(WorkspaceError, match="--out FOLDER"):
        run([path], out=out)


def test_forked_and_plain_kernels_give_the_same(save, cells, out):
    path = save(
        "nb",
        cells.code("import json, os, sys, signal, pickle\nimport random"),
        cells.check("print(os.getcwd() == sys.argv[0], sys.path[0], __name__, signal.getsignal(2).__name__)", ""),
        cells.check("class A: pass\nprint(type(pickle.loads(pickle.dumps(A()))).__module__)", ""),
        cells.check("print(sys.argv[0].endswith('launcher.py'), sorted(k for k in os.environ if 'JPY' in k))", ""),
        cells.check("import matplotlib\nprint(matplotlib.get_backend(), os.path.samefile('.', os.environ['PWD']))", ""),
    )
    forked = run([path], out=out / "forked")
    plain = run([path], out=out / "plain", plain_kernels=True)
    assert forked.kernels == "forked kernels"
    assert plain.kernels == "plain kernels: asked for"
    assert [only(r).error for r in (forked, plain)] == [None, None]
    assert outputs(only(forked).executed) == outputs(only(plain).executed)


def test_figures_are_drawn_in_forked_kernels(save, cells, out):
    path = save("nb", cells.code("import matplotlib.pyplot as plt"), cells.code("plt.plot([1, 2]);"))
    result = only(run([path], out=out))
    shown = json.loads(result.executed.read_text())["cells"][-1]["outputs"]
    assert [sorted(output["data"]) for output in shown] == [["image/png", "text/plain"]]


def test_forked_kernels_draw_different_random_numbers(save, cells, out):
    draw = cells.code("print(random.random(), numpy.random.random())")
    paths = [save(name, cells.code("import random\nimport numpy"), draw) for name in "ab"]
    drawn = [outputs(result.executed)[-1] for result in run(paths, out=out).results]
    assert drawn[0].split()[0] != drawn[1].split()[0]
    assert drawn[0].split()[1] != drawn[1].split()[1]


SEE = "import os\nfrom pathlib import Path\nw = Path(os.environ['OPSLAB_WORKSPACE'])"
TOUCH = "print(w.name, sorted(p.name for p in w.iterdir()))\n(w / w.name).touch()"


def test_each_notebook_has_a_fresh_workspace(save, cells, out):
    paths = [save(name, cells.code(SEE), cells.code(TOUCH)) for name in ("a", "sub/a")]
    for _ in range(2):
        results = run(paths, out=out).results
        assert [outputs(result.executed)[-1] for result in results] == ["a []\n", "a []\n"]


def test_a_workspace_of_the_user_is_shared_and_kept(save, cells, out, tmp_path, monkeypatch):
    monkeypatch.setenv("OPSLAB_WORKSPACE", str(tmp_path / "mine"))
    paths = [save(name, cells.code(SEE), cells.code(TOUCH)) for name in "ab"]
    results = run(paths, out=out, jobs=2).results
    assert [outputs(result.executed)[-1] for result in results] == ["mine []\n", "mine ['mine']\n"]
    assert (tmp_path / "mine" / "mine").exists()


def test_notebooks_in_a_workspace_of_the_user_run_one_after_another(save, cells, out, tmp_path, monkeypatch):
    monkeypatch.setenv("OPSLAB_WORKSPACE", str(tmp_path / "mine"))
    mark = "with (w / 'marks').open('a') as f: f.write(f'{}\\n')"
    # Each holds its place for as long as a second notebook needs to get in between, if it may.
    hold = "import time\nlimit = time.monotonic() + 3\n"
    hold += "while len((w / 'marks').read_text().split()) % 2 and time.monotonic() < limit: time.sleep(0.01)"
    body = [cells.code(SEE), cells.code(mark.format("start")), cells.code(hold), cells.code(mark.format("end"))]
    assert run([save("a", *body), save("b", *body)], out=out, jobs=2).passed
    assert (tmp_path / "mine" / "marks").read_text().split() == ["start", "end"] * 2


def test_two_runs_do_not_share_an_output_folder(save, cells, out):
    from mlops_helpers.teach import outfolder

    path = save("nb", cells.code("1"))
    with outfolder.locked(out):
        (out / "workspaces" / "nb").mkdir(parents=True)
        with pytest.raises(WorkspaceError, match=r"another run writes to .*out; wait for it, or name another"):
            run([path], out=out)
        assert (out / "workspaces" / "nb").is_dir()
        assert run([path], out=out.with_name("another")).passed
    assert run([path], out=out).passed
    assert sorted(p.name for p in out.iterdir()) == ["index.html", "nb.html", "nb.ipynb", "results.json", "workspaces"]


def test_a_notebook_cannot_run_into_the_folder_of_its_own_run(save, cells, out):
    inner = save("inner", cells.code("1"))
    source = "from pathlib import Path\nfrom mlops_helpers.teach import notebooks\n"
    source += f"notebooks.run([{str(inner)!r}], out=Path({str(out)!r}))"
    error = str(only(run([save("nb", cells.code(source))], out=out)).error)
    assert "another run writes to" in error


@pytest.mark.parametrize("name", ["../mine.txt", "/{mine}", "sub/../../mine.txt", "link/mine.txt"])
def test_a_forged_record_removes_nothing_outside_the_folder(save, cells, out, tmp_path, name):
    path = save("nb", cells.code("1"))
    run([path], out=out)
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    (out / "link").symlink_to(tmp_path)
    record = json.loads((out / "results.json").read_text())
    record["notebooks"][0]["page"] = name.format(mine=mine)
    (out / "results.json").write_text(json.dumps(record))
    assert run([path], out=out).passed
    assert mine.read_text() == "mine"


def test_given_parameters_are_no_cell_of_the_count(save, cells, out):
    path = save("nb", cells.parameters("n: int = 1  # n"), cells.code("n"), cells.code("n"))
    seen = []

    class Counts:
        def started(self, count):
            seen.append(count)

        def cell(self):
            seen.append("cell")

        def finished(self, result):
            seen.append(result.cells)

    run([path], {"n": "2"}, out=out, observer=Counts())
    assert seen == [3, "cell", "cell", "cell", (3, 3)]
    bad = save("bad", cells.parameters("n: int = 1  # n"), cells.code("n"), cells.code("1 / 0"))
    result = only(run([bad], {"n": "2"}, out=out))
    assert (result.cells, result.error.cell) == ((3, 3), 2)


def test_an_executed_copy_runs_again(save, cells, out):
    path = save("nb", cells.parameters("n: int = 1  # n"), cells.check("print(n)", "1\n"))
    copy = only(run([path], {"n": "2"}, out=out)).executed
    again = only(run([copy], out=out / "again"))
    assert (again.status, again.cells, again.checks) == ("passed", (3, 3), 1)
    third = only(run([copy], {"n": "3"}, out=out / "third"))
    assert (third.status, third.cells) == ("passed", (3, 3))


def test_a_broken_link_is_one_failed_notebook(save, cells, out):
    path = save("sub/good", cells.code("1"))
    path.with_name("broken.ipynb").symlink_to("missing.ipynb")
    path.with_name("circle.ipynb").symlink_to("circle.ipynb")
    path.with_name("folder.ipynb").mkdir()
    report = run([path.parent], out=out)
    assert [(result.path.stem, result.status) for result in report.results] == [
        ("broken", "failed"),
        ("circle", "failed"),
        ("good", "passed"),
    ]
    assert "cannot be read" in str(report.results[0].error)
    assert [bool(done.error) for done in notebooks.refresh([path.parent])] == [True, True, False]
    assert [only(run([path.with_name("broken.ipynb")], out=out)).status] == ["failed"]


def test_tags_of_nbval_are_honoured(save, cells, out):
    path = save(
        "nb",
        cells.code("1 / 0", "raises-exception"),
        cells.code("1 / 0", "nbval-raises-exception"),
        cells.code("1 / 0", "nbval-skip"),
        cells.code("# NBVAL_SKIP\n1 / 0"),
        cells.check("print(1)", "1\n"),
    )
    result = only(run([path], out=out))
    assert (result.status, result.cells, result.checks) == ("passed", (3, 5), 1)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(
    ("source", "words"), [("os._exit(3)", "exit status 3"), ("os.kill(os.getpid(), 9)", "signal 9")]
)
def test_a_dying_kernel_is_noticed_at_once(save, cells, out, plain, source, words):
    path = save("nb", cells.code("import os"), cells.code(source), cells.code("1"))
    result = only(run([path], out=out, plain_kernels=plain, timeout=100))
    assert result.status == "failed"
    assert "kernel died" in str(result.error)
    assert words in result.error.traceback
    assert result.error.cell == 1
    assert result.seconds < 30  # the cell's time limit is no part of it


@pytest.mark.parametrize(
    ("loop", "words"),
    [
        ("while True:\n    pass", "was interrupted"),
        (
            "import time\nwhile True:\n    try:\n        time.sleep(60)\n    except KeyboardInterrupt: pass",
            "ignored the interrupt",
        ),
    ],
)
def test_an_endless_cell_is_stopped(save, cells, out, loop, words):
    path = save("nb", cells.code("1"), cells.code(loop))
    result = only(run([path], out=out, timeout=0.5))
    assert words in str(result.error)
    assert result.error.cell == 1
    if words == "was interrupted":
        assert "KeyboardInterrupt" in result.error.traceback


def test_a_kernel_that_is_not_installed_is_named(save, cells, out):
    nb = cells.notebook(cells.code("1"))
    nb["metadata"]["kernelspec"]["name"] = "no-such"
    assert "jupyter kernelspec list" in str(only(run([save("nb", nb)], out=out)).error)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True, name='mine').start()",
            "mine",
        ),
        ("import os\nos._exit(1)", "ended the process"),
    ],
)
def test_libraries_that_forbid_forking_give_plain_kernels(save, cells, out, tmp_path, monkeypatch, source, reason):
    site = tmp_path / "site"
    site.mkdir()
    (site / "awkward.py").write_text(
        f"import os\nif 'OPSLAB_KERNEL' not in os.environ:\n    {source!r}\n    exec({source!r})"
    )
    monkeypatch.setenv("PYTHONPATH", str(site))
    report = run([save("nb", cells.code("import awkward"), cells.check("print(1)", "1\n"))], out=out)
    assert report.passed
    assert report.kernels.startswith("plain kernels")
    assert reason in report.kernels


def test_a_host_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    host = KernelHost([])
    host.start()
    assert any(tmp_path.iterdir())
    host.close()
    host.close()
    assert not any(tmp_path.iterdir())


def test_connection_files_are_private(save, cells, out):
    source = "import glob, os, ipykernel\nf = ipykernel.get_connection_file()\nprint(oct(os.stat(f).st_mode & 0o777))"
    source += "\nprint(oct(os.stat(os.path.dirname(f)).st_mode & 0o777))"
    source += "\nprint(ipykernel.get_connection_info(unpack=True)['transport'])"
    result = only(run([save("nb", cells.code(source))], out=out))
    assert outputs(result.executed) == ["0o600\n0o700\nipc\n"]


def test_refresh_stores_check_outputs_only_and_twice_the_same(save, cells):
    nb = cells.notebook(
        cells.code("1", outputs=[cells.printed("old")], count=99),
        cells.check("import sys\nprint(1)\nprint(2, file=sys.stderr)\nprint(3)", "old", None),
        cells.check("4", "old", 7),
        cells.markdown("é"),
    )
    nb["cells"][0]["metadata"]["papermill"] = {"duration": 1}
    path = save("nb", nb)
    (first,) = notebooks.refresh([path])
    assert (first.changed, first.error) == (True, None)
    text = path.read_text(encoding="utf-8")
    got = json.loads(text)["cells"]
    assert [(cell["execution_count"], len(cell["outputs"])) for cell in got[:3]] == [
        (None, 0),
        (2, 2),
        (3, 1),
    ]
    assert got[2]["outputs"][0]["execution_count"] == 3
    assert got[0]["metadata"] == {}
    assert text.endswith("}\n")
    (second,) = notebooks.refresh([path])
    assert not second.changed
    assert path.read_text(encoding="utf-8") == text
    assert run([path], out=path.parent / "out").passed


def test_refresh_leaves_a_notebook_that_raises_as_it_was(save, cells):
    good, bad = save("good", cells.check("print(1)", "?")), save("bad", cells.check("1 / 0", "?"))
    before = bad.read_bytes()
    stored, refused = notebooks.refresh([good, bad])
    assert stored.changed
    assert isinstance(refused.error, CellError)
    assert bad.read_bytes() == before
    assert sorted(path.name for path in good.parent.iterdir()) == ["bad.ipynb", "good.ipynb"]


def test_refresh_does_not_overwrite_an_edit_made_meanwhile(save, cells):
    path = save("nb", cells.code("import pathlib\np = pathlib.Path('nb.ipynb')"), cells.check("print(1)", "?"))
    edited = path.read_text().replace("print(1)", "print(2)")
    source = f"p.write_text({edited!r}) and None"
    save("nb", cells.code("import pathlib\np = pathlib.Path('nb.ipynb')"), cells.code(source))
    (done,) = notebooks.refresh([path])
    assert "edited while" in str(done.error)
    assert path.read_text() == edited


def test_running_changes_neither_environment_nor_folder(save, cells, out):
    before = dict(os.environ), Path.cwd()
    run([save("nb", cells.code("1"), cells.code("2"))], out=out)
    assert (dict(os.environ), Path.cwd()) == before


def test_pages_need_no_network_and_link_to_each_other(save, cells, out) -> None:
    text = "[next](02_b.ipynb), [other](../elsewhere/03_c.ipynb), [web](https://x.example/04_d.ipynb)"
    first = save("01_a", cells.markdown(text), cells.code("print(1)"))
    second = save("02_b", cells.code("print(2)"))
    assert run([first, second], out=out).passed
    page = (out / "01_a.html").read_text()
    assert not re.findall(r'(?:src|href)="https?://[^"]*"', page.replace('href="https://x.example/04_d.ipynb"', ""))
    assert 'href="02_b.html"' in page
    assert 'href="index.html"' in page
    assert 'href="https://x.example/04_d.ipynb"' in page
    (other,) = re.findall(r'href="([^"]*03_c.ipynb)"', page)
    assert (out / other).resolve() == (first.parent / "../elsewhere/03_c.ipynb").resolve()


def test_refresh_of_a_linked_notebook_keeps_the_link_and_its_mode(save, cells, tmp_path):
    path = save("real/nb", cells.check("print(1)", "?"))
    path.chmod(0o640)
    link = tmp_path / "link.ipynb"
    link.symlink_to(path)
    (done,) = notebooks.refresh([link])
    assert (done.path, done.changed) == (link, True)
    assert link.is_symlink()
    assert "1\\n" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_notebook_that_cannot_be_stored_fails_alone(save, cells, monkeypatch):
    from mlops_helpers.teach import documents

    paths = [save(name, cells.check("print(1)", "?")) for name in ("a", "b", "c", "d")]
    before = [path.read_bytes() for path in paths]
    paths[0].chmod(0o444)
    write, read = documents.write, documents.read
    seen = set()

    def refuses(path, content):
        if path.stem == "b":
            raise WorkspaceError("export OPSLAB_WORKSPACE=FOLDER") from OSError(30, "Read-only file system")
        write(path, content)

    def vanishes(path):
        if path.stem == "c" and path in seen:
            raise NotebookError(f"{path}: cannot be read")
        seen.add(path)
        return read(path)

    monkeypatch.setattr(documents, "write", refuses)
    monkeypatch.setattr(documents, "read", vanishes)
    done = notebooks.refresh(paths)
    assert [item.changed for item in done] == [False, False, False, True]
    assert "a.ipynb: cannot be stored: it is read-only" in str(done[0].error)
    assert "b.ipynb: cannot be stored: Read-only file system" in str(done[1].error)
    assert "OPSLAB_WORKSPACE" not in f"{done[0].error} {done[1].error}"
    assert [path.read_bytes() == old for path, old in zip(paths, before, strict=True)] == [True, True, True, False]
