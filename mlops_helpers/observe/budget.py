"""The error budget of an objective: how much is spent, by what, and how long the rest lasts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pandas as pd

from mlops_helpers.errors import MetricsError
from mlops_helpers.observe.burnrate import words
from mlops_helpers.observe.counting import Moment, nanoseconds
from mlops_helpers.observe.counts import for_objective
from mlops_helpers.observe.objectives import Objective
from mlops_helpers.observe.windows import burn_rates

__all__ = ["Budget", "allowed_events", "attribution", "budget", "burn_down"]


@dataclass(frozen=True)
class Budget:
    """The budget of an ``objective`` over the ``period`` (seconds) before ``at``.

    ``bad`` and ``total`` are the events (or slices) that are known; ``known`` is the share of the period of which
    anything is. ``burn_rate`` is the present one. All shares are NaN when no event is known.
    """

    objective: str
    at: pd.Timestamp
    period: float
    exact_budget: Decimal
    bad: float
    total: float
    known: float
    burn_rate: float

    @property
    def spent(self) -> float:
        """Which share of the budget is gone: 1 is all of it, more is overdrawn."""
        return float(self._exact_spent)

    @property
    def remaining(self) -> float:
        """Which share of the budget is left; below 0 when it is overdrawn."""
        return float(1 - self._exact_spent)

    @property
    def events_left(self) -> float:
        """How many more events may be bad, of as many events as there were."""
        return float(self.exact_budget * Decimal(self.total) - Decimal(self.bad)) if self.total else math.nan

    @property
    def exhausted_in(self) -> float:
        """Seconds until the budget is spent at the present burn rate, if nothing rolls out of the period; inf: never.

        0 when it is spent already, NaN when it is not known.
        """
        if self.remaining <= 0:
            return 0.0
        if self.burn_rate == 0:
            return math.inf
        return self.remaining * self.period / self.burn_rate

    @property
    def _exact_spent(self) -> Decimal:
        if not self.total:
            return Decimal("NaN")
        return Decimal(self.bad) / (self.exact_budget * Decimal(self.total))

    def __str__(self) -> str:
        if not self.total:
            return f"{self.objective}: unknown budget, no event is known in the {words(self.period)} before {self.at}"
        text = (
            f"{self.objective}: {100 * self.remaining:.4g} % of the budget of {words(self.period)} is left, "
            f"{self.bad:.9g} of {self.total:.9g} were bad"
        )
        if 0 < self.exhausted_in < math.inf:
            text += f"; at the present burn rate of {self.burn_rate:.3g} it lasts {self.exhausted_in / 3600:.3g} h"
        return text + ("" if self.known > 0.999 else f"; {100 * self.known:.3g} % of the period is known")


def budget(
    counts: pd.DataFrame,
    objective: Objective,
    *,
    at: Moment | None = None,
    period: float | None = None,
    present: float | None = None,
) -> Budget:
    """Return the budget over the ``period`` (seconds; the objective's) before ``at`` (the end of the Counts).

    ``present`` is the window of the present burn rate (seconds); a 720th of the period, which of 30 days is an hour.

    Raises as :func:`~mlops_helpers.observe.counts.for_objective` does, and ``MetricsError`` for a period that is not
    positive or that holds no step of the Counts.
    """
    counts = for_objective(counts, objective)
    step = pd.Timedelta(counts.attrs["step"], unit="s")
    moment = counts.index[-1] + step if at is None else pd.Timestamp(nanoseconds(at), tz="UTC")
    period = objective.period if period is None else period
    if not 0 < period < math.inf:
        raise MetricsError(f"period is {period}; accepted: seconds, above 0")
    within = counts[(counts.index + step <= moment) & (counts.index >= moment - pd.Timedelta(period, unit="s"))]
    if within.empty:
        raise MetricsError(
            f"no step of the Counts ({counts.index[0]} to {counts.index[-1] + step}) lies in the {words(period)} "
            f"before {moment}. Next: give an at within them"
        )
    within.attrs = counts.attrs
    present = period / 720 if present is None else present
    known = within.dropna()
    good, total = (float(known[name].sum()) for name in ("good", "total"))
    return Budget(
        objective.name,
        moment,
        period,
        objective.exact_budget,
        bad=total - good,
        total=total,
        known=min(1.0, len(known) * counts.attrs["step"] / period),
        burn_rate=float(burn_rates(within, objective, [present]).iloc[-1, 0]),
    )


def burn_down(counts: pd.DataFrame, objective: Objective, start: Moment | None = None) -> pd.DataFrame:
    """Return how the budget went, by time (each step's end): ``spent`` and ``remaining``, as shares of the budget.

    Rolling by default: at each time over the period before it (as far as the Counts reach). From a ``start`` on, over
    one calendar period: the budget is that of all its events, those still to come reckoned at the rate so far. NaN
    where it is not known.

    Raises as :func:`~mlops_helpers.observe.counts.for_objective` does, and ``MetricsError`` without a step after start.
    """
    counts = for_objective(counts, objective)
    ends = (counts.index + pd.Timedelta(counts.attrs["step"], unit="s")).rename("time")
    if start is None:
        spent = burn_rates(counts, objective, [objective.period]).iloc[:, 0]
    else:
        begin = pd.Timestamp(nanoseconds(start), tz="UTC")
        inside = (counts.index >= begin) & (ends <= begin + pd.Timedelta(objective.period, unit="s"))
        if not inside.any():
            raise MetricsError(
                f"the Counts reach from {counts.index[0]} to {ends[-1]}, not into the period from {begin}"
            )
        month, ends = counts[inside], ends[inside]
        known = month.notna().all(axis=1)
        rate = month.loc[known, "total"].sum() / (known.sum() * counts.attrs["step"]) if known.any() else math.nan
        bad = (month["total"] - month["good"]).cumsum()  # skips what is not known, and is NaN there
        allowed = objective.budget * rate * objective.period
        spent = bad / allowed if allowed else bad * math.nan
    return pd.DataFrame({"spent": spent.to_numpy(), "remaining": 1 - spent.to_numpy()}, index=ends)


def attribution(
    counts: pd.DataFrame, objective: Objective, intervals: Mapping[str, tuple[Moment, Moment | None]]
) -> pd.DataFrame:
    """Return what each interval (name: begin, end; None or NaT: still going on) has spent of the budget.

    Columns: ``bad`` events, ``spent`` (share of the budget of the period that ends with the Counts) and ``of_spend``
    (share of all that was spent). The last row, "elsewhere", is what lies in none of them; intervals that overlap both
    have what they share. A step belongs to where it begins.

    Raises as :func:`budget` does.
    """
    counts = for_objective(counts, objective)
    whole = budget(counts, objective)
    begins = counts.index
    bad = np.nan_to_num((counts["total"] - counts["good"]).to_numpy()) * (
        begins >= whole.at - pd.Timedelta(whole.period, unit="s")
    )
    left, rows = np.ones(len(bad), bool), {}
    for name, (start, end) in intervals.items():
        inside = begins >= pd.Timestamp(nanoseconds(start), tz="UTC")
        if not (end is None or pd.isna(end)):
            inside &= begins < pd.Timestamp(nanoseconds(end), tz="UTC")
        rows[name] = bad[inside].sum()
        left &= ~inside
    rows["elsewhere"] = bad[left].sum()
    table = pd.DataFrame({"bad": pd.Series(rows, dtype=float)})
    nothing = math.nan  # nothing known, or nothing spent: no share of it
    table["spent"] = table["bad"] / float(whole.exact_budget * Decimal(whole.total)) if whole.total else nothing
    table["of_spend"] = table["bad"] / whole.bad if whole.bad else nothing
    return table


def allowed_events(counts: pd.DataFrame, objective: Objective) -> float:
    """Return how many events may be bad in one period at the mean traffic of the Counts (or in them, if shorter)."""
    length = len(counts) * counts.attrs["step"]
    good, total = counts["good"].to_numpy(), counts["total"].to_numpy()
    return objective.budget * float(np.sum(total, where=~np.isnan(good + total))) * min(1.0, objective.period / length)
