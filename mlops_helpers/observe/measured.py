"""The windows of objectives as they are now, asked of metrics: each counter and window once, whoever shares them."""

import math
from typing import TYPE_CHECKING

import pandas as pd

from mlops_helpers.errors import MetricsError
from mlops_helpers.observe.burnrate import BurnRule, words
from mlops_helpers.observe.counting import from_metrics, require_part
from mlops_helpers.observe.counts import slices
from mlops_helpers.observe.objectives import Objective, TimeSlices
from mlops_helpers.observe.windows import ENOUGH, Windows

if TYPE_CHECKING:
    from mlops_helpers.observe.selector import Selector
    from mlops_helpers.observe.source import MetricsSource

__all__ = ["UNKNOWN", "Events", "Measured"]

Events = tuple[float, float, float]
"""Of one window: bad events, events, and the share of it that is known."""
UNKNOWN: Events = (math.nan, math.nan, 0.0)
_FRESH = 0.02
"""A window is asked for anew when this share of its length has passed: what changes in less does not decide."""


class Measured:
    """Answers for one moment after the other (seconds since the epoch), which :meth:`begin` sets.

    A window of counters is known as a whole or not at all. It is not when the source has too few samples of it, nor
    when the last sample of the total (one that is not stale) is older than half of the rule's short window. A window
    that is known is asked for once in a hundredth of its length, in step with all others of that length. Time slices
    are asked for when they are over, and kept as far back as ``reach`` (seconds).
    """

    def __init__(self, source: "MetricsSource", reach: float) -> None:
        self._source, self._reach = source, reach
        self._at = -math.inf
        self._grown: dict[tuple[Selector, float], tuple[int, float]] = {}
        self._seen: dict[Selector, float] = {}
        self._plausible: set[str] = set()
        self._slices: dict[str, pd.DataFrame] = {}
        self._refused: dict[str, MetricsError] = {}

    def begin(self, at: float) -> None:
        """Answer for this moment from now on.

        Raises ``MetricsError`` when it is before the last one: slices would be asked for twice.
        """
        if not at >= self._at:
            raise MetricsError(
                f"asked for {at}, after {self._at}: the clock went backwards. Next: begin with new Alerts"
            )
        self._at = at
        self._refused.clear()

    def windows(self, objective: Objective, rule: BurnRule) -> tuple[Events, Events, str]:
        """Return the long and the short window of a rule, and why it is unknown, if it is.

        Raises ``MetricsError`` for metrics that there are not, or when the source cannot answer.
        """
        if objective.name in self._refused:
            raise self._refused[objective.name]
        try:
            return self._windows(objective, rule)
        except MetricsError as error:  # the other rules need not ask again
            self._refused[objective.name] = error
            raise

    def _windows(self, objective: Objective, rule: BurnRule) -> tuple[Events, Events, str]:
        if objective.slices:
            sums = Windows(self._judged(objective, objective.slices))
            ends = [sums.over(length) for length in (rule.long, rule.short)]
            long, short = ((float(end.bad[-1]), float(end.total[-1]), float(end.known[-1])) for end in ends)
        else:
            long, short = (self._counted(objective, length) for length in (rule.long, rule.short))
            silent = self._at - self._last_seen(objective.indicator.total, _FRESH * rule.short)
            if silent > ENOUGH * rule.short:
                since = f"for {words(silent)}" if math.isfinite(silent) else "at all, or it is stale"
                return long, UNKNOWN, f"no sample of {objective.indicator.total} {since}"
        if long[2] >= ENOUGH and short[2] >= ENOUGH:
            return long, short, ""
        return long, short, f"less than {100 * ENOUGH:.0f} % of {words(rule.short)} or {words(rule.long)} is known"

    def _counted(self, objective: Objective, length: float) -> Events:
        indicator = objective.indicator
        part = indicator.good or indicator.bad
        assert part is not None, "throughput has slices"
        total, seen = self._growth(indicator.total, length), self._growth(part, length)
        if math.isnan(total):
            return UNKNOWN
        if math.isnan(seen):
            if objective.name not in self._plausible:
                require_part(self._source, objective, length, self._at)
                self._plausible.add(objective.name)
            seen = 0.0
        seen = min(seen, total)  # counters scraped at different moments
        return total - seen if indicator.good else seen, total, 1.0

    def _growth(self, selector: "Selector", length: float) -> float:
        turn = math.floor(self._at / (_FRESH * length))
        asked, grown = self._grown.get((selector, length), (None, math.nan))
        if asked != turn or math.isnan(grown):
            grown = self._source.growth(selector, length, self._at)
            self._grown[selector, length] = turn, grown
        return grown

    def _last_seen(self, selector: "Selector", enough: float) -> float:
        """Return when the selector had a value last; what was seen ``enough`` seconds ago is not asked again."""
        if self._at - self._seen.get(selector, -math.inf) <= enough:
            return self._seen[selector]
        if self._source.has_value(selector, self._at):
            self._seen[selector] = self._at
        return self._seen.get(selector, -math.inf)

    def _judged(self, objective: Objective, wanted: TimeSlices) -> pd.DataFrame:
        """Return the slices up to now, asking for those that are over since the last time."""
        end = math.floor(self._at / wanted.seconds + 1e-9) * wanted.seconds
        known = self._slices.get(objective.name)
        length = pd.Timedelta(wanted.seconds, unit="s")
        begin = (
            end - math.ceil(self._reach / wanted.seconds) * wanted.seconds
            if known is None
            else (known.index[-1] + length).timestamp()
        )
        if end - begin > wanted.seconds / 2:
            fresh = slices(
                from_metrics(self._source, objective, begin, end, wanted.seconds), wanted, objective.indicator.minimum
            )
            known = fresh if known is None else pd.concat([known, fresh])
            known = known.iloc[-math.ceil(self._reach / wanted.seconds) :]
            self._slices[objective.name] = known
        assert known is not None
        return known
