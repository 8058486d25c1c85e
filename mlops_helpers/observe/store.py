"""An embedded time-series store: what was scraped and pushed, in memory, and the answers that it gives.

16 bytes a sample, no compression: 10 targets of 100 series at 1 s for an hour take 60 MB.
"""

from typing import TYPE_CHECKING

import numpy as np

from mlops_helpers.observe import tables
from mlops_helpers.observe.intake import Intake
from mlops_helpers.observe.memory import Memory, window_edges
from mlops_helpers.observe.questions import Edges, Floats, Millis, edges, histogram_quantile, increase
from mlops_helpers.observe.selector import Selector
from mlops_helpers.observe.source import LOOKBACK, MetricsSource
from mlops_helpers.observe.tables import By, Key, Rows

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Store"]

_CELLS = 500_000  # series x times that are worked on at once: some ten arrays of 4 MB


class Store(Intake, MetricsSource):
    """Samples of the last ``retention`` seconds (see :class:`Intake`), and answers to questions about them.

    At most ``most_series`` series and ``most_samples`` samples (16 bytes each) are held: more raise ``MetricsError``.
    """

    def __init__(
        self, *, retention: float = 7_200.0, most_series: int = 10_000, most_samples: int = 10_000_000
    ) -> None:
        super().__init__(Memory(retention, most_series, most_samples))

    def targets(self) -> "pd.DataFrame":
        """Return job, instance, up (1, 0; NaN before the first scrape), last_scrape (UTC) and error of each target."""
        with self._lock:
            return tables.targets(
                (known.labels.get("job", ""), known.labels.get("instance", ""), known.up, known.scraped, known.error)
                for known in self._targets.values()
                if known.pushed is None
            )

    def _samples(self, selector: Selector, start: int, end: int) -> list[tuple[Key, Millis, Floats]]:
        with self._lock:
            return [(series.key, *series.window(start, end)) for series in self._memory.matching(selector)]

    def _value(self, selector: Selector, times: Millis, by: By) -> Rows:
        summed: dict[Key, Floats] = {}
        at = int(times[0])
        with self._lock:
            for series in self._memory.matching(selector):
                value = series.at(at, LOOKBACK)
                if value is not None:
                    key = _group(series.key, by)
                    summed[key] = summed.get(key, 0.0) + np.array([value])
        return summed

    def _has_value(self, selector: Selector, time: int) -> bool:
        with self._lock:
            return any(series.at(time, LOOKBACK) is not None for series in self._memory.matching(selector))

    def _increase(self, selector: Selector, window: int, times: Millis, by: By) -> Rows:
        starts, once = times - window, len(times) == 1
        with self._lock:
            found = self._memory.matching(selector)
            if once:
                held = window_edges(found, int(starts[0]), int(times[0]))
            else:
                samples = [series.window(int(starts[0]), int(times[-1])) for series in found]
        groups = [()] * len(found) if by == () else [_group(series.key, by) for series in found]
        place = {key: number for number, key in enumerate(dict.fromkeys(groups))}
        total = np.zeros((len(place), len(times)))
        known = np.zeros(total.shape, bool)
        at_once = max(1, _CELLS // len(times))
        for begin in range(0, len(found), at_once):
            batch = slice(begin, begin + at_once)
            if once:
                parts = held[:, batch, None]
            else:
                parts = np.stack([np.array(edges(*some, starts, times)) for some in samples[batch]], axis=1)
            grown, enough = increase(Edges(*parts), starts, times), parts[-1] > 0
            rows = [place[key] for key in groups[batch]]
            np.add.at(total, rows, np.where(enough, grown, 0.0))
            np.logical_or.at(known, rows, enough)
        total[~known] = np.nan
        return {key: total[number] for key, number in place.items()}

    def _quantile(self, q: float, buckets: Selector, window: int, times: Millis, by: By) -> Rows:
        histograms: dict[Key, dict[float, Floats]] = {}
        for key, counts in self._increase(buckets, window, times, None if by is None else (*by, "le")).items():
            labels = dict(key)
            try:
                bound = float(labels.pop("le", ""))
            except ValueError:
                continue  # no bucket
            bounds = histograms.setdefault(tuple(labels.items()), {})
            same = bounds.get(bound)  # "1" and "1.0"
            bounds[bound] = counts if same is None else np.where(np.isnan(same), counts, same + np.nan_to_num(counts))
        return {
            key: histogram_quantile(q, np.array(sorted(bounds)), np.stack([bounds[bound] for bound in sorted(bounds)]))
            for key, bounds in histograms.items()
        }


def _group(labels: Key, by: By) -> Key:
    if by == ():
        return ()
    if by is None:
        return tuple(pair for pair in labels if pair[0] != "__name__")
    return tuple(pair for pair in labels if pair[0] in by and pair[0] != "__name__")
