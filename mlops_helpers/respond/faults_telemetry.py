"""Faults of who watches: telemetry that is lost, and a clock that is wrong. Readers notice nothing."""

from dataclasses import dataclass

from mlops_helpers.respond.faults import Undoing, register
from mlops_helpers.respond.stage import Stage

__all__ = ["ClockSkew", "TelemetryGap"]


@register
@dataclass(frozen=True)
class TelemetryGap:
    """No metrics arrive: nobody knows how readers fare."""

    def begin(self, stage: Stage, undoing: Undoing) -> None:
        """Lose them; what watches ends with this process."""
        undoing.call(lambda: setattr(stage.watch, "deaf", False))
        stage.watch.deaf = True


@register
@dataclass(frozen=True)
class ClockSkew:
    """The clock that metrics are dated by is wrong by so many ``seconds``."""

    seconds: float = -3600.0

    def begin(self, stage: Stage, undoing: Undoing) -> None:
        """Change it."""
        undoing.call(lambda: setattr(stage.watch, "skew", 0.0))
        stage.watch.skew = self.seconds
