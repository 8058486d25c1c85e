"""Drills, runbooks, postmortems: that each does what it is for. ``build/bench/respond.json`` has it."""

from collections.abc import Iterator

from benchmarks.evidence import counted
from benchmarks.harness import Figure, report
from benchmarks.responding import drills, runbooks

__all__ = ["main"]


def _figures() -> Iterator[Figure]:
    yield from drills.drill_figures()
    yield from runbooks.runbook_figures()
    yield from counted([*drills.CLAIMS, *runbooks.CLAIMS], "tests/respond")


def main() -> bool:
    """Measure, print, store; return whether every goal holds."""
    return report("respond", list(_figures()))
