"""What all drills share: comments that readers write, and models, good and bad; made once and kept in the cache."""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path

from mlops_helpers.model import artifact as artifacts
from mlops_helpers.model.provenance import code_version
from mlops_helpers.serve.plan import Comment, comments_from
from mlops_helpers.workspace import cache, one_at_a_time

__all__ = ["MODELS", "World", "campaign", "comments", "world"]

MODELS = {
    "good": "trained on yesterday's comments",
    "strict": "the good one with a threshold of 0.02, left over from an experiment",
    "lax": "the good one with a threshold of 0.995",
    "inverted": "trained on labels that were exchanged",
    "deaf": "trained on text that was read backwards, as a broken feature pipeline gave it",
}


@dataclass(frozen=True)
class World:
    """The folder of each model's artifact, by the names in ``MODELS``."""

    models: dict[str, Path]

    def model(self, name: str) -> artifacts.Artifact:
        """Return a model's artifact, verified."""
        return artifacts.load(self.models[name])


@functools.cache
def world() -> World:
    """Return the world; the first call on a machine trains its models, which takes some seconds."""
    folder = cache("drills", code_version()[:16])
    models = {name: folder / name for name in MODELS}
    with one_at_a_time(folder / "lock"):  # a second drill has what the first one trains
        if not all((path / "manifest.json").is_file() for path in models.values()):
            _train(models)
    return World(models)


def _train(models: dict[str, Path]) -> None:
    from mlops_helpers.model import data, training

    known = data.load("simulated", n_comments=1500, seed=20)
    good = training.train(known.frame, known.sha256)
    exchanged = known.frame.assign(label=1 - known.frame["label"])
    backwards = known.frame.assign(text=known.frame["text"].map(lambda text: text[::-1]))
    made = {
        "good": good,
        "strict": dataclasses.replace(good, threshold=0.02),
        "lax": dataclasses.replace(good, threshold=0.995),
        "inverted": training.train(exchanged, data.content_hash(exchanged)),
        "deaf": training.train(backwards, data.content_hash(backwards)),
    }
    for name, model in made.items():
        artifacts.export(model, models[name])


def comments(seed: int, *, shifted: bool = False) -> list[Comment]:
    """Return what readers write in a drill; ``shifted``: they have found a new topic, and write longer."""
    from mlops_helpers.model.simulate import SHIFTS, Shift, simulate

    shifts = [Shift(kind, 0.0, 1.0, share=0.8) for kind in SHIFTS] if shifted else []
    return comments_from(simulate(1_500, days=1.0, seed=1_000 + seed, spam_rate=0.3, shifts=shifts))


def campaign(seed: int) -> list[Comment]:
    """Return spam that the good model takes for honest, as senders find it by trying."""
    from mlops_helpers.model.simulate import FAMILIES, Campaign, simulate

    waves = [Campaign(family, 0.0, 1.0, share=0.9 / len(FAMILIES), obfuscation=1.0) for family in FAMILIES]
    written = simulate(200, days=1.0, seed=2_000 + seed, campaigns=waves)
    good = world().model("good")
    return [one for one in comments_from(written[written["label"] == 1]) if not good.is_spam(one.text)]
