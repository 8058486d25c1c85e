"""What every benchmark shares: figures with goals, interleaved rounds, one table and one JSON file."""

import json
import operator
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import pandas as pd

from mlops_helpers.workspace import atomic_file, project_root

__all__ = ["Figure", "interleaved", "ratios", "report"]

COMPARISONS = {"<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True)
class Figure:
    """One measured number.

    ``goal`` is a comparison such as ``"<= 0.25"``, a range ``">= 94 <= 98"``, or empty for a figure that is only
    stated. ``conditions`` says what was measured under which circumstances, the spread included.
    """

    figure: str
    value: float
    unit: str
    goal: str
    conditions: str

    @property
    def holds(self) -> bool | None:
        """Whether the unrounded value meets the goal; None where there is no goal."""
        words = self.goal.split()
        if not words:
            return None
        pairs = zip(words[::2], words[1::2], strict=True)
        return all(COMPARISONS[sign](self.value, float(bound)) for sign, bound in pairs)


def interleaved(
    contenders: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 0
) -> dict[str, list[float]]:
    """Time each contender once a round, in turn, so that a slow minute of the machine hits all alike.

    Returns seconds per round, in the order of the rounds; ``warm_up`` rounds come first and are not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(-warm_up, rounds):
        for name, call in contenders.items():
            start = time.perf_counter()
            call()
            if number >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratios(ours: list[float], theirs: list[float]) -> tuple[float, str]:
    """Return the median of the per-round ratios ours / theirs, and their spread in words."""
    values = [a / b for a, b in zip(ours, theirs, strict=True)]
    return statistics.median(values), f"{len(values)} rounds, {min(values):.3g} to {max(values):.3g}"


def report(name: str, figures: list[Figure]) -> bool:
    """Print the table, write ``build/bench/NAME.json``; return whether every goal holds."""
    rows = [{**asdict(figure), "holds": figure.holds} for figure in figures]
    ordered = [{key: row[key] for key in ("figure", "value", "unit", "goal", "holds", "conditions")} for row in rows]
    with atomic_file(project_root() / "build" / "bench" / f"{name}.json") as path:
        path.write_text(json.dumps(ordered, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    table = pd.DataFrame(ordered).assign(holds=lambda t: t["holds"].map({True: "yes", False: "NO"}).fillna("-"))
    print(f"\n{name}\n{table.to_string(index=False, max_colwidth=90, float_format='{:.4g}'.format)}")
    missed = [figure.figure for figure in figures if figure.holds is False]
    if missed:
        print(f"{name}: {len(missed)} of {len(figures)} goals missed: {'; '.join(missed)}", file=sys.stderr)
    return not missed
