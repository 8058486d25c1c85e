"""Cells that print more than anybody reads."""

import json

import nbformat
import pytest

from mlops_helpers.teach import outputs, pages
from mlops_helpers.teach.outputs import TEXT_LIMIT, Kept


def stream(kept, *pieces):
    """Take pieces (name, text) in as the client does; return what is kept by stream."""
    stored = [nbformat.v4.new_output("stream", name=name, text="") for name, text in pieces if kept.stream(name, text)]
    return {output.name: output.text for output in kept.merge(stored)}


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


def test_long_results_and_errors_are_cut_and_long_markup_goes():
    plain = {"data": {"text/plain": "z" * 3_000_000}}
    markup = {"data": {"text/html": "<b>" * 1_000_000, "text/plain": "<HTML>"}}
    error = {"evalue": "y" * 3_000_000, "traceback": ["y" * 3_000_000]}
    kinds = {"execute_result": plain, "display_data": markup, "error": error}
    for kind, content in kinds.items():
        kept = Kept()
        kept.shorten(kind, content)
        assert kept.cut > 1_900_000
        assert len(json.dumps(content)) < TEXT_LIMIT + 100
    assert plain["data"]["text/plain"].endswith("2,000,000 more characters were cut]")
    assert markup["data"] == {"text/plain": "<HTML>\n[opslab: 3,000,000 more characters of text/html were cut]"}
    assert len(error["evalue"]) < 11_000
    assert len(error["traceback"][0]) < 11_000


@pytest.mark.timeout(60)  # a moment; a page whose time grows with the square takes far longer
@pytest.mark.parametrize(
    "text",
    ["x" * TEXT_LIMIT, "\x1b[31mx\x1b[0m" * (TEXT_LIMIT // 10), "<&\n" * (TEXT_LIMIT // 30)],
    ids=["line", "colours", "markup"],
)
def test_longest_output_makes_a_page_in_seconds(text):
    cell = nbformat.v4.new_code_cell("x", outputs=[nbformat.v4.new_output("stream", name="stdout", text=text)])
    pages._exporter().from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
