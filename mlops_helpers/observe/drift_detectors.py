"""A detector whose false alarms are budgeted: limits from windows that are put together from the reference's own days.

Comments are not independent rows: authors post again, a popular post attracts its topic for days, evenings differ from
mornings. Limits that assume independent rows raise many times the promised number of false alarms. So the limits come
from the reference, in three steps:

1. *Resample*. A window is put together from blocks (days, or four hours) of the reference, each at its own place in the
   week or day, and compared with all other blocks. That keeps what happens within a block, and the rhythm.
2. *Correct*. What lasts longer than a block is lost in step 1. The windows as they really were, each against the rest,
   lie further apart by some factor, the design effect (Rao and Scott, The Annals of Statistics 12, 1984, correct
   chi-squared tests of clustered samples in this way). A few windows tell little about it: its upper 95 % bound counts.
3. *Share*. All columns share one budget: the largest ratio of a column's distance to the 95 % quantile of its own
   resampled distances is what is compared with a limit. Unlike dividing the budget by the number of columns, that does
   not pay twice for columns that move together, such as score and verdict.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops_helpers.errors import MetricsError, ParameterError
from mlops_helpers.observe.drift_crowd import MUCH
from mlops_helpers.observe.drift_distances import COUNTED, Bins
from mlops_helpers.observe.drift_signals import times

__all__ = ["FEWEST", "Check", "Detector"]

FEWEST = 30
"""Rows that a window must hold at least to be judged."""
_FEWEST_VALUES = 20  # known values of a column, such as labels that have arrived
_FEWEST_WINDOWS = 4
_ODD = 5  # so many rows of a kind that the reference never had are no alarm yet
_ODD_OF = {"crowd": 2 * MUCH}  # it comes by the crowd, and a quiet week can have two of the smallest
_DAY = pd.Timedelta("1D")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Check:
    """What a detector says of one window.

    ``state`` is ``alarm``, ``quiet`` or ``unknown`` with its ``reason``. ``table`` has one row per column, the furthest
    first: ``n`` values, ``distance``, its ``limit`` at this size, ``ratio`` of the two, ``changed`` (half the sum of
    the differences of all bins' shares, 0 to 1: at least about this part of the values is not as in the reference)
    and ``moved`` (ratio above 1). A column of which too little is known has NaN, and has not moved.
    """

    state: str
    rows: int
    table: pd.DataFrame
    reason: str

    @property
    def moved(self) -> list[str]:
        """The columns beyond their limits, the furthest first."""
        return list(self.table.index[self.table["moved"]])


@dataclass(frozen=True)
class _Column:
    bins: Bins
    reference: Array
    limit: float  # of the distance times n m / (n + m)

    def share(self, category: str) -> float:
        """Return the share of a category in the reference; 0 if it had none."""
        at = self.bins.categories.index(category) if category in self.bins.categories else None
        return 0.0 if at is None else float(self.reference[at] / self.reference.sum())


@dataclass(frozen=True)
class Detector:
    """Judges windows of ``window`` days against a reference; made by :meth:`fit`.

    ``false_alarm_rate`` is the probability that a quiet window raises an alarm.
    """

    columns: Mapping[str, _Column]
    delayed: frozenset[str]
    distance: str
    window: int
    false_alarm_rate: float

    @classmethod
    def fit(
        cls,
        reference: pd.DataFrame,
        columns: Iterable[str],
        *,
        time: str = "created_at",
        window: int = 7,
        weeks_per_false_alarm: float = 26.0,
        delayed: Iterable[str] = (),
        distance: str = "jensen_shannon",
        bins: int = 10,
        resamples: int = 2000,
        seed: int = 0,
    ) -> "Detector":
        """Set the limits so that quiet windows raise one false alarm in ``weeks_per_false_alarm`` weeks on average.

        ``reference`` holds quiet time: at least four windows of ``window`` whole days, counted back from its last day.
        Checks follow each other without overlap. Missing values are a category of their own, except in the columns that
        are ``delayed``, such as labels: there they are not known yet. ``distance`` is a key of ``COUNTED``.

        Raises ``MetricsError`` for an unknown column or a reference that is too short, ``ParameterError`` for settings.
        """
        columns = list(columns)
        _check_settings(reference, [*columns, time], window, distance)
        rate = window / 7 / weeks_per_false_alarm if weeks_per_false_alarm > 0 else np.inf
        if not 10 / resamples <= rate < 0.5:
            raise ParameterError(
                f"one false alarm in {weeks_per_false_alarm:g} weeks is a rate of {rate:.2g} a check; accepted: below "
                f"0.5, and at least {10 / resamples:.2g} with {resamples} resamples. Next: more resamples"
            )
        kept, block, made, real = _windows(reference, time, window, resamples, seed)
        n_windows = int(made.shape[1] / real[0].sum())
        fitted: dict[str, tuple[Bins, Array, float, float]] = {}
        ratios = []
        for name in columns:
            chosen = Bins.of(kept[name], bins)
            counts = np.zeros((made.shape[1], len(chosen)))
            np.add.at(counts, (block, chosen.codes(kept[name])), 1)
            if name in set(delayed):
                counts = counts[:, :-1]
            apart = _apart(counts, made, distance)
            usual = float(np.quantile(apart, 0.95))
            ratios.append(np.divide(apart, usual, out=np.zeros_like(apart), where=usual > 0))
            unit = usual * _design_effect(_apart(counts, real, distance), apart, n_windows)
            total = counts.sum(0)
            floor = _floor(total, n_windows, len(chosen) - 2, distance, _ODD_OF.get(name, _ODD))
            fitted[name] = chosen, total, unit, floor
        most = float(np.quantile(np.max(ratios, axis=0), 1 - rate))
        limits = {
            name: _Column(chosen, total, max(most * unit, floor))
            for name, (chosen, total, unit, floor) in fitted.items()
        }
        return cls(limits, frozenset(delayed), distance, window, rate)

    def check(self, current: pd.DataFrame) -> Check:
        """Judge one window of comments; ``unknown`` when it holds fewer than ``FEWEST`` rows.

        Raises ``MetricsError`` when a column of the reference is missing altogether.
        """
        _check_columns(current, self.columns)
        rows = [self._compare(name, current[name]) for name in self.columns] if len(current) >= FEWEST else []
        names = ["column", "n", "distance", "limit", "ratio", "changed", "moved"]
        table = pd.DataFrame(rows, columns=names).set_index("column")
        table = table.astype({"moved": bool}).sort_values("ratio", ascending=False, kind="stable")
        if not rows:
            return Check("unknown", len(current), table, f"{len(current)} rows; at least {FEWEST} are needed")
        moved = int(table["moved"].sum())
        furthest = f"{table.index[0]} at {table['ratio'].iloc[0]:.2f} of its limit"
        return Check("alarm" if moved else "quiet", len(current), table, f"{moved} columns moved; furthest {furthest}")

    def _compare(self, name: str, values: pd.Series) -> tuple[object, ...]:
        column = self.columns[name]
        counts = column.bins.counts(values)
        if name in self.delayed:
            counts = counts[:-1]
        n, m = column.reference.sum(), counts.sum()
        if m < _FEWEST_VALUES or n < _FEWEST_VALUES:
            return name, int(m), np.nan, np.nan, np.nan, np.nan, False
        distance = float(COUNTED[self.distance](column.reference, counts))
        limit = column.limit * (n + m) / (n * m)
        changed = 0.5 * float(np.abs(column.reference / n - counts / m).sum())
        ratio = distance / limit if limit > 0 else (np.inf if distance > 0 else 0.0)
        return name, int(m), distance, limit, ratio, changed, distance > limit


def _check_settings(reference: pd.DataFrame, columns: list[str], window: int, distance: str) -> None:
    _check_columns(reference, columns)
    if distance not in COUNTED:
        raise ParameterError(f"distance is {distance!r}; accepted: {', '.join(COUNTED)}")
    if window != int(window) or window < 1:
        raise ParameterError(f"window is {window}; accepted: whole days, 1 or more, for example 7")


def _check_columns(frame: pd.DataFrame, columns: Iterable[str]) -> None:
    for name in columns:
        if name not in frame:
            near = get_close_matches(name, map(str, frame.columns), n=3) or list(map(str, frame.columns))
            raise MetricsError(f"there is no column {name!r}; the nearest are {', '.join(near)}")


def _windows(
    reference: pd.DataFrame, time: str, window: int, resamples: int, seed: int
) -> tuple[pd.DataFrame, NDArray[np.int64], Array, Array]:
    """Return rows of whole windows, the block of each, and windows (made up, and real) as rows of ones over blocks."""
    when = times(reference, time)
    if when.isna().any() or when.empty:
        raise MetricsError(
            f"{int(when.isna().sum())} of {len(when)} rows of the reference have no time; accepted: none"
        )
    per_window = window if window > 1 else 6  # blocks: days, or four hours of one day
    end = when.max().floor("D") + _DAY
    n_windows = int((end - when.min().floor("D")) / _DAY) // window
    begin = end - n_windows * window * _DAY
    inside = when >= begin
    block = ((when[inside] - begin) // (window * _DAY / per_window)).to_numpy(dtype=np.int64)
    sizes = np.bincount(block // per_window, minlength=n_windows)
    usual = np.median(sizes) if len(sizes) else 0
    if n_windows < _FEWEST_WINDOWS or usual < FEWEST:
        raise MetricsError(
            f"the reference holds {n_windows} windows of {window} days, of {usual:.0f} rows as a rule; "
            f"accepted: at least {_FEWEST_WINDOWS} windows, of {FEWEST} rows. Next: another reference, or window"
        )
    place = np.arange(per_window)
    made = np.zeros((resamples, n_windows * per_window))
    chosen = np.random.default_rng(seed).integers(n_windows, size=(resamples, per_window)) * per_window + place
    made[np.arange(resamples)[:, None], chosen] = 1
    first = np.arange(0, made.shape[1] - per_window + 1, 1 if window > 1 else per_window)
    real = np.zeros((len(first), made.shape[1]))  # those that begin on other days tell more about the same time
    real[np.arange(len(first))[:, None], first[:, None] + place] = 1
    return reference[inside], block, made, real


def _apart(counts: Array, windows: Array, distance: str) -> Array:
    """Return how far each window (a row of ones over blocks) lies from all other blocks, freed of its size."""
    current = windows @ counts
    rest = counts.sum(0) - current
    n, m = rest.sum(-1), current.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):  # a window without labels: not known, and left out
        return np.nan_to_num(COUNTED[distance](rest, current) * n * m / (n + m))


def _floor(total: Array, n_windows: int, unseen: int, distance: str, odd: int) -> float:
    """Return the distance, freed of its size, of a usual window of which a few rows are of a kind that is new.

    Else a column that never varied, such as one that counts damage, would raise an alarm for a single odd comment.
    """
    current = total / n_windows
    current[unseen] += odd
    n, m = total.sum(), current.sum()
    return float(COUNTED[distance](total, current) * n * m / (n + m))


def _design_effect(real: Array, made: Array, n_windows: int) -> float:
    """Return the upper 95 % bound of how much further apart real windows lie than resampled ones; 1 at least."""
    from scipy.stats import t

    if made.mean() == 0:
        return 1.0
    bound = real.mean() + t.ppf(0.95, n_windows - 1) * real.std(ddof=1) / np.sqrt(n_windows)
    return max(1.0, float(bound / made.mean()))
