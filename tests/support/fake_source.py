"""A source of metrics made by hand: counters with their samples."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mlops_helpers.errors import MetricsError
from mlops_helpers.observe.selector import Selector
from tests.support.slo_examples import START

BEGIN = START.timestamp()


class FakeSource:
    """Counters without resets; growth is the difference of the samples in a window, NaN for fewer than two."""

    def __init__(self) -> None:
        self.counters: list[tuple[str, dict[str, str], np.ndarray, np.ndarray]] = []

    def add(self, name: str, times: Sequence[float], values: Sequence[float], **labels: str) -> None:
        self.counters.append((name, labels, np.asarray(times, float), np.asarray(values, float)))

    def _meant(self, selector: Selector) -> list[tuple[dict[str, str], np.ndarray, np.ndarray]]:
        if selector.name not in {name for name, *_ in self.counters}:
            raise MetricsError(f"no metric {selector.name!r}")
        return [(labels, *rest) for name, labels, *rest in self.counters
                if name == selector.name and selector.matches(labels)]  # fmt: skip

    def series(self, selector, start, end) -> pd.DataFrame:
        parts = [pd.DataFrame({"time": pd.to_datetime(times[inside], unit="s", utc=True), "value": values[inside],
                               "__name__": selector.name, "code": labels.get("code", "")})
                 for labels, times, values in self._meant(selector)
                 for inside in [(times > start - 1e-6) & (times < end + 1e-6)]]  # fmt: skip
        return pd.concat(parts)

    def increase(self, selector, window, *, at=None, start=None, end=None, step=None, by=()) -> pd.DataFrame:
        moments = np.array([at]) if at is not None else start + step * np.arange(round((end - start) / step) + 1)
        groups: dict[tuple[str, ...], np.ndarray] = {} if by else {(): np.full(len(moments), np.nan)}
        for labels, times, values in self._meant(selector):
            first = np.searchsorted(times, moments - window - 1e-6)
            last = np.searchsorted(times, moments + 1e-6) - 1
            enough = last > first
            grown = np.full(len(moments), np.nan)
            grown[enough] = values[last[enough]] - values[first[enough]]
            key = tuple(labels.get(label, "") for label in by)
            before = groups.get(key, np.full(len(moments), np.nan))
            groups[key] = np.where(np.isnan(before) | np.isnan(grown), np.fmax(before, grown), before + grown)
        parts = []
        for key, value in groups.items():
            labels = dict(zip(by, key, strict=True))
            parts.append(pd.DataFrame({"time": pd.to_datetime(moments, unit="s", utc=True), **labels, "value": value}))
        return pd.concat(parts) if parts else pd.DataFrame(columns=["time", *by, "value"])

    def growth(self, selector, window, at=None) -> float:
        return float(self.increase(selector, window, at=at)["value"].iloc[0])

    def has_value(self, selector, at=None) -> bool:
        return bool(self.value(selector, at=at)["value"].notna().any())

    def value(self, selector, at=None, by=None) -> pd.DataFrame:
        fresh = []
        for _, times, values in self._meant(selector):
            last = np.searchsorted(times, at + 1e-6) - 1
            if last >= 0 and at - times[last] < 1.5:  # a second apart; then the target is down, the series stale
                fresh.append(values[last])
        value = sum(fresh) if fresh else np.nan
        return pd.DataFrame({"time": pd.to_datetime([at], unit="s", utc=True), "value": [value]})


def live(seconds: int, *, bad: range, lost: range = range(0), rate: float = 10.0) -> FakeSource:
    """A service scraped every second: half of its answers are errors during ``bad``; no samples during ``lost``."""
    source = FakeSource()
    total, failed, samples = 0.0, 0.0, []
    for second in range(seconds):
        failed += rate / 2 * (second in bad)
        total += rate
        if second not in lost:
            samples.append((BEGIN + second, total - failed, failed))
    times, fine, wrong = map(list, zip(*samples, strict=True))
    source.add("http_total", times, fine, code="200")
    source.add("http_total", times, wrong, code="500")
    return source
