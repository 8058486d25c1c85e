"""What the tests of `observe/` prove, counted: shapes on which both stores agree, damage noticed, bad input refused."""

from collections.abc import Iterator

from benchmarks.evidence import Claim, counted
from benchmarks.harness import Figure

__all__ = ["proofs"]

CLAIMS = [
    Claim(
        "recorded shapes asked of both stores",
        "shapes on which they differ",
        ("test_prometheus",),
        ("are_those_of_prometheus",),
        20,
    ),
    Claim(
        "tests of exported files by promtool",
        "exported files refused or failing",
        ("test_exports",),
        ("promtool_accepts", "they_pass_too", "has_an_answer"),
        3,
    ),
    Claim(
        "kinds of damage done to every alert rule",
        "damage that no exported test notices",
        ("test_exports",),
        ("damage_to_any_alert",),
        3,
    ),
    Claim(
        "tests of bad input",
        "bad input without a reason or an explicit unknown",
        (
            "test_exposition",
            "test_metric_store",
            "test_scraper",
            "test_counting",
            "test_alerting",
            "test_openslo",
            "test_exports",
            "test_burnrate",
            "test_objectives",
            "test_budget",
            "test_delivery_metrics",
            "test_selector",
        ),
        (
            "refused",
            "garbage",
            "wrong",
            "missing",
            "cannot",
            "damaged",
            "bombs",
            "unknown",
            "backwards",
            "nothing",
            "negative",
            "not_there",
            "never",
        ),
        40,
    ),
]


def proofs() -> Iterator[Figure]:
    """Run the tests in question; return, for each claim, how many tests tried it and how many of them failed."""
    yield from counted(CLAIMS, "tests/observe")
