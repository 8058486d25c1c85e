"""What a runbook looks at: the metrics pages of any service, read again and again while the runbook runs."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Self

from mlops_helpers.errors import MetricsError
from mlops_helpers.observe.scraper import Scraper
from mlops_helpers.observe.selector import Matcher, Selector
from mlops_helpers.observe.store import Store

__all__ = ["Signals", "series"]

_PATIENCE = 2.0  # seconds in which a page must have been read once
_SPARE = 2  # scrapes more than fill a window: its edges need one on each side


def series(name: str, labels: Mapping[str, str] | None = None) -> Selector:
    """Return the selector of a metric whose labels match whole regular expressions.

    Raises ``MetricsError`` for a name or an expression that is none.
    """
    matchers = [Matcher(label, "=~", value) for label, value in (labels or {}).items()]
    return Selector.parse(str(Selector(name, tuple(matchers))))


class Signals:
    """Scrapes ``pages`` (``host:port`` or URLs; one for each replica) every ``interval`` seconds, until :meth:`close`.

    Windows are seconds; what is asked is about the ``window`` before now. Raises ``MetricsError`` for an address that
    is none, and when a page cannot be read, unless ``may_be_down``.
    """

    def __init__(self, pages: Sequence[str], *, interval: float = 1.0, may_be_down: bool = False) -> None:
        if not pages:
            raise MetricsError("no metrics page is named; accepted: host:port or a URL, such as 127.0.0.1:8000")
        self._store = Store()
        self._interval = interval
        self._scraper = Scraper(self._store, {"service": pages}, interval=interval).start()
        try:
            self._scraper.wait_for(1, within=interval + 10)
            end = time.monotonic() + max(_PATIENCE, interval)
            while (down := self.down()) and not may_be_down and time.monotonic() < end:
                self._scraper.wait_for(1, within=interval + 10)  # one slow answer is no outage
            if down and not may_be_down:
                raise MetricsError(
                    "; ".join(f"{page} cannot be read: {why}" for page, why in down.items())
                    + ". Nothing was changed. Next: is the address right? If it is: the runbook telemetry_lost"
                )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End; may be called twice."""
        self._scraper.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def down(self) -> dict[str, str]:
        """Return which pages could not be read the last time, and why."""
        targets = self._store.targets()
        gone = targets[targets["up"] != 1]
        return dict(zip(gone["instance"], gone["error"].fillna("not read yet"), strict=True))

    def watch(self, window: float) -> Self:
        """Return when a whole window lies between now and this call."""
        end = time.monotonic() + window
        self._scraper.wait_for(math.ceil(window / self._interval) + _SPARE, within=3 * window + 10)
        while (left := end - time.monotonic()) > 0:
            time.sleep(left)
        return self

    def growth(self, counter: Selector, window: float) -> float:
        """Return by how much a counter grew. Raises ``MetricsError`` when there is none of this name."""
        return self._store.growth(counter, window)

    def share(self, bad: Selector, total: Selector, window: float) -> float:
        """Return bad events / all events; NaN when there were none, or not known.

        Raises ``MetricsError`` when there is no metric of one of the names.
        """
        events, bad_events = self.growth(total, window), self.growth(bad, window)
        if math.isnan(events) or events <= 0:
            return math.nan
        # a labelled counter begins with its first event: none of it yet is none of these events
        return 0.0 if math.isnan(bad_events) else min(1.0, bad_events / events)

    def quantile(self, q: float, histogram: Selector, window: float) -> float:
        """Return a quantile of a histogram (its name without ``_bucket``); NaN without observations."""
        found = self._store.quantile(q, histogram, window)["value"]
        return float(found.iloc[0]) if len(found) else math.nan

    def value(self, gauge: Selector) -> float:
        """Return a gauge, summed over its series; NaN when there is none now."""
        found = self._store.value(gauge, by=())["value"]
        return float(found.iloc[0]) if len(found) else math.nan
