"""What may ship, given how much of the error budget is left: a policy agreed upon before the budget is gone.

After the example policy in The Site Reliability Workbook (2018), appendix B: with the budget of the last four weeks
spent, only emergency fixes and security changes ship until the service is within its objective again; an incident that
took more than a fifth of the budget is written up.
"""

import math
from dataclasses import dataclass

from mlops_helpers.errors import ObjectiveError
from mlops_helpers.observe.objectives import DAY

__all__ = ["ALWAYS", "CHANGES", "FOUR_WEEKS", "POSTMORTEM_ABOVE", "Decision", "Duty", "decide", "postmortem"]

FOUR_WEEKS = 28 * DAY
"""The period whose budget the policy looks at (seconds): ``budget(counts, objective, period=FOUR_WEEKS)``."""
ALWAYS = ("emergency fix", "security")
"""Changes that ship with no budget left."""
CHANGES = ("feature", "fix", "configuration", "model", *ALWAYS)
POSTMORTEM_ABOVE = 0.2


@dataclass(frozen=True)
class Decision:
    """Whether a change may ship, and why; ``known`` is False when the budget could not tell."""

    allowed: bool
    known: bool
    reason: str


@dataclass(frozen=True)
class Duty:
    """Whether an incident must be written up, and why; ``known`` is False when nobody knows what it spent."""

    required: bool
    known: bool
    reason: str


def decide(remaining: float, change: str) -> Decision:
    """Return whether a change may ship with this share of the budget remaining (0 or below: spent; NaN: not known).

    With an unknown budget what is not urgent waits: nobody could tell whether the change did harm.

    Raises ``ObjectiveError`` for a change that is not one of ``CHANGES``.
    """
    if change not in CHANGES:
        raise ObjectiveError(f"change is {change!r}; accepted: {', '.join(CHANGES)}")
    known = not math.isnan(remaining)
    if change in ALWAYS:
        return Decision(True, known, f"ships: {change}, whatever is left of the budget")
    if not known:
        return Decision(
            False, False, f"waits: {change}, while the budget is unknown. Next: find out why nothing is measured"
        )
    if remaining > 0:
        return Decision(True, True, f"ships: {change}, {100 * remaining:.3g} % of the budget is left")
    return Decision(
        False,
        True,
        f"waits: {change}, the budget is spent ({100 * (1 - remaining):.4g} %). Accepted until the service is within "
        f"its objective: {' and '.join(ALWAYS)}",
    )


def postmortem(spent: float) -> Duty:
    """Return whether an incident that spent this share of the budget must be written up (NaN: not known; it must)."""
    if math.isnan(spent):
        return Duty(True, False, "postmortem: what the incident spent is unknown, which is worth finding out")
    said = f"the incident spent {100 * spent:.4g} % of the budget, the limit is {100 * POSTMORTEM_ABOVE:.0f} %"
    if spent > POSTMORTEM_ABOVE:
        return Duty(True, True, f"postmortem: {said}")
    return Duty(False, True, f"no postmortem needed: {said}")
