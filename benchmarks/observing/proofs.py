"""What the tests of `observe/` prove, counted: shapes on which both stores agree, damage noticed, bad input refused."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.harness import Figure
from mlops_helpers.workspace import project_root

__all__ = ["proofs"]

# what is tried, and what must not happen -> (files, parts of the names of its tests, how many there must be at least)
GROUPS: dict[tuple[str, str], tuple[tuple[str, ...], tuple[str, ...], int]] = {
    ("recorded shapes asked of both stores", "shapes on which they differ"): (
        ("test_prometheus",),
        ("are_those_of_prometheus",),
        20,
    ),
    ("tests of exported files by promtool", "exported files refused or failing"): (
        ("test_exports",),
        ("promtool_accepts", "they_pass_too", "has_an_answer"),
        3,
    ),
    ("kinds of damage done to every alert rule", "damage that no exported test notices"): (
        ("test_exports",),
        ("damage_to_any_alert",),
        3,
    ),
    ("tests of bad input", "bad input without a reason or an explicit unknown"): (
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
}


def proofs() -> Iterator[Figure]:
    """Run the tests in question; return, for each group, how many of them failed."""
    files = sorted({file for names, _, _ in GROUPS.values() for file in names})
    with TemporaryDirectory() as scratch:
        record = Path(scratch) / "record.xml"
        command = [sys.executable, "-m", "pytest", "--quiet", f"--junit-xml={record}"]
        subprocess.run(
            [*command, *(f"tests/observe/{file}.py" for file in files)],
            cwd=project_root(),
            capture_output=True,
            check=False,
            timeout=900,
        )
        cases = list(ET.parse(record).iter("testcase"))
    for (tried, wrong), (names, parts, least) in GROUPS.items():
        chosen = [
            case
            for case in cases
            if case.get("classname", "").rpartition(".")[2] in names
            and any(part in case.get("name", "") for part in parts)
        ]
        bad = [case for case in chosen if any(child.tag in ("failure", "error", "skipped") for child in case)]
        yield Figure(tried, float(len(chosen)), "count", f">= {least}", "tests/observe, this run")
        first = bad[0].get("name", "") if bad else ""
        yield Figure(wrong, float(len(bad)), "count", "<= 0", first and f"the first: {first}")
