"""``opslab run`` and nbval (``pytest --nbval-lax``) agree on which cells of tampered notebooks fail."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from mlops_helpers.teach import notebooks
from tests.support.tiny_notebooks import CHECK_TAG, check, code, printed, save

PNG = "from IPython.display import display\ndisplay({'image/png': 'bmV3', 'text/plain': '<Figure>'}, raw=True)"
HTML = "from IPython.display import HTML\nHTML('<b>new</b>')"


def shown(**data: str) -> dict:
    by_type = {name.replace("_", "/"): value for name, value in data.items()}
    return {"output_type": "display_data", "metadata": {}, "data": by_type}


def returned(text: str) -> dict:
    return {"output_type": "execute_result", "metadata": {}, "data": {"text/plain": text}, "execution_count": 1}


def raised(value: str) -> dict:
    return {"output_type": "error", "ename": "ValueError", "evalue": value, "traceback": ["somewhere"]}


def checked(source: str, *outputs: dict, count: int | None = 1, tags: tuple[str, ...] = ()) -> dict:
    return code(source, CHECK_TAG, *tags, outputs=outputs, count=count)


TAMPERED = {
    "as it was": check("print(1)", "1\n"),
    "changed output": check("print(1)", "2\n"),
    "removed output": checked("print(1)"),
    "changed last digit": check("print(0.1234)", "0.1235\n"),
    "space at a line's end": check("print(1)", "1 \n"),
    "empty line at the end": check("print(1)", "1\n\n"),
    "no newline at the end": check("print(1)", "1"),
    "in two pieces": checked("print(1)\nprint(2)", printed("1\n"), printed("2\n")),
    "other stream": checked("print(1)", printed("1\n") | {"name": "stderr"}),
    "changed result": checked("1 + 1", returned("3")),
    "result where it printed": checked("print(1)", returned("1")),
    "one output more": checked("print(1)", printed("1\n"), returned("1")),
    "one output less": checked("print(1)\n2", printed("1\n")),
    "changed page": checked(HTML, shown(text_html="<b>old</b>", text_plain="<HTML>")),
    "changed picture": checked(PNG, shown(image_png="b2xk", text_plain="<Figure>")),
    "changed text of a picture": checked(PNG, shown(image_png="bmV3", text_plain="<Axes>")),
    "changed without a tag": code("print(1)", outputs=[printed("2\n")], count=1),
    "comment that checks": code("# NBVAL_CHECK_OUTPUT\nprint(1)", outputs=[printed("2\n")], count=1),
    "comment that ignores": check("# NBVAL_IGNORE_OUTPUT\nprint(1)", "2\n"),
    "tag that ignores": checked("print(1)", printed("2\n"), tags=("nbval-ignore-output",)),
    "skipped": checked("print(1)", printed("2\n"), tags=("nbval-skip",)),
    "no execution count": check("print(1)", "1\n", None),
    "no execution count, no tag": code("print(1)", outputs=[printed("1\n")]),
    "error as it was": checked("raise ValueError('new')", raised("new"), tags=("raises-exception",)),
    "changed error": checked("raise ValueError('new')", raised("old"), tags=("raises-exception",)),
}
#: Here opslab is stricter: to nbval it was never executed, and passes in silence.
CLEARED = checked("print(1)", count=None)


def nbval(folder: Path) -> dict[str, list[int]]:
    """Return the code cells that nbval fails, by notebook."""
    arguments = ["-p", "no:cacheprovider", "-p", "tests.support.ipc_kernels", "--nbval-lax", "--junitxml=report.xml"]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        *arguments,
        "--rootdir=.",
        *(path.name for path in folder.glob("*.ipynb")),
    ]
    project = Path(__file__).resolve().parents[3]
    environment = os.environ | {"PYTHONPATH": str(project)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1, done.stdout + done.stderr
    failed: dict[str, list[int]] = {path.stem: [] for path in folder.glob("*.ipynb")}
    for case in ElementTree.parse(folder / "report.xml").iter("testcase"):
        if case.find("failure") is not None:
            failed[case.attrib["classname"].rpartition(".")[0]].append(int(case.attrib["name"].split()[-1]))
    return failed


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """What nbval and a run say of the same notebooks: the cells that fail."""
    folder = tmp_path_factory.mktemp("tampered")
    save(folder / "tampered.ipynb", *TAMPERED.values())
    save(folder / "cleared.ipynb", CLEARED)
    save(folder / "raises.ipynb", check("print(1)", "1\n"), code("1 / 0"))
    report = notebooks.run([folder], out=tmp_path_factory.mktemp("out"))
    ours = {}
    for result in report.results:
        raising = [] if result.error is None else [result.error.cell]
        ours[result.path.stem] = [mismatch.cell for mismatch in result.mismatches] + raising
    return nbval(folder), ours


def test_opslab_and_nbval_fail_the_same_cells(verdicts):
    theirs, ours = ({name: cells for name, cells in verdict.items() if name != "cleared"} for verdict in verdicts)
    assert ours == theirs
    names = list(TAMPERED)
    passed = [name for index, name in enumerate(names) if index not in ours["tampered"]]
    assert passed == [
        "as it was",
        "in two pieces",
        "changed picture",
        "changed without a tag",
        "comment that ignores",
        "tag that ignores",
        "skipped",
        "error as it was",
    ]


def test_opslab_alone_fails_a_check_cell_that_was_cleared(verdicts):
    theirs, ours = (verdict["cleared"] for verdict in verdicts)
    assert (theirs, ours) == ([], [0])
