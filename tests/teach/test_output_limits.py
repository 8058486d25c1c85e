"""Cells that print more than anybody reads."""

import json
import time

import nbformat
import pytest

from mlops_helpers.teach import notebooks, outputs
from mlops_helpers.teach.outputs import TEXT_LIMIT, Kept


def stream(kept, *pieces):
    """Take pieces (name, text) in as the client does; return what is kept by stream."""
    stored = [nbformat.v4.new_output("stream", name=name, text="") for name, text in pieces if kept.stream(name, text)]
    return {output.name: output.text for output in kept.merge(stored)}


def test_a_line_of_a_hundred_megabytes_neither_hangs_nor_fills_the_page(save, cells, tmp_path):
    path = save("nb", cells.code("for i in range(100): print('x' * 1_000_000)"), cells.check("print('a\\rb')", "b\n"))
    start = time.monotonic()
    (result,) = notebooks.run([path], out=tmp_path / "out", timeout=60).results
    assert time.monotonic() - start < 40  # some seconds; hours before
    assert (result.status, result.checks) == ("passed", 1)
    assert result.cut == ("cell 0: 99,000,100 characters of output cut",)
    (kept,) = json.loads(result.executed.read_text())["cells"][0]["outputs"]
    text = "".join(kept["text"])
    assert text.endswith("x\n[opslab: 99,000,100 more characters were cut]\n")
    assert len(text) < TEXT_LIMIT + 100
    assert result.page.stat().st_size < 3 * TEXT_LIMIT
    assert "99,000,100" in (tmp_path / "out" / "index.html").read_text()
    row = json.loads((tmp_path / "out" / "results.json").read_text())["notebooks"][0]
    assert row["output_cut"] == list(result.cut)


def test_endless_printing_ends_at_the_time_limit(save, cells, tmp_path):
    path = save("nb", cells.code("while True: print('x' * 1_000_000)"), cells.markdown(""))
    (result,) = notebooks.run([path], out=tmp_path / "out", timeout=1).results
    assert "ran longer than 1 s" in str(result.error)
    assert result.executed.stat().st_size < 2 * TEXT_LIMIT


def test_long_results_and_errors_are_cut_and_long_markup_goes(save, cells, tmp_path, monkeypatch):
    path = save(
        "nb",
        cells.code("'z' * 3_000_000"),
        cells.code("from IPython.display import HTML\nHTML('<b>' * 1_000_000)"),
        cells.code("raise ValueError('y' * 3_000_000)"),
    )
    (result,) = notebooks.run([path], out=tmp_path / "out").results
    plain, markup, error = (cell["outputs"][0] for cell in json.loads(result.executed.read_text())["cells"])
    assert "2,000,002 more characters were cut" in "".join(plain["data"]["text/plain"])
    assert list(markup["data"]) == ["text/plain"]
    assert "3,000,000 more characters of text/html" in "".join(markup["data"]["text/plain"])
    assert len(error["evalue"]) < 11_000
    assert len(result.explain()) < 50_000


def test_what_was_cleared_does_not_count(save, cells, tmp_path):
    source = "from IPython.display import clear_output\nfor wait in (True, False) * 2:\n"
    source += "    print('x' * 900_000)\n    clear_output(wait=wait)\nprint('the end')"
    (result,) = notebooks.run([save("nb", cells.code(source))], out=tmp_path / "out").results
    assert result.cut == ()
    (output,) = json.loads(result.executed.read_text())["cells"][0]["outputs"]
    assert output["text"] == ["the end\n"]


def test_streams_are_cut_alike_in_whatever_order_they_arrive(monkeypatch):
    monkeypatch.setattr(outputs, "TEXT_LIMIT", 10)
    pieces = [("stdout", "aaaaaaaa\n"), ("stderr", "bbbbbb"), ("stdout", "aaaaaa"), ("stderr", "bbbbbb")]
    kept = [stream(Kept(), *order) for order in (pieces, sorted(pieces, key=lambda piece: piece[0]))]
    assert kept[0] == kept[1]
    assert list(kept[0]) == list(kept[1]) == ["stdout", "stderr"]
    assert kept[0]["stdout"] == "aaaaaaaa\na\n[opslab: 5 more characters were cut]\n"


def test_streams_are_merged_as_nbclient_does():
    kept = stream(Kept(), ("stderr", "1%\r"), ("stdout", "a\nb\r"), ("stderr", "2%\r\n"), ("stdout", "c\n"))
    assert kept == {"stdout": "a\nc\n", "stderr": "2%\r\n"}


@pytest.mark.parametrize(
    "text", ["x" * TEXT_LIMIT, "\x1b[31mx\x1b[0m" * (TEXT_LIMIT // 10), "<&\n" * (TEXT_LIMIT // 3)]
)
def test_the_longest_output_makes_a_page_in_seconds(text):
    from mlops_helpers.teach import pages

    cell = nbformat.v4.new_code_cell("x", outputs=[nbformat.v4.new_output("stream", name="stdout", text=text)])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    start = time.monotonic()
    pages._exporter().from_notebook_node(notebook)
    assert time.monotonic() - start < 60  # a moment; a page whose time grows with the square takes far longer


def test_a_mismatch_of_long_texts_shows_where_they_part(cells):
    from mlops_helpers.teach import comparison

    pair = [nbformat.from_dict(cells.notebook(cells.check("x", "x" * 900_000 + end))) for end in ("old", "new")]
    _, (mismatch,) = comparison.compare(*pair)
    assert len(mismatch.reason) < 3 * comparison.SHOWN
    assert "old" in mismatch.reason
    assert "new" in mismatch.reason
