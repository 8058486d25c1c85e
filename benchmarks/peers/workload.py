"""What every contender serves and is asked: one large model, and comments that it has not seen."""

import json
import pickle
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_helpers.workspace import atomic_folder, cache

if TYPE_CHECKING:
    from mlops_helpers.model.training import TrainedModel

__all__ = ["Workload", "prepare"]

TRAINING = {"n_comments": 40_000, "seed": 11}  # gives about 200,000 features
SENT = {"n_comments": 50_000, "seed": 12}
LENGTH = 150
DISTINCT = 2_500


@dataclass(frozen=True)
class Workload:
    """The folder of a trained model and the comments to send.

    ``folder / "pipeline.pickle"`` is the fitted pipeline, for servers that read it themselves; ``scores`` are its
    spam scores (0 to 1) of ``texts``; ``features`` counts its terms; ``fingerprint`` names the training data.
    """

    folder: Path
    texts: list[str]
    scores: list[float]
    features: int
    fingerprint: str

    @property
    def pickle_path(self) -> Path:
        """Where the fitted pipeline lies."""
        return self.folder / "pipeline.pickle"

    @cached_property
    def model(self) -> "TrainedModel":
        """The trained model in this process, loaded when it is first asked for."""
        from mlops_helpers.model.training import TrainedModel

        return TrainedModel(pickle.loads(self.pickle_path.read_bytes()), 0.5, self.fingerprint)


def prepare() -> Workload:
    """Return the workload, trained at the first call (about a minute) and read from the cache afterwards."""
    trained = f"{TRAINING['n_comments']}-{TRAINING['seed']}-{SENT['n_comments']}-{SENT['seed']}"
    folder = cache("bench-serve") / f"{trained}-{LENGTH}-{DISTINCT}-sklearn-{version('scikit-learn')}"
    if not folder.exists():
        _train(folder)
    return Workload(folder, **json.loads((folder / "comments.json").read_text(encoding="utf-8")))


def _train(folder: Path) -> None:
    from mlops_helpers.model import data, training

    comments = data.load("simulated", **TRAINING)
    model = training.train(comments.frame, comments.sha256)
    texts = data.load("simulated", **SENT).frame["text"].drop_duplicates()
    nearest = (texts.str.len() - LENGTH).abs().sort_values(kind="stable").index[:DISTINCT]
    chosen = texts.loc[nearest].sort_index()
    content = {
        "texts": chosen.tolist(),
        "scores": model.scores(chosen).tolist(),
        "features": int(model.pipeline.named_steps["model"].coef_.size),
        "fingerprint": comments.sha256,
    }
    with atomic_folder(folder) as fresh:
        (fresh / "pipeline.pickle").write_bytes(pickle.dumps(model.pipeline, protocol=5))
        (fresh / "comments.json").write_text(json.dumps(content), encoding="utf-8")
