"""How far apart two samples of one column are: PSI, Jensen-Shannon, chi-squared, Kolmogorov-Smirnov.

A column is counted in bins that the reference decides; what the reference did not have and what is missing are bins as
well, since both are ways in which a column drifts. An empty sample has no distance: it is unknown, never 0.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops_helpers.errors import MetricsError, ParameterError

__all__ = ["COUNTED", "Bins", "Comparison", "compare", "psi_limit"]

Counts = NDArray[np.float64]
MOST_CATEGORIES = 20


@dataclass(frozen=True)
class Bins:
    """How a column is counted, decided by its reference.

    ``uppers`` are the inclusive upper bounds of numeric bins, from ``low`` on; ``categories`` the values of a column
    that is no number. One of the two is empty. Two bins follow: ``unseen`` (outside the reference's range, or none of
    its frequent categories) and ``missing`` (which includes what is no number where the reference had numbers).
    """

    low: float
    uppers: tuple[float, ...]
    categories: tuple[str, ...]

    @classmethod
    def of(cls, reference: pd.Series, bins: int = 10) -> "Bins":
        """Decide the bins: about ``bins`` of equal counts, one per value where there are fewer values, or categories.

        Raises ``MetricsError`` when the reference holds no value at all.
        """
        if bins < 2:
            raise ParameterError(f"bins is {bins}; accepted: 2 or more, for example 10")
        values = reference.dropna()
        if values.empty:
            raise MetricsError(
                f"the reference of {reference.name!r} holds no value: nothing can be compared with it. "
                "Next: a reference in which the column is filled, or leave the column out"
            )
        if not _is_number(values):
            return cls(np.nan, (), tuple(values.astype(str).value_counts().index[:MOST_CATEGORIES]))
        distinct = np.unique(values.to_numpy(dtype=float))
        if len(distinct) > bins:  # bounds are values that occur, so that ties stay on one side
            shares = np.arange(1, bins + 1) / bins
            distinct = np.unique(np.quantile(values.to_numpy(dtype=float), shares, method="inverted_cdf"))
        return cls(float(values.min()), tuple(map(float, distinct)), ())

    def __len__(self) -> int:
        return len(self.uppers) + len(self.categories) + 2

    def codes(self, values: pd.Series) -> NDArray[np.int64]:
        """Return each value's bin, 0 to ``len(self) - 1``; the last two are ``unseen`` and ``missing``."""
        if self.categories:
            codes = pd.Index(self.categories).get_indexer(pd.Index(values.astype(str)))
            codes = np.where(codes < 0, len(self.categories), codes)
            return np.where(values.isna(), len(self) - 1, codes)
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        codes = np.searchsorted(self.uppers, numbers, side="left")
        codes = np.where(numbers < self.low, len(self.uppers), codes)
        return np.where(np.isnan(numbers), len(self) - 1, codes).astype(np.int64)

    def counts(self, values: pd.Series) -> Counts:
        """Return how many values fall into each bin."""
        return np.bincount(self.codes(values), minlength=len(self)).astype(float)

    @property
    def names(self) -> list[str]:
        """What each bin holds, in words."""
        bounds = [f"{low:.3g} to {high:.3g}" for low, high in zip((self.low, *self.uppers), self.uppers, strict=False)]
        return [*bounds, *self.categories, "unseen", "missing"]


def _is_number(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def psi(reference: Counts, current: Counts) -> Any:
    """Population stability index: sum of (q - p) ln(q / p) over the bins; 0 where the shares agree, without bound.

    Half a comment is added to each bin, so that an empty one does not make the index infinite.
    """
    p = (reference + 0.5) / (reference + 0.5).sum(-1, keepdims=True)
    q = (current + 0.5) / (current + 0.5).sum(-1, keepdims=True)
    return ((q - p) * np.log(q / p)).sum(-1)


def jensen_shannon(reference: Counts, current: Counts) -> Any:
    """Jensen-Shannon divergence in bits: 0 where the shares agree, 1 where no bin is shared."""
    from scipy.spatial.distance import jensenshannon

    return jensenshannon(*np.broadcast_arrays(reference, current), base=2, axis=-1) ** 2


def chi_squared(reference: Counts, current: Counts) -> Any:
    """Pearson's two-sample statistic divided by n m / (n + m), which leaves a distance: 0 where the shares agree."""
    n, m = reference.sum(-1, keepdims=True), current.sum(-1, keepdims=True)
    pooled = (reference + current) / (n + m)
    gap = (reference / n - current / m) ** 2
    return np.divide(gap, pooled, out=np.zeros_like(gap), where=pooled > 0).sum(-1)


COUNTED = {"psi": psi, "jensen_shannon": jensen_shannon, "chi_squared": chi_squared}
"""Distances by name: functions of two arrays of counts, bins along the last axis.

Where the samples come from one distribution, each of them shrinks in proportion to 1/n + 1/m.
"""


@dataclass(frozen=True)
class Comparison:
    """Two samples of one column, by every distance; NaN is not known, and ``unknown`` says why.

    ``psi`` (no unit), ``jensen_shannon`` (bits, 0 to 1), ``chi_squared`` (Pearson's statistic) with ``chi_squared_p``,
    ``ks`` (largest gap of the cumulated shares, 0 to 1; numbers only) with ``ks_p``. The p-values hold for independent
    rows, which comments of one day are not: use them to order columns, and a ``Detector`` to raise alarms.
    """

    n_reference: int
    n_current: int
    psi: float = np.nan
    jensen_shannon: float = np.nan
    chi_squared: float = np.nan
    chi_squared_p: float = np.nan
    ks: float = np.nan
    ks_p: float = np.nan
    unknown: str = ""


def compare(reference: pd.Series, current: pd.Series, bins: int = 10) -> Comparison:
    """Compare two samples of one column, numeric or categorical; missing values count as a category of their own.

    Raises ``MetricsError`` for a reference without any value.
    """
    from scipy.stats import chi2_contingency, ks_2samp

    chosen = Bins.of(reference, bins)
    ours, theirs = chosen.counts(reference), chosen.counts(current)
    sizes = len(reference), len(current)
    if len(current) == 0:
        return Comparison(*sizes, unknown="the current window is empty")
    table = np.stack([ours, theirs])
    table = table[:, table.sum(0) > 0]
    test = chi2_contingency(table, correction=False) if table.shape[1] > 1 else None
    ks = ks_p = np.nan
    if chosen.uppers:
        numbers = [pd.to_numeric(values, errors="coerce").dropna().to_numpy(float) for values in (reference, current)]
        if len(numbers[1]):
            ks, ks_p = ks_2samp(*numbers, method="asymp")
    return Comparison(
        *sizes,
        psi=float(psi(ours, theirs)),
        jensen_shannon=float(jensen_shannon(ours, theirs)),
        chi_squared=float(test.statistic) if test else 0.0,
        chi_squared_p=float(test.pvalue) if test else 1.0,
        ks=float(ks),
        ks_p=float(ks_p),
    )


def psi_limit(n_reference: int, n_current: int, bins: int, false_alarm_rate: float) -> float:
    """Return the PSI that two samples of *independent* rows from one distribution exceed at the given rate.

    (1/n + 1/m) times the chi-squared quantile with ``bins - 1`` degrees of freedom (Yurdakul, Statistical Properties of
    Population Stability Index, Western Michigan University, 2018). The fixed limits 0.1 and 0.25 of credit scoring mean
    another rate at every sample size.
    """
    from scipy.stats import chi2

    return float((1 / n_reference + 1 / n_current) * chi2.isf(false_alarm_rate, bins - 1))
