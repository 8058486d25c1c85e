"""How well scores rank one kind of comment above another, and how sure that is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ranking"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """The ROC-AUC with the placement of each score: the share of the other side that it lies on the right side of.

    ``of_positive`` and ``of_negative`` have the mean ``auc``; their variances are what its own variance is made of
    (DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988).
    """

    auc: float
    of_positive: Floats
    of_negative: Floats

    @classmethod
    def of(cls, positive: Floats, negative: Floats) -> "Ranking":
        """Rank the scores of two sides, neither of them empty; equal scores count half."""
        above = _placed(positive, negative)
        return cls(float(above.mean()), above, 1 - _placed(negative, positive))

    def variance(self, n_positive: int, n_negative: int) -> float:
        """Return the variance of the AUC of samples of these sizes, if all rows are independent."""
        return float(self.of_positive.var(ddof=1) / n_positive + self.of_negative.var(ddof=1) / n_negative)

    def variance_of_groups(self, groups_positive: NDArray[np.int64], groups_negative: NDArray[np.int64]) -> float:
        """Return the variance when rows of one group belong together (Obuchowski, Biometrics 53, 1997)."""
        size = 1 + max(groups_positive.max(), groups_negative.max())
        share = np.bincount(groups_positive, (self.of_positive - self.auc) / len(self.of_positive), size)
        share += np.bincount(groups_negative, (self.of_negative - self.auc) / len(self.of_negative), size)
        return float((share**2).sum())


def _placed(these: Floats, others: Floats) -> Floats:
    ordered = np.sort(others)
    below, upto = (np.searchsorted(ordered, these, side) for side in ("left", "right"))  # type: ignore[call-overload]
    return (below + upto) / 2 / len(others)
