"""Whether one model is not worse than another by more than a margin, on the same comments, and how sure that is.

The interval is Tango's score interval for the difference of two proportions in matched pairs (Statistics in Medicine
17, 1998). It keeps its level where models nearly agree, which two releases of one model do: a normal approximation
would then have no width at all.
"""

import math
from dataclasses import dataclass

from mlops_helpers.errors import ParameterError

__all__ = ["Comparison", "compare", "lower_bound"]

_Z = 1.6448536269514722  # one-sided, 95 %


@dataclass(frozen=True)
class Comparison:
    """Of ``n`` comments, ``gained`` are judged rightly by the new model only, ``lost`` by the old one only.

    ``difference`` (new minus old, of the share judged rightly) is above ``low`` with 95 % confidence.
    """

    name: str
    n: int
    gained: int
    lost: int
    low: float

    @property
    def difference(self) -> float:
        """How much larger the share of comments is that the new model judges rightly."""
        return (self.gained - self.lost) / self.n

    def not_worse_by(self, margin: float) -> bool:
        """Whether the new model is shown to be worse by less than the margin."""
        return self.low > -margin

    def __str__(self) -> str:
        return (
            f"{self.name}: {100 * self.difference:+.1f} points (above {100 * self.low:+.1f} with 95 % confidence), "
            f"{self.gained} gained and {self.lost} lost of {self.n}"
        )


def compare(name: str, n: int, gained: int, lost: int) -> Comparison:
    """Return the comparison of two models on ``n`` comments. Raises ``ParameterError`` for impossible numbers."""
    return Comparison(name, n, gained, lost, lower_bound(n, gained, lost))


def lower_bound(n: int, gained: int, lost: int, z: float = _Z) -> float:
    """Return the lower end of Tango's interval for the difference (gained - lost) / n.

    ``z`` is the normal quantile of the confidence (one-sided 95 % by default).
    """
    if n < 1 or min(gained, lost) < 0 or gained + lost > n:
        raise ParameterError(f"n={n}, gained={gained}, lost={lost}; accepted: counts, of at least one comment")
    low, high = -1.0, (gained - lost) / n
    for _ in range(60):  # the score statistic falls as the difference that is asked about grows
        middle = (low + high) / 2
        if _statistic(n, gained, lost, middle) > z:
            low = middle
        else:
            high = middle
    return low


def _statistic(n: int, gained: int, lost: int, delta: float) -> float:
    """Tango's score statistic: how far the data are above a difference of ``delta``, in standard errors."""
    a, b = 2.0 * n, -gained - lost + (2 * n - gained + lost) * delta
    c = -lost * delta * (1 - delta)
    q = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = n * (2 * q + delta * (1 - delta))
    excess = gained - lost - n * delta
    return math.inf if variance <= 0 else excess / math.sqrt(variance)
