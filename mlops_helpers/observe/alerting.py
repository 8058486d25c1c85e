"""Burn-rate alerts: which a record would have given (:func:`evaluate`), and which there are (:class:`Alerts`).

Each rule of an objective is ``firing``, ``inactive`` or ``unknown``; see
:func:`~mlops_helpers.observe.windows.conditions` for when. An alert goes on while its state is unknown: not seeing an
outage does not end it. What is not known is never inactive.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from mlops_helpers.observe.budget import allowed_events
from mlops_helpers.observe.burnrate import WORKBOOK, BurnRule, checked
from mlops_helpers.observe.counts import for_objective
from mlops_helpers.observe.objectives import Objective
from mlops_helpers.observe.paging import Alerts
from mlops_helpers.observe.windows import Windows, burn_rates, conditions, detection_time, reset_time

__all__ = ["Alerts", "burn_rates", "detection_time", "evaluate", "joined", "reset_time"]

_COLUMNS = {
    "objective": "str",
    "rule": "str",
    "severity": "str",
    "state": "str",
    "started": "datetime64[ns, UTC]",
    "ended": "datetime64[ns, UTC]",
    "peak_burn_rate": "float64",
    "spent": "float64",
}


def evaluate(counts: pd.DataFrame, objective: Objective, rules: Iterable[BurnRule] = WORKBOOK) -> pd.DataFrame:
    """Return the alerts that the rules would have given, evaluated at each step's end.

    A row is an alert (``state`` "firing") or a time of which a rule could tell nothing ("unknown"; an alert may go on
    meanwhile). Columns: ``objective``, ``rule``, ``severity``, ``state``, ``started``, ``ended`` (NaT: not within the
    record), ``peak_burn_rate`` (of the long window) and ``spent`` (share of the period's budget) meanwhile.

    Raises ``ObjectiveError`` for rules that cannot work (see :func:`~mlops_helpers.observe.burnrate.checked`), and as
    :func:`~mlops_helpers.observe.counts.for_objective` does.
    """
    counts = for_objective(counts, objective)
    step = counts.attrs["step"]
    sums, rows = Windows(counts), []
    allowed = allowed_events(counts, objective) or np.nan
    bad = np.concatenate([[0.0], np.nancumsum((counts["total"] - counts["good"]).to_numpy())])
    ends = counts.index + pd.Timedelta(step, unit="s")
    for rule in checked(objective, rules, step=step):
        long, short = sums.over(rule.long), sums.over(rule.short)
        fires, stops, unknown = conditions(long, short, rule.threshold(objective), rule.minimum_bad)
        latest = np.maximum.accumulate(np.where(fires | stops, np.arange(len(fires)), -1))
        active = fires[latest] & (latest >= 0)
        burn = long.share() / objective.budget
        for state, where in (("firing", active), ("unknown", unknown)):
            edges = np.flatnonzero(np.diff(where, prepend=False, append=False))
            for first, past in edges.reshape(-1, 2):
                ended = ends[past] if past < len(ends) else pd.NaT
                peak, spent = np.nan, np.nan
                if state == "firing":
                    peak = np.nanmax(burn[first:past])
                    spent = (bad[min(past + 1, len(ends))] - bad[first + 1]) / allowed
                rows.append((objective.name, str(rule), rule.severity, state, ends[first], ended, peak, spent))
    rows.sort(key=lambda row: (row[4], row[1]))
    columns = list(zip(*rows, strict=True)) or [()] * len(_COLUMNS)
    table = {name: pd.array(column, kind) for (name, kind), column in zip(_COLUMNS.items(), columns, strict=True)}
    return pd.DataFrame(table)


def joined(alerts: pd.DataFrame) -> pd.DataFrame:
    """Return what somebody is called for: alerts of one objective and severity that overlap or touch are one.

    Takes what :func:`evaluate` returns, also of several objectives together. Columns: ``objective``, ``severity``,
    ``rule`` (several, joined by commas), ``started``, ``ended`` (NaT: not within the record), ``peak_burn_rate``.
    """
    calls: list[dict[str, Any]] = []
    columns = ["objective", "severity", "rule", "started", "ended", "peak_burn_rate"]
    firing = alerts.loc[alerts["state"] == "firing", columns].sort_values(["objective", "severity", "started"])
    for alert in firing.to_dict("records"):
        call = calls[-1] if calls else alert
        same = (call["objective"], call["severity"]) == (alert["objective"], alert["severity"])
        if not calls or not same or alert["started"] > call["ended"]:  # nothing is after NaT
            calls.append(alert)
            continue
        if alert["rule"] not in call["rule"].split(", "):
            call["rule"] += f", {alert['rule']}"
        ends = [call["ended"], alert["ended"]]
        call["ended"] = pd.NaT if pd.isna(ends).any() else max(ends)
        call["peak_burn_rate"] = max(call["peak_burn_rate"], alert["peak_burn_rate"])
    return pd.DataFrame(calls, columns=columns).astype({name: _COLUMNS[name] for name in columns})
