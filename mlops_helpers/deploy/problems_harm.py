"""What a release does to readers when no gate has stopped it: measured by them, on a platform of its own."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_helpers.deploy import release_source
from mlops_helpers.deploy.bundle import Bundle
from mlops_helpers.deploy.production import PlatformProduction
from mlops_helpers.deploy.rollback import silent
from mlops_helpers.deploy.stages import Pipeline
from mlops_helpers.serve.filter import MAX_CHARACTERS
from mlops_helpers.serve.plan import Arrival, Comment, comments_from, plan
from mlops_helpers.serve.traffic import Traffic

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["earlier", "readers", "served", "unguarded"]

_MAKERS = ("data_validation", "train", "package", "production")  # what judges only is left out without them
_UNLIMITED = 1_000_000  # comments a minute: all of them come from one address
_PATIENCE = 60.0  # seconds beyond the plan's own for answers that are late
_GREEK = (
    "love this song so much, το καλύτερο τραγούδι της χρονιάς",
    "so good, I watch it every day: τι ωραία μουσική",
    "this made me cry, με συγκίνησε πολύ",
    "my son sings it every morning, κάθε πρωί!",
    "best video ever, χαιρετισμούς από το χωριό",
)
_BLOCKED = (
    "The draw of the Golden Pelican is over, and yours was among the names",
    "My aunt has had a letter of the Marble Lottery, and so could you",
    "They still have Free Moon Plots with a view, ask for the list",
)


def earlier(folder: Path) -> Path:
    """Write the source of the release before the template's, of fewer comments and without a migration; return it."""
    source = release_source.copy(folder)
    training = source / "training.toml"
    text = training.read_text("utf-8").replace("n_comments = 2000", "n_comments = 500").replace("seed = 0", "seed = 1")
    training.write_text(text, encoding="utf-8")
    for path in (source / "migrations").iterdir():
        path.unlink()
    return source


def unguarded(pipeline: Pipeline) -> Pipeline:
    """Return a pipeline with all its gates off: it makes what is released (end ``package``), and judges nothing."""
    judges = [stage.name for stage in pipeline.stages if stage.name not in _MAKERS]
    return replace(pipeline, ends={"package": "package", "deployment": "production"}).without(*judges)


def readers(seconds: float = 3.0, *, rate: float = 40.0, seed: int = 7) -> list[Arrival]:
    """Return a plan of what comes to the blog: simulated comments, and what tests on a desk do not think of.

    Of ten comments two are honest ones in Greek, one is an honest one of nearly the longest accepted length, and one
    has a term that moderators have blocked. To two comments comes one reader.
    """
    from mlops_helpers.model.simulate import simulate

    everyday = comments_from(simulate(n_comments=600, seed=seed))
    honest = " ".join(comment.text for comment in everyday if comment.label == 0)
    greek = cycle(Comment(text, 0, "reader") for text in _GREEK)
    blocked = cycle(Comment(text, 1, "sender", "blocked") for text in _BLOCKED)
    starts = cycle(range(0, len(honest) - MAX_CHARACTERS, 997))
    tens = (
        [
            *everyday[at : at + 3],
            next(greek),
            Comment(honest[(start := next(starts)) : start + MAX_CHARACTERS - 100], 0, "writer"),
            *everyday[at + 3 : at + 6],
            next(blocked),
            next(greek),
        ]
        for at in range(0, len(everyday), 6)
    )
    mixed = list(islice(chain.from_iterable(tens), 1000))
    return plan(mixed, rate=rate, seconds=seconds, seed=seed, reads_per_comment=0.5)


def served(
    champion: Bundle,
    bundle: Bundle,
    arrivals: Sequence[Arrival],
    folder: Path,
    *,
    runtime: str = "process",
    taken_back: bool = False,
) -> "pd.DataFrame":
    """Release a bundle into a production where the champion serves, asking no gate, and return the readers' record.

    ``taken_back``: it is rolled back before they come. ``folder`` takes the production's state. Raises ``ServiceError``
    when the production itself refuses the bundle.
    """
    production = PlatformProduction(folder / "production", runtime=runtime, comments_per_minute=_UNLIMITED)
    with production:
        for one in (champion, bundle):
            production.release(one, silent)
        if taken_back:
            production.roll_back()
        with Traffic(production.platform.blog, arrivals, folder / "readers.jsonl") as traffic:
            traffic.wait(arrivals[-1].at + _PATIENCE)
        return traffic.frame()
