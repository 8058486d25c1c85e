"""What people do: a spam campaign, a load spike, new habits of readers, clients that are slow."""

import socket
from contextlib import suppress
from dataclasses import dataclass

from mlops_helpers.errors import DrillError
from mlops_helpers.respond.faults import Undoing, register
from mlops_helpers.respond.stage import RATE, Stage
from mlops_helpers.respond.world import campaign, comments
from mlops_helpers.serve.plan import Moderators

__all__ = ["BenignShift", "LabelDelay", "LabelPoisoning", "LoadSpike", "SlowClient", "SpamCampaign"]

_ADDRESSES = 100  # of a campaign


@register
@dataclass(frozen=True)
class SpamCampaign:
    """Senders have found spam that the filter lets through, and send ``per_second`` of it, from a network of theirs."""

    per_second: float = 20.0

    def begin(self, stage: Stage, undoing: Undoing) -> None:
        """Let them come."""
        undoing.call(stage.come(campaign(stage.seed), rate=self.per_second, reads=0.0, addresses=_ADDRESSES).stop)


@register
@dataclass(frozen=True)
class LoadSpike:
    """``factor`` times as many readers and commenters as usual."""

    factor: float = 3.0

    def begin(self, stage: Stage, undoing: Undoing) -> None:
        """Let them come."""
        if not 1 < self.factor <= 50:
            raise DrillError(f"factor is {self.factor}; accepted: above 1, at most 50")
        undoing.call(stage.come(rate=RATE * (self.factor - 1)).stop)


@register
@dataclass(frozen=True)
class BenignShift:
    """Readers have a new topic, new words, and write longer; what they write is as honest as before."""

    per_second: float = 16.0

    def begin(self, stage: Stage, undoing: Undoing) -> None:
        """Let them come."""
        undoing.call(stage.come(comments(stage.seed, shifted=True), rate=self.per_second, reads=0.0).stop)


@register
@dataclass(frozen=True)
class LabelPoisoning:
    """Somebody moderates who says the opposite, with probability ``share``: models that learn from it go wrong."""

    share: float = 1.0
    per_second: float = 6.0

    def begin(self, stage: Stage, undoing: Undoing) -> None:
        """Let moderators come who look after a part of the comments, and decide wrongly."""
        _moderated(stage, undoing, self.per_second, Moderators(every=0.5, delay=0.1, error_rate=self.share))


@register
@dataclass(frozen=True)
class LabelDelay:
    """Moderators decide ``seconds`` late on a part of the comments: what is held waits, and quality is known late."""

    seconds: float = 600.0
    per_second: float = 6.0

    def begin(self, stage: Stage, undoing: Undoing) -> None:
        """Let moderators come who take their time."""
        _moderated(stage, undoing, self.per_second, Moderators(every=0.5, delay=self.seconds, error_rate=0.0))


@register
@dataclass(frozen=True)
class SlowClient:
    """``connections`` clients begin a request and do not go on."""

    connections: int = 50

    def begin(self, stage: Stage, undoing: Undoing) -> None:
        """Open the connections; they end with this process."""
        if not 1 <= self.connections <= 500:
            raise DrillError(f"connections is {self.connections}; accepted: 1 to 500")
        host, _, port = stage.platform.blog.rpartition(":")
        for _ in range(self.connections):
            one = socket.create_connection((host, int(port)), timeout=5.0)
            undoing.call(one.close)
            with suppress(OSError):
                one.sendall(b"POST /posts/1/comments HTTP/1.1\r\nhost: blog\r\ncontent-le")


def _moderated(stage: Stage, undoing: Undoing, per_second: float, moderators: Moderators) -> None:
    """Let more comments come, and moderators who look after these."""
    crowd = stage.come(comments(stage.seed + 1), rate=per_second, reads=0.0, moderators=moderators)
    undoing.call(crowd.stop)
