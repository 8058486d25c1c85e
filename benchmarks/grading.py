"""Grading: its cost beside its peers, what it withstands and tells apart. ``build/bench/grading.json`` has it."""

from collections.abc import Iterator

from benchmarks.evidence import Claim, counted
from benchmarks.harness import Figure, report
from benchmarks.marking.answers import answer_figures
from benchmarks.marking.cluster import cluster_figures
from benchmarks.marking.speed import speed_figures

__all__ = ["main"]

CLAIMS = [
    Claim(
        "attacks on the grader tried",
        "attacks with an undeserved point, no reason in the feedback, or harm to another submission",
        ("test_grading_attacks",),
        ("test_",),
        25,
    ),
    Claim(
        "bad inputs tried",
        "bad inputs without a clear end",
        ("test_grading_class", "test_grading_reports", "test_grading_engine"),
        (
            *("refused", "hostile", "not_there", "not_utf_8", "one_students_problem", "safe", "is_said", "no_text"),
            *("formula", "time_zone", "bad_input", "said_in_a_sentence", "odd_names", "through_a_link"),
        ),
        40,
    ),
    Claim(
        "interruptions, crashes and damaged records tried",
        "interruptions, crashes and damaged records that lost a result or touched another",
        ("test_grading_class", "test_grading_engine"),
        ("interruption", "never_touches", "refuses_to_start", "not_believed", "cluster", "survives"),
        8,
    ),
]


def _figures() -> Iterator[Figure]:
    yield from speed_figures()
    yield from cluster_figures()
    yield from answer_figures()
    yield from counted(CLAIMS, "tests/teach")


def main() -> bool:
    """Measure, print, store; return whether every goal holds."""
    return report("grading", list(_figures()))
