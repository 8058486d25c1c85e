"""The burn-rate alerts that there are now, and who is told of them."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mlops_helpers.errors import MetricsError, ObjectiveError, ServiceError
from mlops_helpers.observe.burnrate import BurnRule, checked
from mlops_helpers.observe.measured import UNKNOWN, Measured
from mlops_helpers.observe.objectives import Objective
from mlops_helpers.observe.tables import utc
from mlops_helpers.observe.webhook import Page, send
from mlops_helpers.observe.windows import Window, conditions

if TYPE_CHECKING:
    from mlops_helpers.observe.source import MetricsSource

__all__ = ["ALERT", "Alerts"]

ALERT = "ErrorBudgetBurn"
_KEPT = 10_000
_PATIENCE = 10  # a webhook that took a second to fail is left alone for ten


@dataclass
class _Watched:
    """A rule of an objective, and how it stands."""

    objective: Objective
    rule: BurnRule
    state: str = "unknown"
    since: float = math.nan
    fired: float | None = None


class Alerts:
    """The alerts of objectives (each with its rules), from the first :meth:`evaluate` on.

    ``notify`` is told when the first rule of an objective and severity fires, and when none of them does any more,
    under the name and labels of the exported Prometheus rules: as a function of pages, or a webhook's URL (called as
    Alertmanager would). Pages that a webhook did not take wait in ``undelivered`` and go with the next ones.
    ``transitions`` has the last 10,000 changes of state: (time, objective, rule, before, after).

    Raises ``ObjectiveError`` for rules that cannot work and for two objectives of one name.
    """

    def __init__(
        self,
        source: "MetricsSource",
        objectives: Sequence[tuple[Objective, Iterable[BurnRule]]],
        *,
        notify: Callable[[list[Page]], None] | str | None = None,
    ) -> None:
        names = [objective.name for objective, _ in objectives]
        if len(set(names)) < len(names):
            raise ObjectiveError(f"the objectives are {', '.join(sorted(names))}; accepted: each name once")
        self._watched = [
            _Watched(objective, rule) for objective, rules in objectives for rule in checked(objective, rules)
        ]
        self._measured = Measured(source, max((each.rule.long for each in self._watched), default=0.0))
        self._notify = partial(send, notify) if isinstance(notify, str) else notify
        self._paged: dict[tuple[str, str], float] = {}
        self._quiet_until = -math.inf
        self.undelivered: deque[Page] = deque(maxlen=_KEPT)
        self.transitions: deque[tuple[float, str, str, str, str]] = deque(maxlen=_KEPT)

    def evaluate(self, at: float | None = None) -> pd.DataFrame:
        """Return how each rule stands at ``at`` (seconds since the epoch; now), and tell of what changed.

        Columns: ``objective``, ``rule``, ``severity``, ``state``, ``since``, ``long_burn_rate``, ``short_burn_rate``
        (NaN: not known, or no events) and ``reason`` (why it is unknown: also what the source refused).

        Raises ``MetricsError`` for a time before the last one.
        """
        at = time.time() if at is None else float(at)
        self._measured.begin(at)
        found = [self._ask(each) for each in self._watched]
        long, short = (Window(*np.array([row[n] for row in found]).reshape(-1, 3).T) for n in (0, 1))
        threshold = np.array([each.rule.threshold(each.objective) for each in self._watched])
        minimum = np.array([each.rule.minimum_bad for each in self._watched])
        for each, fires, ends, unknown in zip(self._watched, *conditions(long, short, threshold, minimum), strict=True):
            self._turn(each, at, fires, ends, unknown)
        self._tell(at)
        budget = np.array([each.objective.budget for each in self._watched])
        return pd.DataFrame(
            {
                "objective": [each.objective.name for each in self._watched],
                "rule": [str(each.rule) for each in self._watched],
                "severity": [each.rule.severity for each in self._watched],
                "state": [each.state for each in self._watched],
                "since": utc(np.array([round(1000 * each.since) for each in self._watched], np.int64)),
                "long_burn_rate": long.share() / budget,
                "short_burn_rate": short.share() / budget,
                "reason": [
                    row[2] if each.state == "unknown" else "" for each, row in zip(self._watched, found, strict=True)
                ],
            }
        )

    def _ask(self, each: _Watched) -> tuple[object, object, str]:
        try:
            return self._measured.windows(each.objective, each.rule)
        except MetricsError as error:
            return UNKNOWN, UNKNOWN, str(error)

    def _turn(self, each: _Watched, at: float, fires: bool, ends: bool, unknown: bool) -> None:
        if ends:
            each.fired = None
        elif fires and each.fired is None:
            each.fired = at
        state = "unknown" if unknown else "inactive" if each.fired is None else "firing"
        if state != each.state or math.isnan(each.since):
            self.transitions.append((at, each.objective.name, str(each.rule), each.state, state))
            each.state, each.since = state, at

    def _tell(self, at: float) -> None:
        if self._notify is None:
            return
        groups: dict[tuple[str, str], list[_Watched]] = {}
        for each in self._watched:
            groups.setdefault((each.objective.name, each.rule.severity), []).append(each)
        for group, rules in groups.items():
            firing = [each for each in rules if each.fired is not None]
            if firing and group not in self._paged:
                self._paged[group] = at
                self.undelivered.append(_page(firing[0], at))
            elif not firing and group in self._paged:
                self.undelivered.append(_page(rules[0], self._paged.pop(group), at))
        tried = time.monotonic()
        if not self.undelivered or tried < self._quiet_until:
            return
        try:
            self._notify(list(self.undelivered))
        except ServiceError:  # the pages stay in undelivered
            failed = time.monotonic()
            self._quiet_until = failed + _PATIENCE * (failed - tried)
        else:
            self.undelivered.clear()


def _page(each: _Watched, starts_at: float, ends_at: float | None = None) -> Page:
    of, labels = each.objective, {**each.objective.labels, "severity": each.rule.severity}
    labels = {"slo": of.name, "service": of.service, **labels}
    return Page(
        ALERT,
        "firing" if ends_at is None else "resolved",
        starts_at,
        ends_at,
        {label: value for label, value in labels.items() if value},
        {
            "summary": f"The error budget of {of.name} ({of.service}) burns too fast",
            "description": f"{of.description} {each.rule}".lstrip(),
        },
    )
