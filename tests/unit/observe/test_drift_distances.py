"""Distances equal scipy's where it has them; what is missing, new or constant counts; what is empty is unknown."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency, ks_2samp

from mlops_helpers.errors import MetricsError, ParameterError
from mlops_helpers.observe.drift_distances import COUNTED, Bins, compare, psi_limit

RNG = np.random.default_rng(0)
BEFORE, AFTER = pd.Series(RNG.normal(0, 1, 800)), pd.Series(RNG.normal(0.3, 1.2, 300))


def test_distances_are_those_of_scipy_on_the_counts_of_the_bins() -> None:
    bins = Bins.of(BEFORE)
    ours, theirs = bins.counts(BEFORE), bins.counts(AFTER)
    found = compare(BEFORE, AFTER)
    filled = np.stack([ours, theirs])[:, (ours + theirs) > 0]
    assert found.chi_squared == pytest.approx(chi2_contingency(filled, correction=False).statistic)
    assert found.chi_squared == pytest.approx(COUNTED["chi_squared"](ours, theirs) * 800 * 300 / 1100)
    assert found.jensen_shannon == pytest.approx(jensenshannon(ours, theirs, base=2) ** 2)
    assert (found.ks, found.ks_p) == pytest.approx(tuple(ks_2samp(BEFORE, AFTER, method="asymp")))


def test_psi_by_hand() -> None:
    before, after = pd.Series(["a"] * 60 + ["b"] * 40), pd.Series(["a"] * 20 + ["b"] * 30)
    p, q = np.array([60.5, 40.5, 0.5, 0.5]) / 102, np.array([20.5, 30.5, 0.5, 0.5]) / 52
    assert compare(before, after).psi == pytest.approx(((q - p) * np.log(q / p)).sum())


def test_bins_hold_equal_counts_of_the_reference_and_know_what_lies_outside() -> None:
    bins = Bins.of(BEFORE, 4)
    assert bins.counts(BEFORE).tolist() == [200, 200, 200, 200, 0, 0]
    assert bins.counts(pd.Series([-99.0, 99.0, np.inf, np.nan])).tolist() == [0, 0, 0, 0, 3, 1]


def test_few_values_have_a_bin_each_and_ties_stay_together() -> None:
    assert Bins.of(pd.Series([0.0] * 70 + [1.0] * 20 + [5.0] * 10)).uppers == (0.0, 1.0, 5.0)
    tied = pd.Series([0.0] * 800 + list(range(1, 201)))
    assert Bins.of(tied).counts(tied)[0] == 800


@pytest.mark.parametrize(
    ("before", "after", "moved"),
    [
        ([3.0] * 50, [3.0] * 50, False),
        (["x"] * 50, ["y"] * 50, True),
        ([1.0, 2.0] * 25, [np.nan] * 50, True),
        ([1.0, 2.0] * 25, ["broken"] * 50, True),
        (["x", None] * 25, ["x", None] * 25, False),
    ],
    ids=str,
)
def test_constant_and_missing_columns(before: list, after: list, moved: bool) -> None:
    found = compare(pd.Series(before), pd.Series(after))
    assert found.unknown == "" and (found.jensen_shannon > 0.9) is moved and (found.psi > 1) is moved
    assert (found.chi_squared_p < 1e-6) is moved


def test_an_empty_window_is_unknown_and_an_empty_reference_is_refused() -> None:
    found = compare(BEFORE, BEFORE.head(0))
    assert "empty" in found.unknown and np.isnan([found.psi, found.jensen_shannon, found.chi_squared, found.ks]).all()
    for nothing in (BEFORE.head(0), pd.Series([np.nan, np.nan], name="score")):
        with pytest.raises(MetricsError, match="holds no value"):
            compare(nothing, BEFORE)
    with pytest.raises(ParameterError, match="2 or more"):
        Bins.of(BEFORE, 1)


def test_psi_of_independent_rows_exceeds_its_limit_at_the_promised_rate() -> None:
    reference, current = (RNG.multinomial(n, np.full(10, 0.1), size=4000).astype(float) for n in (2000, 500))
    exceeded = (COUNTED["psi"](reference, current) > psi_limit(2000, 500, 10, 0.05)).mean()
    assert 0.035 < exceeded < 0.065
