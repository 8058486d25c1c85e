"""Gates: a change is tried before it is made, and refused when it would let readers down."""

from collections.abc import Sequence
from dataclasses import dataclass

from mlops_helpers.deploy.calls import call, wait_ready
from mlops_helpers.errors import DrillError, ServiceError
from mlops_helpers.model.artifact import Artifact
from mlops_helpers.respond.guards import Guarding, register
from mlops_helpers.respond.stage import Change, Stage
from mlops_helpers.respond.world import comments
from mlops_helpers.serve.plan import Comment

__all__ = ["GateOnConfiguration", "GateOnHash", "GateOnInterface", "GateOnQuality"]

_HELD_OUT = 5_000  # a seed of comments that no reader of a drill writes
_QUESTION = {"id": "contract", "text": "Is anybody there?"}


@register
@dataclass(frozen=True)
class GateOnQuality:
    """A release is refused that publishes less than ``least`` of the honest among so many ``comments``, or holds less
    of the spam. They are labelled, and held out from training.
    """

    least: float = 0.7
    comments: int = 300

    def begin(self, stage: Stage, guarding: Guarding) -> None:
        """Look at every release."""
        if not (0 < self.least <= 1 and 50 <= self.comments <= 1_000):
            raise DrillError(f"least is {self.least}, comments {self.comments}; accepted: above 0 to 1, 50 to 1000")
        held_out = comments(_HELD_OUT)[: self.comments]
        guarding.gate("release", lambda change: self._complaint(change.subject, change.what, held_out))

    def _complaint(self, version: str, artifact: Artifact, held_out: Sequence[Comment]) -> str:
        scores = artifact.scorer.scores([one.text for one in held_out])
        told = [(one.label, score >= artifact.threshold) for one, score in zip(held_out, scores, strict=True)]
        honest, spam = ([held for label, held in told if label == kind] for kind in (0, 1))
        published, held = 1 - sum(honest) / len(honest), sum(spam) / len(spam)
        if min(published, held) >= self.least:
            return ""
        found = f"{version} publishes {published:.0%} of honest comments and holds {held:.0%} of spam"
        return f"{found}, of {len(held_out)} held out; accepted: {self.least:.0%} of each"


@register
@dataclass(frozen=True)
class GateOnHash:
    """A running filter takes no other artifact than the one that is registered for its version."""

    def begin(self, stage: Stage, guarding: Guarding) -> None:
        """Look at every artifact that a filter is given."""
        registered = stage.world.model("good").sha256

        def complaint(change: Change) -> str:
            found = change.what.sha256
            return f"{change.subject} is given {found[:12]}; registered: {registered[:12]}" * (found != registered)

        guarding.gate("model", complaint)


@register
@dataclass(frozen=True)
class GateOnConfiguration:
    """Filters are asked at the addresses of a configuration before the gateway gets it: each within ``seconds``."""

    seconds: float = 0.5

    def begin(self, stage: Stage, guarding: Guarding) -> None:
        """Look at every configuration."""
        guarding.gate("configuration", self._complaint)

    def _complaint(self, change: Change) -> str:
        for version, addresses in change.what.items():
            for address in addresses:
                try:
                    wait_ready(address, self.seconds)
                except ServiceError as error:
                    return f"nobody is ready for {version} at {address}: {error}"
        return ""


@register
@dataclass(frozen=True)
class GateOnInterface:
    """What is about to change a question is tried on a filter first: a contract test between two teams."""

    def begin(self, stage: Stage, guarding: Guarding) -> None:
        """Look at every change of an interface."""

        def complaint(change: Change) -> str:
            field, renamed = (name.strip('"') for name in change.what)
            question = {renamed if name == field else name: value for name, value in _QUESTION.items()}
            try:
                call("POST", stage.platform.filters["v1"][0], "/v1/classify", question, seconds=2.0)
            except ServiceError as error:
                return f"the filter does not understand {renamed!r} for {field!r}: {error}"
            return ""

        guarding.gate("interface", complaint)
