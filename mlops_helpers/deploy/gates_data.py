"""The gate of the data: what a model is to learn from is what we think it is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_helpers.deploy.gates import Job
from mlops_helpers.deploy.release_settings import TrainingSettings, read
from mlops_helpers.errors import DataError, GateRefused, PipelineError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["data_validation", "read_comments"]

TRAIN, TEST = "train.parquet", "test.parquet"


def data_validation(job: Job) -> Mapping[str, Any]:
    """Refuse comments that break the schema, are too few, or have an implausible share of spam.

    Makes the comments to train on and, later ones, to judge by. Settings: ``test_share``, ``fewest`` comments and the
    accepted range of ``spam_share``.
    """
    from mlops_helpers.model import data, training

    wanted = read(TrainingSettings, job.source).data
    fewest, test_share, (low, high) = job.setting("fewest", 300), job.setting("test_share", 0.3), _range(job)
    source = str(job.source / wanted.source) if wanted.source.endswith(".csv") else wanted.source
    try:
        comments = data.load(source, n_comments=wanted.n_comments, seed=wanted.seed)
    except DataError as error:
        raise GateRefused(f"the comments are refused: {error}") from error
    frame, share = comments.frame, float(comments.frame["label"].mean())
    job.say(str(comments.report))
    if len(frame) < fewest:
        raise GateRefused(f"there are {len(frame)} comments; accepted: {fewest:.0f} or more")
    if not low <= share <= high:
        raise GateRefused(
            f"{share:.1%} of the comments are spam; accepted: {low:.0%} to {high:.0%}. Next: find out what has changed "
            "where the data come from, before a model learns it"
        )
    dated = frame["created_at"].notna().all()
    try:
        if dated:
            at = frame["created_at"].quantile(1 - test_share).tz_localize(None).isoformat()
            train, test = training.split_at_time(frame, at)
        else:
            train, test = training.split_random(frame, test_share, seed=wanted.seed)
    except DataError as error:
        raise GateRefused(str(error)) from error
    for part, name in ((train, TRAIN), (test, TEST)):
        part.to_parquet(job.output / name, index=False)
    facts = {"sha256": comments.sha256, "train": len(train), "test": len(test), "spam_share": round(share, 4)}
    (job.output / "data.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")
    return facts


def read_comments(folder: Path, name: str) -> "pd.DataFrame":
    """Return the comments of ``TRAIN`` or ``TEST`` that this stage made."""
    import pandas as pd

    return pd.read_parquet(folder / name)


def _range(job: Job) -> tuple[float, float]:
    found = job.settings.get("spam_share", [0.05, 0.6])
    if isinstance(found, list) and len(found) == 2 and all(isinstance(one, int | float) for one in found):
        return float(found[0]), float(found[1])
    raise PipelineError(f"setting spam_share is {found!r}; accepted: the lowest and the highest, such as [0.05, 0.6]")
