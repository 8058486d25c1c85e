"""Every runbook on what it brings to practise on: first as a dry run, then confirmed; and what tests prove of them."""

import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.evidence import Claim
from benchmarks.harness import Figure
from mlops_helpers.respond import runbook_audit
from mlops_helpers.teach import notebooks
from mlops_helpers.teach.results import NotebookResult
from mlops_helpers.workspace import project_root

__all__ = ["CLAIMS", "runbook_figures"]

_PHRASE = re.compile(r"to change something, type: ([a-z -]+ on [a-z]+)")
CLAIMS = [
    Claim(
        "runbooks: another contract, second runs, confirmations and failed post-conditions tried",
        "runbooks: of these, without a clear end or with an unwanted change",
        ("test_runbook", "test_runbook_notebooks"),
        ("another_service", "confirmation", "dry_run", "not_there", "phrase", "post_condition", "second_run", "back"),
        20,
    ),
    Claim(
        "postmortems and response plans: flaws tried",
        "postmortems and response plans: flaws that are not found",
        ("test_postmortem", "test_response_plan"),
        ("keeps_it", "leaves_nothing", "proves_nothing", "refused", "that_blame", "wrong_is_found"),
        50,
    ),
]


def runbook_figures() -> Iterator[Figure]:
    """Run every runbook headlessly, twice."""
    paths = sorted((project_root() / "notebooks" / "runbooks").glob("*.ipynb"))
    yield Figure("runbooks", len(paths), "count", ">= 8", "each on a service that it starts and breaks, or on yours")
    asked: list[str] = []
    changed, seconds = 0, []
    for path in paths:
        result, kinds, printed = _ran(path, {})
        asked += [path.stem] if result.status != "passed" else []
        changed += "changing" in kinds
        phrase = _PHRASE.search(printed)
        assert phrase, f"{path.name} does not say what has to be typed"
        confirmed = {"dry_run": False, "who": "a benchmark", "confirmation": phrase[1]}
        result, kinds, printed = _ran(path, confirmed)
        mended = result.status == "passed" and "changed" in kinds and "verified" in kinds
        asked += [] if mended else [f"{path.stem}, confirmed"]
        seconds.append(result.seconds)
    of = f"of {2 * len(paths)} runs, a dry run and a confirmed one each"
    yield Figure("runbooks that do not do what they are for", len(asked), "count", "<= 0", "; ".join(asked) or of)
    yield Figure("dry runs that change something", changed, "count", "<= 0", "by the audit records")
    spread = f"{min(seconds):.1f} to {max(seconds):.1f}; training and starting the platform included"
    yield Figure("a confirmed runbook, median", statistics.median(seconds), "s", "", spread)


def _ran(path: Path, given: dict[str, object]) -> tuple[NotebookResult, set[str], str]:
    """Return the result, the kinds of its audit records, and the text of the executed notebook."""
    with TemporaryDirectory() as scratch:
        (result,) = notebooks.run([path], given, out=Path(scratch), plain_kernels=True).results
        files = Path(scratch).rglob(f"runbooks/{runbook_audit.FILE}")
        kinds = {record["kind"] for file in files for record in runbook_audit.read(file)}
        printed = result.executed.read_text(encoding="utf-8") if result.executed else ""
    return result, kinds, printed
