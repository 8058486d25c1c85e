"""What another nine costs and what it is worth: the arithmetic behind choosing a target."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING

from mlops_helpers.errors import ObjectiveError
from mlops_helpers.observe.burnrate import words
from mlops_helpers.observe.objectives import DAY

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PERIODS", "Price", "downtime", "price"]

PERIODS: Mapping[str, float] = MappingProxyType({"day": DAY, "week": 7 * DAY, "30 days": 30 * DAY, "year": 365 * DAY})


def downtime(targets: Iterable[float], periods: Mapping[str, float] = PERIODS) -> "pd.DataFrame":
    """Return how many seconds of complete outage each target allows in each period (name: seconds).

    Raises ``ObjectiveError`` for a target outside 0 to 1 (exclusive).
    """
    import pandas as pd

    table = {
        target: {name: float(_budget(target) * Decimal(repr(float(length)))) for name, length in periods.items()}
        for target in targets
    }
    return pd.DataFrame.from_dict(table, orient="index", columns=list(periods)).rename_axis("target")


@dataclass(frozen=True)
class Price:
    """Two targets for the same ``events`` in a ``period`` (seconds), and what going from one to the other would cost.

    ``cost_per_bad_event`` and ``engineering`` (per period) are in one currency, whichever.
    """

    lower: float
    higher: float
    events: float
    cost_per_bad_event: float
    engineering: float
    period: float

    @property
    def avoided(self) -> float:
        """How many bad events fewer the higher target allows."""
        return float((_budget(self.lower) - _budget(self.higher)) * Decimal(self.events))

    @property
    def saved(self) -> float:
        """What the avoided events would have cost."""
        return self.avoided * self.cost_per_bad_event

    @property
    def worth(self) -> bool:
        """Whether more is saved than spent."""
        return self.saved > self.engineering

    def table(self) -> "pd.DataFrame":
        """Return a row for each target: what it allows, and what that costs when all of it is used."""
        import pandas as pd

        rows = {}
        for target, engineering in ((self.lower, 0.0), (self.higher, self.engineering)):
            bad = float(_budget(target) * Decimal(self.events))
            rows[target] = {
                "allowed bad events": bad,
                "allowed downtime, s": float(_budget(target) * Decimal(self.period)),
                "cost of bad events": bad * self.cost_per_bad_event,
                "cost of engineering": engineering,
                "cost": bad * self.cost_per_bad_event + engineering,
            }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("target")

    def __str__(self) -> str:
        return (
            f"{100 * self.higher:.6g} % instead of {100 * self.lower:.6g} % avoids up to {self.avoided:,.6g} bad "
            f"events in {words(self.period)}, worth {self.saved:,.6g}; it costs {self.engineering:,.6g}: "
            + ("worth it" if self.worth else "not worth it")
            + f", break-even at {self.engineering / self.avoided:,.3g} a bad event"
        )


def price(
    lower: float,
    higher: float,
    *,
    events: float,
    cost_per_bad_event: float,
    engineering: float,
    period: float = 30 * DAY,
) -> Price:
    """Return what the ``higher`` target is worth: both budgets are taken to be used up.

    ``events`` and ``engineering`` (what reaching and keeping the higher target costs) are those of one ``period``.

    Raises ``ObjectiveError`` for targets in the wrong order or out of range, and for numbers that are negative.
    """
    if not _budget(higher) < _budget(lower):
        raise ObjectiveError(
            f"higher is {higher}, lower {lower}; accepted: a higher target that is above the lower one"
        )
    if not (
        0 < events < math.inf and 0 <= cost_per_bad_event < math.inf and 0 <= engineering < math.inf and period > 0
    ):
        raise ObjectiveError(
            f"events={events}, cost_per_bad_event={cost_per_bad_event}, engineering={engineering}, period={period}; "
            "accepted: events and period above 0, costs of 0 or more"
        )
    return Price(lower, higher, events, cost_per_bad_event, engineering, period)


def _budget(target: float) -> Decimal:
    if not 0 < target < 1:
        raise ObjectiveError(f"target is {target}; accepted: above 0 and below 1, such as 0.999")
    return 1 - Decimal(repr(float(target)))
