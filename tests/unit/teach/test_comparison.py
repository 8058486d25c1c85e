import nbformat
import nbval.plugin
import pytest

from mlops_helpers.teach import comparison
from tests.support.tiny_notebooks import check, code, notebook, printed


def compared(stored, fresh):
    return comparison.compare(*(nbformat.from_dict(notebook(cell)) for cell in (stored, fresh)))


def test_skip_list_is_nbvals(request, tmp_path, monkeypatch):
    monkeypatch.setattr(request.config.option, "nbdime", False)
    item = nbval.plugin.IPyNbFile.from_parent(request.session, path=tmp_path / "x.ipynb")
    assert item.skip_compare == comparison.SKIP_COMPARE


def test_equal_outputs_match_whatever_the_streams_pieces():
    fresh = code("x", "nbval-check-output", outputs=[printed("a\n"), printed("b\n")], count=9)
    assert compared(check("x", "a\nb\n"), fresh) == (1, [])


@pytest.mark.parametrize("length", [0, 900_000])
def test_difference_shows_both_texts_where_they_part(length):
    stored, fresh = (check("x", "x" * length + end) for end in ("old\n", "new\n"))
    count, (mismatch,) = compared(stored, fresh)
    assert count == 1
    assert "old" in mismatch.reason
    assert "new" in mismatch.reason
    assert "\x1b" not in mismatch.reason
    assert len(mismatch.reason) < 3 * comparison.SHOWN


@pytest.mark.parametrize("count", [1, None])
def test_cleared_check_cell_is_a_mismatch(count):
    _, (mismatch,) = compared(code("x", "nbval-check-output", count=count), check("x", "new\n"))
    assert "opslab refresh" in mismatch.reason


@pytest.mark.parametrize("tags", [(), ("nbval-ignore-output",), ("nbval-check-output", "nbval-skip")])
def test_unmarked_cell_is_not_compared(tags):
    stored, fresh = (code("x", *tags, outputs=[printed(text)], count=1) for text in ("a", "b"))
    assert compared(stored, fresh) == (0, [])
