"""Notebooks that are executed together by one run, each for another purpose, and what that run leaves."""

import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlops_helpers.errors import CellError
from mlops_helpers.teach import notebooks
from mlops_helpers.teach.outputs import TEXT_LIMIT
from mlops_helpers.teach.results import NotebookResult, Report
from tests.support.tiny_notebooks import chapter, check, code, markdown, notebook, parameters, printed_by_cells, save

SEE = "import os\nfrom pathlib import Path\nw = Path(os.environ['OPSLAB_WORKSPACE'])"
TOUCH = "print(w.name, sorted(p.name for p in w.iterdir()))\n(w / w.name).touch()"
LINKS = "[next](02_bad.ipynb), [other](../elsewhere/03_c.ipynb), [web](https://x.example/04_d.ipynb)"
DRAW = (code("import random\nimport numpy"), code("print(random.random(), numpy.random.random())"))
CLEARED = """from IPython.display import clear_output
for wait in (True, False) * 2:
    print('x' * 900_000)
    clear_output(wait=wait)
print('the end')"""
PRIVATE = """import glob, os, ipykernel
f = ipykernel.get_connection_file()
print(oct(os.stat(f).st_mode & 0o777), oct(os.stat(os.path.dirname(f)).st_mode & 0o777))
print(ipykernel.get_connection_info(unpack=True)['transport'])"""
#: What must be the same in a forked kernel and in one that is started afresh.
ENVIRONMENT = [
    code("import json, os, sys, signal, pickle\nimport random"),
    code("print(os.getcwd() == sys.argv[0], sys.path[0], __name__, signal.getsignal(2).__name__)"),
    code("class A: pass\nprint(type(pickle.loads(pickle.dumps(A()))).__module__)"),
    code("print(sys.argv[0].endswith('launcher.py'), sorted(k for k in os.environ if 'JPY' in k))"),
    code("import matplotlib\nprint(matplotlib.get_backend(), os.path.samefile('.', os.environ['PWD']))"),
]
DYING = {
    "exits": (code("import os"), code("os._exit(3)"), code("1")),
    "killed": (code("import os"), code("os.kill(os.getpid(), 9)"), code("1")),
}
MADE = {
    "01_good": (chapter(),),
    "02_bad": (markdown("# 02. Fail"), code("x = 1\nx / 0"), code("x")),
    "03_wrong": (check("print(1)", "2\n"), check("print(3)", "3\n")),
    "links": (markdown(LINKS), code("print(1)")),
    "tags": (
        code("1 / 0", "raises-exception"),
        code("1 / 0", "nbval-raises-exception"),
        code("1 / 0", "nbval-skip"),
        code("# NBVAL_SKIP\n1 / 0"),
        check("print(1)", "1\n"),
    ),
    "no_such_kernel": (notebook(code("1"), metadata={"kernelspec": {"name": "no-such", "display_name": "None"}}),),
    "figure": (code("import matplotlib.pyplot as plt"), code("plt.plot([1, 2]);")),
    "draw_a": DRAW,
    "draw_b": DRAW,
    "workspace": (code(SEE), code(TOUCH)),
    "sub/workspace": (code(SEE), code(TOUCH)),
    "private": (code(PRIVATE),),
    "long": (code("for i in range(100): print('x' * 1_000_000)"), check("print('a\\rb')", "b\n")),
    "cleared": (code(CLEARED),),
    "environment": ENVIRONMENT,
    **DYING,
}


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """One run of all of the above and of three that cannot be read; ``before``: what the process was like."""
    folder = tmp_path_factory.mktemp("course")
    for name, content in MADE.items():
        save(folder / f"{name}.ipynb", *content)
    (folder / "04_broken.ipynb").write_text("{")
    (folder / "no_target.ipynb").symlink_to("missing.ipynb")
    (folder / "circle.ipynb").symlink_to("circle.ipynb")
    (folder / "folder.ipynb").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OPSLAB_WORKSPACE", raising=False)
        before = dict(os.environ), Path.cwd()
        report = notebooks.run([folder, folder / "sub"], out=folder / "out", jobs=3)
        assert (dict(os.environ), Path.cwd()) == before
    assert report.kernels == "forked kernels"
    results = {result.path.relative_to(folder).with_suffix("").as_posix(): result for result in report.results}
    return SimpleNamespace(report=report, results=results, out=folder / "out", folder=folder)


def cells(result: NotebookResult) -> list[dict]:
    assert result.executed is not None, result.explain()
    return json.loads(result.executed.read_text(encoding="utf-8"))["cells"]


def only(report: Report) -> NotebookResult:
    (result,) = report.results
    return result


def test_bad_notebook_does_not_keep_others_from_running(course):
    status = {name: result.status for name, result in course.results.items()}
    failed = {"02_bad", "04_broken", "no_target", "circle", "no_such_kernel", *DYING}
    assert {name for name, value in status.items() if value == "failed"} == failed
    assert {name for name, value in status.items() if value == "mismatch"} == {"03_wrong"}
    assert not course.report.passed
    assert course.results["01_good"].checks == 3
    assert "print(1)" not in course.results["03_wrong"].explain()
    assert "cannot be read" in str(course.results["no_target"].error)
    assert "jupyter kernelspec list" in str(course.results["no_such_kernel"].error)


