"""What tests prove, counted: how many tried it, and how many of these failed."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.harness import Figure
from mlops_helpers.workspace import project_root

__all__ = ["Claim", "counted"]

_TIMEOUT_SECONDS = 1200


@dataclass(frozen=True)
class Claim:
    """What is ``tried`` and what must not happen (``wrong``), and which tests try it.

    A test counts when its file is one of ``files`` (without ``.py``) and its name has one of ``parts`` in it; there
    must be ``least`` of them. A test that is skipped proves nothing, and counts as wrong.
    """

    tried: str
    wrong: str
    files: Sequence[str]
    parts: Sequence[str]
    least: int


def counted(claims: Sequence[Claim], folder: str) -> Iterator[Figure]:
    """Run the test files of a folder once; for each claim, return how many tests tried it and how many failed."""
    files = sorted({file for claim in claims for file in claim.files})
    with TemporaryDirectory() as scratch:
        record = Path(scratch) / "record.xml"
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "--quiet",
                f"--junit-xml={record}",
                *(f"{folder}/{one}.py" for one in files),
            ],
            cwd=project_root(),
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_SECONDS,
        )
        cases = list(ET.parse(record).iter("testcase"))
    for claim in claims:
        chosen = [
            case
            for case in cases
            if case.get("classname", "").rpartition(".")[2] in claim.files
            and any(part in case.get("name", "") for part in claim.parts)
        ]
        bad = [case for case in chosen if any(child.tag in ("failure", "error", "skipped") for child in case)]
        yield Figure(claim.tried, float(len(chosen)), "count", f">= {claim.least}", f"{folder}, this run")
        first = bad[0].get("name", "") if bad else ""
        yield Figure(claim.wrong, float(len(bad)), "count", "<= 0", first and f"the first: {first}")
