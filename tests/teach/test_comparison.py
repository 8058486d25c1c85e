import nbformat
import nbval.plugin
import pytest

from mlops_helpers.teach import comparison


def nodes(cells, *pair):
    return [nbformat.from_dict(cells.notebook(cell)) for cell in pair]


def test_the_skip_list_is_nbvals(request, tmp_path, monkeypatch):
    monkeypatch.setattr(request.config.option, "nbdime", False)
    item = nbval.plugin.IPyNbFile.from_parent(request.session, path=tmp_path / "x.ipynb")
    assert item.skip_compare == comparison.SKIP_COMPARE


def test_equal_outputs_match_whatever_the_streams_pieces(cells):
    fresh = cells.code("x", "nbval-check-output", outputs=[cells.printed("a\n"), cells.printed("b\n")], count=9)
    assert comparison.compare(*nodes(cells, cells.check("x", "a\nb\n"), fresh)) == (1, [])


def test_a_difference_shows_both_texts(cells):
    compared, (mismatch,) = comparison.compare(*nodes(cells, cells.check("x", "old\n"), cells.check("x", "new\n")))
    assert compared == 1
    assert "old" in mismatch.reason
    assert "new" in mismatch.reason
    assert "\x1b" not in mismatch.reason


@pytest.mark.parametrize("stored", [{"outputs": []}, {"count": None, "outputs": []}])
def test_a_cleared_check_cell_is_a_mismatch(cells, stored):
    cell = cells.code("x", "nbval-check-output", **{"count": 1} | stored)
    _, (mismatch,) = comparison.compare(*nodes(cells, cell, cells.check("x", "new\n")))
    assert "opslab refresh" in mismatch.reason


def test_outputs_without_a_count_are_a_mismatch_as_for_nbval(cells):
    cell = cells.code("x", outputs=[cells.printed("a\n")])
    assert len(comparison.compare(*nodes(cells, cell, cell))[1]) == 1


@pytest.mark.parametrize("tags", [(), ("nbval-ignore-output",), ("nbval-check-output", "nbval-skip")])
def test_what_is_not_marked_is_not_compared(cells, tags):
    pair = [cells.code("x", *tags, outputs=[cells.printed(text)], count=1) for text in ("a", "b")]
    assert comparison.compare(*nodes(cells, *pair)) == (0, [])


def test_comment_markers_count_too(cells):
    pair = [cells.code("# NBVAL_CHECK_OUTPUT\nx", outputs=[cells.printed(t)], count=1) for t in ("a", "b")]
    assert len(comparison.compare(*nodes(cells, *pair))[1]) == 1
