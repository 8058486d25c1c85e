"""How a canary is to go on: stages of weight, as data that is checked before anything happens.

::

    alpha: 0.05            # an equal version is aborted at most so often, however often one looks
    window: 1000           # so many comments make a window, whose slowest are compared
    slow_share: 0.01       # how many of a window are its slowest: 0.01 looks at the p99
    stages:
      - {weight: 0.05, comments: 5000}
      - {weight: 0.25, comments: 10000}
      - {weight: 0.50, comments: 25000, labels: 8000}
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from mlops_helpers.errors import ParameterError

__all__ = ["DEFAULT", "Plan", "Stage"]

_EXAMPLE = "stages: [{weight: 0.05, comments: 5000}, {weight: 0.5, comments: 25000, labels: 8000}]"


@dataclass(frozen=True)
class Stage:
    """The canary's share of the comments (``weight``), until so many ``comments`` came and so many ``labels``.

    Both count the two versions together. Raises ``ParameterError`` for a weight that compares nothing.
    """

    weight: float
    comments: int
    labels: int = 0

    def __post_init__(self) -> None:
        if not (_number(self.weight) and 0 < self.weight < 1):
            raise ParameterError(
                f"the weight of a stage is {self.weight!r}; accepted: above 0 and below 1 (100 %), such as 0.05. "
                "After the last stage the canary gets everything"
            )
        _check_counts(comments=(self.comments, 1), labels=(self.labels, 0))


@dataclass(frozen=True)
class Plan:
    """Stages, and how they are judged.

    ``alpha`` bounds the probability that a version that is not worse is aborted. ``window`` comments are compared with
    each other for their ``slow_share``. Of events within ``burst_seconds`` one counts: at least as long as processes
    stall now and then, since a stall is one event and not as many as there were readers in it. A stage that has not
    seen enough after ``stage_seconds`` ends the canary without a verdict.

    Raises ``ParameterError`` when no stage is left, weights do not rise, or a value is out of range.
    """

    stages: tuple[Stage, ...]
    alpha: float = 0.05
    window: int = 1000
    slow_share: float = 0.01
    burst_seconds: float = 0.5
    stage_seconds: float = 86_400.0

    def __post_init__(self) -> None:
        weights = [stage.weight for stage in self.stages]
        if not weights or sorted(set(weights)) != weights:
            raise ParameterError(f"the weights of the stages are {weights}; accepted: at least one, rising: {_EXAMPLE}")
        ranges = {"alpha": (0, 1), "slow_share": (0, 0.5), "burst_seconds": (0, 60), "stage_seconds": (0, 1e7)}
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not (_number(value) and low < value < high):
                raise ParameterError(f"{name} is {value!r}; accepted: above {low} and below {high:g}")
        _check_counts(window=(self.window, 10))

    @classmethod
    def read(cls, content: Any) -> "Plan":
        """Return the plan that a mapping says, as a YAML file gives it. Raises ``ParameterError`` with the reason."""
        known = {field.name for field in fields(cls)}
        if not isinstance(content, Mapping) or "stages" not in content:
            raise ParameterError(f"a plan is a mapping with stages, found {type(content).__name__}; such as {_EXAMPLE}")
        if strange := sorted(map(str, set(content) - known)):
            raise ParameterError(f"a plan knows no {', '.join(strange)}; accepted: {', '.join(sorted(known))}")
        rows = content["stages"]
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            raise ParameterError(f"stages are {rows!r}; accepted: a list such as {_EXAMPLE}")
        try:
            stages = tuple(Stage(**row) for row in rows)
        except TypeError as error:  # a key is missing or unknown
            raise ParameterError(f"a stage is wrong: {error}; accepted: weight, comments and labels") from error
        return cls(**{**content, "stages": stages})


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_counts(**given: tuple[Any, int]) -> None:
    for name, (value, least) in given.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ParameterError(f"{name} is {value!r}; accepted: a whole number, at least {least}")


DEFAULT = Plan((Stage(0.05, 5_000), Stage(0.25, 10_000), Stage(0.5, 25_000, labels=10_000)))
"""40,000 comments: enough to miss no more than one in twenty of the harms named in chapter 09."""
