"""Every drill of the catalogue: each scenario with all its solutions, wrong answers and fixes."""

from collections.abc import Iterator

from benchmarks.measure import Figure
from benchmarks.responding import confusion
from mlops_helpers.respond import scenario, trials


def figures() -> Iterator[Figure]:
    """Run all drills; compare outcomes with the expected ones."""
    yield from confusion([job for name in scenario.names() for job in trials.jobs(name)])
