"""Guards at the edge: readers have a second way to the blog, and no network may send as much as it likes."""

from dataclasses import dataclass

from mlops_helpers.errors import DrillError
from mlops_helpers.respond.guards import Guarding, register
from mlops_helpers.respond.stage import Stage

__all__ = ["LimitNetworks", "SecondWay"]


@register
@dataclass(frozen=True)
class SecondWay:
    """Readers reach the blog over two wires: the second is asked when the first has no answer in ``hedge`` seconds."""

    hedge: float = 0.15

    def begin(self, stage: Stage, guarding: Guarding) -> None:
        """Lay it, for readers who come from now on."""
        if not 0.01 <= self.hedge <= 1:
            raise DrillError(f"hedge is {self.hedge}; accepted: 0.01 to 1 second")
        second = stage.wires.lay("edge-2", stage.platform.blog)
        stage.edge, acted = stage.wires.front([stage.edge, second], hedge=self.hedge)
        guarding.later(lambda since: _told(acted(since), "answers came over the second way"))


@register
@dataclass(frozen=True)
class LimitNetworks:
    """A network (addresses of which the first three numbers are the same) may send ``per_minute`` comments."""

    per_minute: float = 1.0

    def begin(self, stage: Stage, guarding: Guarding) -> None:
        """Stand between the blog and who comes from now on."""
        if not 0 < self.per_minute <= 10_000:
            raise DrillError(f"per_minute is {self.per_minute}; accepted: above 0, at most 10000")
        stage.edge, acted = stage.wires.front([stage.edge], per_minute=self.per_minute)
        guarding.later(lambda since: _told(acted(since), "comments were refused: too many from one network"))


def _told(count: int, what: str) -> str:
    return f"{count} {what}" if count else ""
