"""What all subjects share: figures with goals, ratios of interleaved rounds, and the one table."""

import json
import operator
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlops_helpers.workspace import atomic_file, project_root

RESULTS = project_root() / "build" / "bench" / "RESULTS.md"
_COMPARISONS = {"<=": operator.le, ">=": operator.ge}
Values = Sequence[float]
_VERDICTS = {True: "yes", False: "NO", None: "-"}


@dataclass(frozen=True)
class Figure:
    """A measured number, or None for what cannot be measured here; a ``goal`` is "", "<= 0.25" or ">= 94 <= 98"."""

    figure: str
    value: float | None
    unit: str = ""
    goal: str = ""
    conditions: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the unrounded value meets the goal; None where there is no goal, or no value."""
        if not self.goal or self.value is None:
            return None
        words = self.goal.split()
        return all(_COMPARISONS[a](self.value, float(b)) for a, b in zip(words[::2], words[1::2], strict=True))

    def cells(self) -> list[str]:
        """Return what the table shows."""
        shown = "not here" if self.value is None else f"{self.value:.4g} {self.unit}".strip()
        return [self.figure, shown, self.goal, _VERDICTS[self.holds], self.conditions]


def seconds(call: Callable[..., object], *arguments: Any) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - began


def interleaved(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each round by way; they take turns, so that a slow minute of the machine hits all alike."""
    times = [[seconds(call) for call in ways.values()] for _ in range(rounds)]
    return dict(zip(ways, map(list, zip(*times, strict=True)), strict=True))


def run(*command: str, folder: Path, **environment: str) -> None:
    """Run a command, whose output is of interest when it fails. Raises ``RuntimeError`` then."""
    settings: dict[str, Any] = {"cwd": folder, "env": os.environ | environment, "capture_output": True, "text": True}
    done = subprocess.run(command, check=False, **settings)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:5])} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def ratio(figure: str, ours: Values, theirs: Values, goal: str = "", about: str = "", unit: str = "s") -> Figure:
    """Return the median of the rounds' ratios ours / theirs, with their spread and both medians."""
    medians = f"medians {statistics.median(ours):.3g} and {statistics.median(theirs):.3g} {unit}"
    about = "; ".join(filter(None, [medians, about, f"{os.cpu_count()} processors"]))
    return median(figure, [a / b for a, b in zip(ours, theirs, strict=True)], "ratio", goal, about)


def median(figure: str, values: Values, unit: str, goal: str = "", about: str = "") -> Figure:
    """Return the median of repeated measurements, with their spread."""
    spread = f"{len(values)} times, {min(values):.3g} to {max(values):.3g}"
    return Figure(figure, statistics.median(values), unit, goal, "; ".join(filter(None, [spread, about])))


def none_of(figure: str, offenders: Sequence[object], about: str = "") -> Figure:
    """Return how many offenders there are, which should be none; the first ones are named."""
    return Figure(figure, len(offenders), "", "<= 0", "; ".join(filter(None, [*map(str, offenders[:5]), about])))


def store(subject: str, figures: Sequence[Figure]) -> None:
    """Put a subject's figures in the place of its earlier ones, and write the table."""
    measured = {"measured": f"{datetime.now(UTC):%Y-%m-%d %H:%M}", "figures": [asdict(one) for one in figures]}
    with atomic_file(RESULTS.with_suffix(".json")) as path:
        path.write_text(json.dumps(_stored() | {subject: measured}, indent=1), encoding="utf-8")
    with atomic_file(RESULTS) as path:
        path.write_text(table(), encoding="utf-8")


def _stored() -> dict[str, Any]:
    path = RESULTS.with_suffix(".json")
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def table() -> str:
    """Return all figures as one table in Markdown, each with the time of its run (UTC)."""
    rows = [["subject", "measured", "figure", "value", "goal", "holds", "conditions"]]
    for subject, stored in sorted(_stored().items()):
        rows += [[subject, stored["measured"], *Figure(**each).cells()] for each in stored["figures"]]
    rows = [[" ".join(cell.replace("|", "/").split()) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widths[-1] = 1  # the last column is the longest one
    rows.insert(1, ["-" * width for width in widths])
    return "".join("| " + " | ".join(map(str.ljust, row, widths)) + " |\n" for row in rows)
