"""Comparing executed outputs with stored ones by nbval's own rules, without executing anything again.

The semantics are those of ``pytest --nbval-lax``: cells tagged ``nbval-check-output`` are compared, PNG and
execution counts are not, streams are merged first. One thing is stricter: a check cell that was cleared,
with neither output nor execution count, is a mismatch here, where nbval passes it in silence.
"""

import copy
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from nbformat import NotebookNode
from nbval.plugin import IPyNbCell, coalesce_streams, find_comment_markers, find_metadata_tags, nocolors

__all__ = ["SKIP_COMPARE", "Mismatch", "compare", "marks"]

#: What nbval leaves out of the comparison by default. It keeps the list inside a constructor; a test holds
#: the two in step.
SKIP_COMPARE = (
    "metadata",
    "traceback",
    "prompt_number",
    "output_type",
    "name",
    "execution_count",
    "application/vnd.jupyter.widget-view+json",
    "image/png",
    "image/jpeg",
)

SHOWN = 5_000  # characters of each text of a mismatch


@dataclass(frozen=True)
class Mismatch:
    """One check cell whose output is not the stored one. ``cell`` is the index in the stored notebook."""

    cell: int
    cell_id: str
    reason: str


class _Comparator:
    """What ``IPyNbCell.compare_outputs`` reads of the pytest item that it usually lives in."""

    compare_outputs = IPyNbCell.compare_outputs
    sanitize = IPyNbCell.sanitize
    colors = nocolors
    config = None
    parent = SimpleNamespace(skip_compare=SKIP_COMPARE, sanitize_patterns={})
    # No pytest around to explain a difference: nbval then shows both texts in full.
    ihook = SimpleNamespace(pytest_assertrepr_compare=lambda **_: [])

    def __init__(self) -> None:
        self.comparison_traceback: list[str] = []

    def format_output_compare(self, key: str, left: Any, right: Any) -> None:
        IPyNbCell.format_output_compare(self, key, *_telling(left, right))


def _telling(left: Any, right: Any) -> tuple[Any, Any]:
    """Return of long texts the part where they begin to differ."""
    if not (isinstance(left, str) and isinstance(right, str)) or max(len(left), len(right)) <= SHOWN:
        return left, right
    equal = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    start = max(0, equal - SHOWN // 10)
    head = f"[{SHOWN:,} characters from character {start:,} on]\n"
    return head + left[start : start + SHOWN], head + right[start : start + SHOWN]


def marks(cell: NotebookNode) -> dict[str, bool]:
    """Return what nbval's tags and comment markers ask for: ``check``, ``check_exception``, ``skip``."""
    found: dict[str, Any] = {"check": False, "check_exception": False, "skip": False}
    found.update(find_metadata_tags(cell.metadata))
    found.update(find_comment_markers(cell.source))
    return found


def compare(stored: NotebookNode, executed: NotebookNode) -> tuple[int, list[Mismatch]]:
    """Compare two versions of one notebook cell by cell; cells belong together by their position.

    Returns the number of check cells compared, and the mismatches.
    """
    compared, mismatches = 0, []
    for index, (reference, fresh) in enumerate(zip(stored.cells, executed.cells, strict=True)):
        if reference.cell_type != "code":
            continue
        asked = marks(reference)
        if asked["skip"]:
            continue
        reason = ""
        if reference.outputs and reference.execution_count is None:
            reason = "has outputs stored without an execution count (nbval: 'Unrun reference cell has outputs')"
        elif asked["check"]:
            reason = _difference(reference, fresh)
        compared += bool(asked["check"])
        if reason:
            mismatches.append(Mismatch(index, reference.get("id", ""), reason))
    return compared, mismatches


def _difference(reference: NotebookNode, fresh: NotebookNode) -> str:
    if not reference.outputs:
        return "has no stored output to compare with. Store it: opslab refresh"
    comparator = _Comparator()
    # nbval's merging of streams changes its argument.
    streams = [coalesce_streams(copy.deepcopy(cell.outputs)) for cell in (fresh, reference)]
    if comparator.compare_outputs(*streams):
        return ""
    return "\n".join(line.rstrip() for line in comparator.comparison_traceback if line.strip())
