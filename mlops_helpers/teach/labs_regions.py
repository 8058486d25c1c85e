"""The regions of a cell that students do not see: solutions and hidden tests, between marker lines.

They are nbgrader's: any line that holds ``BEGIN SOLUTION`` opens one, any line that holds ``END SOLUTION`` ends it, and
the student's version has a stub instead. ``HIDDEN TESTS`` are marked likewise and left out.
"""

import textwrap
from dataclasses import dataclass

from mlops_helpers.errors import StructureError

__all__ = ["HIDDEN", "SOLUTION", "STUB", "Region", "find", "replace"]

SOLUTION = "SOLUTION"
HIDDEN = "HIDDEN TESTS"
STUB = "# YOUR CODE HERE\nraise NotImplementedError()"
"""What students find in place of a solution: nbgrader's default stub."""


@dataclass(frozen=True)
class Region:
    """Lines ``begin`` to ``end`` of a source (from 0, the markers among them), and how far BEGIN is indented."""

    begin: int
    end: int
    indent: str
    text: str


def find(source: str, kind: str = SOLUTION) -> list[Region]:
    """Return the regions of a kind in order.

    Raises ``StructureError`` when markers are not balanced: nested, never ended, or ended without a beginning.
    """
    found, begin, lines = [], None, source.split("\n")
    for number, line in enumerate(lines):
        if f"BEGIN {kind}" in line:
            if begin is not None:
                raise _unbalanced(kind, number, f"BEGIN {kind} once more before the END of line {begin + 1}")
            begin = number
        elif f"END {kind}" in line:
            if begin is None:
                raise _unbalanced(kind, number, f"END {kind} without a BEGIN")
            indent = lines[begin][: len(lines[begin]) - len(lines[begin].lstrip())]
            found.append(Region(begin, number, indent, "\n".join(lines[begin + 1 : number])))
            begin = None
    if begin is not None:
        raise _unbalanced(kind, begin, f"BEGIN {kind} without an END")
    return found


def replace(source: str, text: str | None, kind: str = SOLUTION) -> str:
    """Return the source with ``text`` in place of each region and its markers; None: with nothing there.

    The text is indented as the region's BEGIN is, however it was indented before. Raises as :func:`find` does.
    """
    lines = source.split("\n")
    for region in reversed(find(source, kind)):
        fresh = [] if text is None else textwrap.indent(textwrap.dedent(text), region.indent).split("\n")
        lines[region.begin : region.end + 1] = fresh
    return "\n".join(lines)


def _unbalanced(kind: str, number: int, what: str) -> StructureError:
    return StructureError(
        f"line {number + 1}: {what}. Accepted: pairs of lines ### BEGIN {kind} and ### END {kind}, none within another"
    )