def test_raising_cell_is_shown_with_source_and_traceback(course):
    failed = course.results["02_bad"]
    assert isinstance(failed.error, CellError)
    assert (failed.error.cell, failed.error.source) == (1, "x = 1\nx / 0")
    assert "ZeroDivisionError" in failed.error.traceback
    assert "\x1b" not in failed.explain()
    assert "02_bad.ipynb: cell 1" in failed.explain()
    assert failed.executed.is_file()


def test_index_and_record_show_each_notebook(course):
    index = (course.out / "index.html").read_text()
    assert f"8 of {len(course.results)} notebooks did not pass" in index
    assert "ZeroDivisionError" in index
    assert 'href="01_good.html"' in index
    assert "99,000,100" in index
    rows = json.loads((course.out / "results.json").read_text())["notebooks"]
    assert {row["notebook"]: row["status"] for row in rows} == {
        os.path.relpath(result.path): result.status for result in course.report.results
    }
    assert "Try a thing" in (course.out / "01_good.html").read_text()


def test_page_needs_no_network_and_links_to_others(course):
    page = (course.out / "links.html").read_text()
    assert not re.findall(r'(?:src|href)="https?://[^"]*"', page.replace('href="https://x.example/04_d.ipynb"', ""))
    assert 'href="02_bad.html"' in page
    assert 'href="index.html"' in page
    assert 'href="https://x.example/04_d.ipynb"' in page
    (other,) = re.findall(r'href="([^"]*03_c.ipynb)"', page)
    assert (course.out / other).resolve() == (course.folder / "../elsewhere/03_c.ipynb").resolve()


def test_tags_of_nbval_are_honoured(course):
    assert (course.results["tags"].cells, course.results["tags"].checks) == ((3, 5), 1)


def test_figure_is_drawn_in_a_forked_kernel(course):
    shown = cells(course.results["figure"])[-1]["outputs"]
    assert [sorted(output["data"]) for output in shown] == [["image/png", "text/plain"]]


def test_forked_kernels_draw_different_random_numbers(course):
    drawn = [printed_by_cells(course.results[name].executed)[-1].split() for name in ("draw_a", "draw_b")]
    assert drawn[0][0] != drawn[1][0]
    assert drawn[0][1] != drawn[1][1]


def test_workspace_is_fresh_in_each_run(course, monkeypatch):
    monkeypatch.delenv("OPSLAB_WORKSPACE")
    again = notebooks.run([course.folder / "workspace.ipynb"], out=course.out)
    for result in (course.results["workspace"], course.results["sub/workspace"], only(again)):
        assert printed_by_cells(result.executed)[-1] == "workspace []\n"
    assert (course.out / "workspaces/workspace/workspace").is_file()
    assert (course.out / "workspaces/sub/workspace/workspace").is_file()  # of another notebook: it stays


def test_connection_files_are_private(course):
    assert printed_by_cells(course.results["private"].executed) == ["0o600 0o700\nipc\n"]


def test_hundred_megabytes_of_output_neither_hang_nor_fill_the_page(course):
    result = course.results["long"]
    assert (result.status, result.checks) == ("passed", 1)
    assert result.cut == ("cell 0: 99,000,100 characters of output cut",)
    (output,) = cells(result)[0]["outputs"]
    text = "".join(output["text"])
    assert text.endswith("x\n[opslab: 99,000,100 more characters were cut]\n")
    assert len(text) < TEXT_LIMIT + 100
    assert result.page.stat().st_size < 3 * TEXT_LIMIT


def test_cleared_output_does_not_count(course):
    assert course.results["cleared"].cut == ()
    (output,) = cells(course.results["cleared"])[0]["outputs"]
    assert output["text"] == ["the end\n"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NotebookResult]:
    """A run with kernels that are started afresh."""
    folder = tmp_path_factory.mktemp("plain")
    for name, content in (DYING | {"environment": ENVIRONMENT}).items():
        save(folder / f"{name}.ipynb", *content)
    report = notebooks.run([folder], out=folder / "out", plain_kernels=True, jobs=3)
    assert report.kernels == "plain kernels: asked for"
    return {result.path.stem: result for result in report.results}


def test_forked_and_plain_kernels_give_the_same(course, plain):
    forked = printed_by_cells(course.results["environment"].executed)
    assert forked == printed_by_cells(plain["environment"].executed)
    assert forked[2] == "__main__\n"


@pytest.mark.parametrize(("name", "words"), [("exits", "exit status 3"), ("killed", "signal 9")])
@pytest.mark.parametrize("kind", ["forked", "plain"])
def test_dying_kernel_is_noticed_at_once(course, plain, name, words, kind):
    result = (course.results if kind == "forked" else plain)[name]
    assert "kernel died" in str(result.error)
    assert words in result.error.traceback
    assert result.error.cell == 1
    assert result.seconds < 60  # the cell's time limit, twice that, is no part of it


