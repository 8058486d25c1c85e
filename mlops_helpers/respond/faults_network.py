"""Faults of the network, and of what passes over it: wires ``edge`` (readers to blog) and those of the filters."""

from dataclasses import dataclass

from mlops_helpers.respond.faults import Undoing, register
from mlops_helpers.respond.stage import Stage
from mlops_helpers.respond.wires import Quality

__all__ = ["NetworkDelay", "NetworkLoss", "NetworkPartition", "SchemaChanged"]


def _mend_later(stage: Stage, undoing: Undoing, wire: str) -> None:
    undoing.call(lambda: stage.wires.set(wire, Quality()))  # the wires end with this process


def _spoil(stage: Stage, undoing: Undoing, wire: str, quality: Quality) -> None:
    _mend_later(stage, undoing, wire)
    stage.wires.set(wire, quality)


@register
@dataclass(frozen=True)
class NetworkDelay:
    """What passes a wire comes ``seconds`` later, each way."""

    wire: str
    seconds: float = 0.3

    def begin(self, stage: Stage, undoing: Undoing) -> None:
        """Delay it."""
        _spoil(stage, undoing, self.wire, Quality(delay=self.seconds))


@register
@dataclass(frozen=True)
class NetworkLoss:
    """Connections break: at each message with the probability ``share``."""

    wire: str
    share: float = 0.3

    def begin(self, stage: Stage, undoing: Undoing) -> None:
        """Break them."""
        _spoil(stage, undoing, self.wire, Quality(loss=self.share))


@register
@dataclass(frozen=True)
class NetworkPartition:
    """Nothing passes a wire, and nobody is told."""

    wire: str

    def begin(self, stage: Stage, undoing: Undoing) -> None:
        """Cut it."""
        _spoil(stage, undoing, self.wire, Quality(cut=True))


@register
@dataclass(frozen=True)
class SchemaChanged:
    """Somebody upstream renames a field of the question: the filter is asked about ``renamed``, and knows ``field``."""

    wire: str
    field: str = '"text"'
    renamed: str = '"body"'

    def begin(self, stage: Stage, undoing: Undoing) -> None:
        """Rename it in everything that passes."""
        _mend_later(stage, undoing, self.wire)
        stage.rename(self.wire, self.field, self.renamed)
