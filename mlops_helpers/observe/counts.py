"""Counts: good events of all events, step by step; what objectives, budgets and burn-rate alerts are computed from.

*Counts* are a DataFrame with the columns ``good`` and ``total`` (total >= good >= 0, NaN: not known), a row a step; the
index ``start`` says when each step begins (UTC, equal steps), ``attrs["step"]`` how long it is (seconds). A step
without events has a total of 0, which is known; a step nobody watched is NaN, which is not.
"""

import numpy as np
import pandas as pd

from mlops_helpers.errors import MetricsError, ObjectiveError
from mlops_helpers.observe.objectives import Objective, TimeSlices

__all__ = ["for_objective", "slices", "validate"]


def slices(counts: pd.DataFrame, time_slices: TimeSlices, minimum: float | None = None) -> pd.DataFrame:
    """Return Counts of time slices: each row's total is 1 slice, and good is 1 when the slice was.

    A slice is good when at least ``time_slices.target`` of its events are, without events too; with ``minimum``, when
    there were at least that many events a second. With any unknown step it is unknown. Slices begin with the first
    step; what is left at the end is no slice yet.

    Raises ``MetricsError`` for Counts that are wrong or shorter than a slice, ``ObjectiveError`` for slices that are no
    multiple of the step.
    """
    counts = validate(counts)
    each = time_slices.seconds / counts.attrs["step"]
    if abs(each - round(each)) > 1e-6 or round(each) < 1:
        raise ObjectiveError(
            f"slices of {time_slices.seconds} s do not consist of steps of {counts.attrs['step']} s; accepted: steps "
            "that divide them. Next: count again with such a step"
        )
    number = len(counts) // round(each)
    if not number:
        raise MetricsError(f"{len(counts)} steps are less than one slice of {time_slices.seconds} s: nothing is known")
    steps = counts.iloc[: number * round(each)]
    good, total = (steps[name].to_numpy().reshape(number, -1).sum(axis=1) for name in ("good", "total"))
    if minimum is None:
        share = np.divide(good, total, out=np.ones(number), where=total > 0)
        held = share >= time_slices.target
    else:
        held = total / time_slices.seconds >= minimum
    unknown = np.isnan(good) | np.isnan(total)
    judged = pd.DataFrame(
        {"good": np.where(unknown, np.nan, held), "total": np.where(unknown, np.nan, 1.0)},
        index=steps.index[:: round(each)],
    )
    judged.attrs = {"step": time_slices.seconds, "slices": [time_slices.seconds, time_slices.target, minimum]}
    return judged


def for_objective(counts: pd.DataFrame, objective: Objective) -> pd.DataFrame:
    """Return what the objective is judged by: the Counts of events, or those of its time slices (made once only).

    Raises as :func:`slices` and :func:`validate` do, and ``ObjectiveError`` for slices that another objective made.
    """
    made, wanted = counts.attrs.get("slices"), objective.slices
    if made is None:
        return slices(counts, wanted, objective.indicator.minimum) if wanted else validate(counts)
    if wanted is None or made != [wanted.seconds, wanted.target, objective.indicator.minimum]:
        raise ObjectiveError(f"these Counts are slices {made}; {objective.name} has {wanted}. Next: give its events")
    return validate(counts)


def validate(counts: pd.DataFrame) -> pd.DataFrame:
    """Return the Counts, as floats, if they are Counts.

    Raises ``MetricsError`` saying what is wrong and where: missing columns, no rows, times that go backwards or are not
    equally far apart, negative or infinite numbers, more good events than events.
    """
    lacking = [name for name in ("good", "total") if name not in counts]
    if lacking:
        raise MetricsError(f"Counts lack {', '.join(lacking)}; accepted: what count() or from_metrics() returns")
    if counts.empty:
        raise MetricsError("no step is counted: nothing is known")
    index = counts.index
    if not isinstance(index, pd.DatetimeIndex) or index.tz is None or index.hasnans:
        raise MetricsError(f"the index is of {index.dtype}; accepted: times with a time zone, none missing")
    apart = np.diff(index.as_unit("ns").asi8) / 1e9
    step = counts.attrs.get("step", apart[0] if len(apart) else None)
    if step is None:
        raise MetricsError('one row does not tell how long it is. Next: set counts.attrs["step"] (seconds)')
    for wrong, reason in ((apart <= 0, "not after the one before it: the clock went backwards"),
                          (np.abs(apart - step) > 1e-6 * step + 2e-9, f"not {step} s after the one before it; "
                           "steps nobody watched are rows of NaN")):  # fmt: skip
        if wrong.any():
            raise MetricsError(f"the step at {index[1:][wrong][0]} is {reason} ({int(wrong.sum())} such steps)")
    good, total = (counts[name].to_numpy(float, na_value=np.nan) for name in ("good", "total"))
    for wrong, reason in (((good < 0) | (total < 0), "negative"), (np.isinf(good) | np.isinf(total), "infinite"),
                          (good > total, "more good events than events")):  # fmt: skip
        if wrong.any():
            first = f"good {good[wrong][0]}, total {total[wrong][0]} at {index[wrong][0]}"
            raise MetricsError(f"{reason}: {first} ({int(wrong.sum())} such steps)")
    checked = pd.DataFrame({"good": good, "total": total}, index=index)
    checked.attrs = {**counts.attrs, "step": float(step)}
    return checked
