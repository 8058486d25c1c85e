"""What handing in late costs: a policy as data, and the points that it takes."""

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from mlops_helpers.errors import ParameterError

__all__ = ["LatePolicy", "parse_due", "seconds_late"]

_PERIODS = {"hour": 3600.0, "day": 86400.0}


@dataclass(frozen=True)
class LatePolicy:
    """``percent`` of the points earned go with every ``period`` (in seconds) that has begun after the due date."""

    percent: float
    period: float

    @classmethod
    def parse(cls, text: str) -> "LatePolicy":
        """Return the policy that a text such as ``10%/day`` states.

        Raises ``ParameterError`` when it states none.
        """
        match = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)%/(hour|day)", text)
        if match is None or not 0 < float(match[1]) <= 100:
            raise ParameterError(
                f"late penalty {text!r} found; accepted: a percentage above 0, up to 100, per hour or day, "
                "such as 10%/day or 0.5%/hour"
            )
        return cls(float(match[1]), _PERIODS[match[2]])

    def penalty(self, earned: float, late_seconds: float) -> float:
        """Return the points that are taken from those earned; never more than these."""
        periods = math.ceil(late_seconds / self.period) if late_seconds > 0 else 0
        return earned * min(1.0, periods * self.percent / 100)


def parse_due(text: str) -> datetime:
    """Return the due date.

    Raises ``ParameterError`` when the text is no ISO 8601 time, or does not say in which time zone.
    """
    try:
        due = datetime.fromisoformat(text)
    except ValueError:
        due = None
    if due is None or due.tzinfo is None:
        raise ParameterError(
            f"due date {text!r} found; accepted: ISO 8601 with the offset from UTC, such as 2030-01-31T23:59+01:00 "
            "or 2030-01-31T22:59Z"
        )
    return due.astimezone(UTC)


def seconds_late(submitted_at: str, due: datetime | None) -> float:
    """Return by how many seconds a submission (ISO 8601, empty when unknown) missed the due date; 0 when it did not."""
    if due is None or not submitted_at:
        return 0.0
    return max(0.0, (datetime.fromisoformat(submitted_at) - due).total_seconds())
