"""A shadow: a version gets copies of what readers write, and nobody gets its answers. What would it have said?

Each comment has two verdicts, so that versions are compared on the same comments. Only those that they judge
differently can tell which one is better; if the shadow is not worse, at least every other of these goes to it. That is
the sequential form of McNemar's test (1947), and the arithmetic is that of a canary with half of the comments: see
:mod:`~mlops_helpers.deploy.sequential`. It needs far fewer labels than a canary does; and it cannot see how readers,
load and time are met by a version that does not answer them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_helpers.deploy.sequential import Evidence
from mlops_helpers.errors import MetricsError
from mlops_helpers.serve import records

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Shadowed", "compare_shadow"]


@dataclass(frozen=True)
class Shadowed:
    """What the shadow would have said.

    Of ``comments`` that both judged, ``differently`` were judged differently: ``more_held`` are spam to the shadow
    alone, ``less_held`` to the old version alone; ``score_shift`` is the mean difference of the scores (the shadow's
    minus the other). ``missing``: answered comments that have no copy. ``disagreements`` has a row for each comment
    that was judged differently: ``comment_id``, ``score``, ``score_shadow``, ``spam``, and ``label`` if known.

    ``evidence`` that the shadow judges worse: ``hits`` of its ``events`` are labelled comments that only the shadow
    got wrong, the others those that only the old version got wrong.
    """

    comments: int
    differently: int
    more_held: int
    less_held: int
    score_shift: float
    missing: int
    disagreements: "pd.DataFrame"
    evidence: Evidence

    def __str__(self) -> str:
        share = self.differently / self.comments
        return (
            f"{self.comments} comments, {self.differently} judged differently ({share:.1%}): {self.more_held} held by "
            f"the shadow alone, {self.less_held} by the old version alone; of {self.evidence.events} with a label "
            f"the shadow is wrong in {self.evidence.hits}"
        )


def compare_shadow(control: Sequence[Path], shadow: Sequence[Path], labels: "pd.DataFrame | None" = None) -> Shadowed:
    """Compare the prediction logs of the version that answered and of its shadow (see ``Platform.predictions``).

    ``labels`` (``comment_id``, ``label``, where 1 is spam, in the order they came) say who was right.

    Raises ``MetricsError`` when no comment was judged by both.
    """
    answered = records.read(control)
    copied = records.read(shadow)
    answered, copied = records.unique(answered[~answered["shadow"]]), records.unique(copied[copied["shadow"]])
    both = answered.merge(copied, on="comment_id", suffixes=("", "_shadow"))
    if both.empty:
        raise MetricsError(
            f"none of {len(answered)} answered comments has a verdict of the shadow. "
            "Next: platform.set_shadow({version: 1.0}), then wait for comments"
        )
    disagreements = both.loc[
        both["spam"] != both["spam_shadow"], ["comment_id", "score", "score_shadow", "spam"]
    ].reset_index(drop=True)
    evidence = Evidence()
    if labels is not None:
        known = labels[["comment_id", "label"]].drop_duplicates("comment_id", keep="last")
        disagreements = disagreements.merge(known, on="comment_id", how="left")
        for row in known.merge(disagreements[["comment_id", "spam"]], on="comment_id").itertuples():
            evidence.add(int(row.spam == bool(row.label)), 1, 0.5)  # the old version right: the shadow wrong
    return Shadowed(
        comments=len(both),
        differently=len(disagreements),
        more_held=int((~disagreements["spam"]).sum()),
        less_held=int(disagreements["spam"].sum()),
        score_shift=float((both["score_shadow"] - both["score"]).mean()),
        missing=len(answered) - len(both),
        disagreements=disagreements,
        evidence=evidence,
    )
