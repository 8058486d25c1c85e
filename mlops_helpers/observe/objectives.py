"""Service level indicators and objectives as data: what is counted, and how much of it must be good.

Every indicator is a number of good events of a number of events, asked of counters. A latency, a freshness and any
other "within so many seconds" is a bucket of a histogram; throughput has no events of its own, so it is judged by time
slices: the share of minutes in which at least so much was done.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from mlops_helpers.errors import ObjectiveError
from mlops_helpers.observe.selector import Matcher, Selector

__all__ = ["DAY", "HOUR", "KINDS", "MINUTE", "Indicator", "Objective", "TimeSlices"]

MINUTE = 60.0
HOUR = 3_600.0
DAY = 86_400.0
KINDS = {
    "availability": "requests that were answered without error",
    "latency": "requests that were answered within a time",
    "throughput": "time slices in which enough was done",
    "freshness": "updates that reached the readers within a time",
    "durability": "things that were accepted and are still there",
    "quality": "verdicts that a person confirmed, counted when the label arrives",
}
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # what OpenSLO and Kubernetes accept


@dataclass(frozen=True)
class Indicator:
    """What is counted: ``total`` events, and either the ``good`` or the ``bad`` ones of them, as selectors of counters.

    With neither good nor bad (kind ``throughput``), ``minimum`` is the number of events a second that a slice needs.
    """

    kind: str
    total: Selector
    good: Selector | None = None
    bad: Selector | None = None
    minimum: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ObjectiveError(f"kind is {self.kind!r}; accepted: {', '.join(KINDS)}")
        if self.kind == "throughput":
            if self.minimum is None or not self.minimum > 0 or self.good or self.bad:
                raise ObjectiveError("throughput needs a minimum above 0 events a second, and no good or bad events")
        elif (self.good is None) == (self.bad is None) or self.minimum is not None:
            raise ObjectiveError(f"{self.kind} needs the good or the bad events (one of the two), and no minimum")

    @classmethod
    def of_counters(cls, kind: str, total: str, *, good: str | None = None, bad: str | None = None) -> "Indicator":
        """Return an indicator of two counters: ``of_counters("availability", "x_total", bad='x_total{code=~"5.."}')``.

        Raises ``ObjectiveError`` for an unknown kind or neither or both of good and bad, ``MetricsError`` for a
        selector that cannot be read.
        """
        good_ones, bad_ones = (Selector.parse(text) if text is not None else None for text in (good, bad))
        return cls(kind, Selector.parse(total), good_ones, bad_ones)

    @classmethod
    def of_histogram(cls, kind: str, histogram: str, seconds: float, **labels: str) -> "Indicator":
        """Return an indicator of a histogram (its name without ``_bucket``): the share within ``seconds``.

        ``seconds`` must be one of the histogram's bounds (``le``): nothing between two bounds can be counted.
        """
        base = Selector.parse(histogram)
        matchers = (*base.matchers, *(Matcher(label, "=", value) for label, value in sorted(labels.items())))
        # clients write the bound 1 as "1.0" or as "1"
        bound = repr(float(seconds))
        le = Matcher("le", "=~", bound[:-2] + "([.]0)?") if bound.endswith(".0") else Matcher("le", "=", bound)
        return cls(kind, Selector(f"{base.name}_count", matchers), Selector(f"{base.name}_bucket", (*matchers, le)))

    @classmethod
    def of_throughput(cls, total: str, minimum: float) -> "Indicator":
        """Return the indicator "at least ``minimum`` events a second", judged by time slices."""
        return cls("throughput", Selector.parse(total), minimum=minimum)


@dataclass(frozen=True)
class TimeSlices:
    """Judge by slices of ``seconds``: a slice is good when at least ``target`` of its events are.

    A slice without events is good for every kind but throughput: nobody was let down.
    """

    seconds: float = MINUTE
    target: float = 1.0


@dataclass(frozen=True)
class Objective:
    """``target`` of the events (or of the slices, with ``slices``) within a rolling ``period`` (seconds) are good.

    ``name`` is a slug; ``service`` says whose it is; ``labels`` go to every alert.

    Raises ``ObjectiveError`` for a target outside 0 to 1 (exclusive: 100 % leaves no budget), a period that is not
    positive, slices that do not fit, or a name that other systems would not take.
    """

    name: str
    target: float
    indicator: Indicator
    period: float = 30 * DAY
    slices: TimeSlices | None = None
    service: str = "blog"
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ObjectiveError(f"name is {self.name!r}; accepted: a-z, 0-9 and '-', such as comments-available")
        if not 0 < self.target < 1:
            raise ObjectiveError(
                f"target of {self.name} is {self.target}; accepted: above 0 and below 1, such as 0.999. "
                "A target of 1 leaves no budget: every alert would page for a single failure"
            )
        if not 0 < self.period < float("inf"):
            raise ObjectiveError(f"period of {self.name} is {self.period} s; accepted: above 0, such as {30 * DAY:.0f}")
        if self.indicator.kind == "throughput" and self.slices is None:
            object.__setattr__(self, "slices", TimeSlices())
        if self.slices and not (0 < self.slices.seconds <= self.period and 0 < self.slices.target <= 1):
            raise ObjectiveError(
                f"slices of {self.name} are {self.slices}; accepted: seconds above 0 and within the period, target "
                "above 0 and at most 1"
            )

    @property
    def budget(self) -> float:
        """The share of events (or slices) that may be bad: 1 - target, to the last bit."""
        return float(self.exact_budget)

    @property
    def exact_budget(self) -> Decimal:
        """The same as it is written: 0.1 for a target of 0.9, where binary floats have 0.09999999999999998."""
        return 1 - Decimal(repr(float(self.target)))
