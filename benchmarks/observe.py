"""Metrics, objectives, alerts and drift: what they cost, how far to trust them. ``build/bench/observe.json`` has it."""

from benchmarks.harness import report
from benchmarks.observing import drift
from benchmarks.observing.cost import cost
from benchmarks.observing.events import events
from benchmarks.observing.proofs import proofs

__all__ = ["main"]


def main() -> bool:
    """Measure, print, store; return whether every goal holds."""
    return report("observe", [*events(), *cost(), *proofs(), *drift.figures()])