def test_endless_cell_is_stopped(tmp_path):
    loop = "while True:\n    pass"
    ignores = "import time\nwhile True:\n    try:\n        time.sleep(60)\n    except KeyboardInterrupt: pass"
    prints = "while True: print('x' * 1_000_000)"
    paths = [save(tmp_path / f"{i}.ipynb", code("1"), code(source)) for i, source in enumerate((loop, ignores, prints))]
    stopped, killed, printing = notebooks.run(paths, out=tmp_path / "out", timeout=1, jobs=3).results
    assert [result.error.cell for result in (stopped, killed, printing)] == [1, 1, 1]
    assert "KeyboardInterrupt" in stopped.error.traceback
    assert "was interrupted" in str(stopped.error)
    assert "ignored the interrupt" in str(killed.error)
    assert "ran longer than 1 s" in str(printing.error)
    assert printing.executed.stat().st_size < 2 * TEXT_LIMIT


NASTY = "a = b # c\n\"q\" 'r' é 👍🏽 \\n {x} \t"


def test_parameters_arrive_exactly_and_changed_ones_are_not_compared(tmp_path):
    declared = "text: str = 'x'  # text\npair: tuple[int, int] = (1, 2)  # pair\nf: float = 1.0  # f"
    path = save(
        tmp_path / "nb.ipynb",
        parameters(declared),
        check("print(repr(text), pair, f)", "'x' (1, 2) 1.0\n"),
        code("if text == 'raise': 1 / 0"),
    )
    counts = []

    class Counts:
        def started(self, count):
            counts.append(count)

        def cell(self):
            counts.append("cell")

        def finished(self, result):
            counts.append(result.cells)

    result = only(
        notebooks.run([path], {"text": NASTY, "pair": "(3, 4)", "f": "2"}, out=tmp_path / "out", observer=Counts())
    )
    assert result.status == "passed"
    assert result.not_compared == "parameters changed: text, pair, f"
    assert printed_by_cells(result.executed)[-2] == f"{NASTY!r} (3, 4) 2.0\n"
    assert counts == [3, "cell", "cell", "cell", (3, 3)]  # the cell with the values is not among them
    again = only(notebooks.run([result.executed], {"text": "z"}, out=tmp_path / "again", compare=True))
    assert (again.status, again.cells) == ("mismatch", (4, 4))  # with the cell that the first run added
    assert printed_by_cells(again.executed)[-2] == f"'z' {(3, 4)} 2.0\n"
    same = only(notebooks.run([path], {"text": "x"}, out=tmp_path / "out"))
    assert (same.status, same.checks) == ("passed", 1)
    failed = only(notebooks.run([path], {"text": "raise"}, out=tmp_path / "out"))
    assert failed.error.cell == 2


def test_workspace_of_the_user_is_shared_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("OPSLAB_WORKSPACE", str(tmp_path / "mine"))
    # Each looks for the other within its own time: in one workspace they run one after another.
    mark = "import time\nmark = w / 'running'\nassert not mark.exists()\nmark.touch()\ntime.sleep(0.3)\nmark.unlink()"
    paths = [save(tmp_path / f"{name}.ipynb", code(SEE), code(TOUCH), code(mark)) for name in "ab"]
    report = notebooks.run(paths, out=tmp_path / "out", jobs=2)
    assert report.passed, [result.explain() for result in report.results]
    seen = [printed_by_cells(result.executed)[1] for result in report.results]
    assert seen == ["mine []\n", "mine ['mine']\n"]
    assert (tmp_path / "mine/mine").exists()


def test_notebook_cannot_run_into_the_folder_of_its_own_run(tmp_path):
    inner, out = save(tmp_path / "inner.ipynb", code("1")), tmp_path / "out"
    source = "from pathlib import Path\nfrom mlops_helpers.teach import notebooks\n"
    source += f"notebooks.run([{str(inner)!r}], out=Path({str(out)!r}))"
    error = only(notebooks.run([save(tmp_path / "nb.ipynb", code(source))], out=out)).error
    assert "another run writes to" in str(error)


THREAD = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True, name='mine').start()"


@pytest.mark.parametrize(
    ("source", "reason"),
    [(THREAD, "mine"), ("import os\nos._exit(1)", "ended the process")],
    ids=["thread", "exit"],
)
def test_libraries_that_forbid_forking_give_plain_kernels(tmp_path, monkeypatch, source, reason):
    (tmp_path / "site").mkdir()
    awkward = f"import os\nif 'OPSLAB_KERNEL' not in os.environ:\n    exec({source!r})"
    (tmp_path / "site/awkward.py").write_text(awkward)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    path = save(tmp_path / "nb.ipynb", code("import awkward"), check("print(1)", "1\n"))
    report = notebooks.run([path], out=tmp_path / "out")
    assert report.passed
    assert report.kernels.startswith("plain kernels")
    assert reason in report.kernels
