"""Faults that are released: a bad model, a wrong artifact, a bad configuration, an expired token."""

from contextlib import suppress
from dataclasses import dataclass

from mlops_helpers.errors import DrillError, ServiceError
from mlops_helpers.respond.faults import Undoing, register
from mlops_helpers.respond.stage import Stage, swap_body
from mlops_helpers.respond.world import MODELS

__all__ = ["BadConfiguration", "BadModel", "TokenExpired", "WrongArtifact"]


def _known(model: str) -> str:
    if model not in MODELS:
        raise DrillError(f"there is no model {model!r}; accepted: {', '.join(MODELS)}")
    return model


@register
@dataclass(frozen=True)
class BadModel:
    """Version ``v2`` is released with a ``model`` and gets the ``share`` of the comments; ``v1`` still runs."""

    model: str
    share: float = 1.0

    def begin(self, stage: Stage, undoing: Undoing) -> None:
        """Start it and give it comments."""
        artifact = stage.world.model(_known(self.model))

        def withdraw() -> None:
            with suppress(ServiceError):
                stage.tell_gateway("weights", {"v1": 1.0})

        undoing.call(withdraw)
        stage.release("v2", artifact, self.share)


@register
@dataclass(frozen=True)
class WrongArtifact:
    """A running filter is given another ``model`` under its old name; its next process has the right one."""

    model: str
    name: str = "filter-v1-0"

    def begin(self, stage: Stage, undoing: Undoing) -> None:
        """Swap the model by the filter's admin call."""
        address = stage.status(self.name).address
        right, wrong = stage.world.model("good"), stage.world.model(_known(self.model))
        entry = {"do": "tell", "address": address, "path": "/admin/model", "token": stage.platform.admin_token}
        undoing.entry({**entry, "body": swap_body(right)})
        stage.swap(self.name, wrong)


@register
@dataclass(frozen=True)
class BadConfiguration:
    """The gateway is told that the filters are at an ``address`` where nobody is."""

    address: str = "127.0.0.1:9"

    def begin(self, stage: Stage, undoing: Undoing) -> None:
        """Tell it."""
        undoing.entry(stage.gateway_entry("upstreams", stage.configuration))
        stage.tell_gateway("upstreams", {"v1": [self.address]})


@register
@dataclass(frozen=True)
class TokenExpired:
    """The operators' token for the gateway is not valid any more: what serves goes on, but cannot be changed."""

    def begin(self, stage: Stage, undoing: Undoing) -> None:
        """Let it expire; the token is held by this process alone."""
        undoing.call(lambda: setattr(stage.platform, "admin_token", stage.valid_token))
        stage.platform.admin_token = "expired"  # noqa: S105 - that is what it is
