"""A replica of a swarm, whatever container it is at the moment."""

import time
from collections.abc import Callable
from contextlib import suppress

from mlops_helpers.deploy.containers import Container
from mlops_helpers.errors import OpsLabError, ServiceError

__all__ = ["Slot"]

_POLL_SECONDS = 0.05


class Slot:
    """A place that a swarm keeps filled, as a ``Replica``; ``find`` finds who is in it.

    Nothing but the number of replicas can be asked of a swarm: it can neither be stopped nor started by itself.
    """

    def __init__(self, name: str, find: Callable[[], Container]) -> None:
        self.name, self._find = name, find

    def wait_ready(self, seconds: float) -> None:
        """Return when who is in it answers. Raises ``ServiceError`` when nobody does in time."""
        limit = time.monotonic() + seconds
        said = "nobody is in it"
        while time.monotonic() < limit:
            with suppress(OpsLabError):  # a container that ended is replaced by another
                one = self._find()
                if (state := one.status().state) in ("ready", "paused"):
                    return
                said = f"it is {state}. {one.words()}"
            time.sleep(_POLL_SECONDS)
        raise ServiceError(f"{self.name} was not ready within {seconds:.3g} s: {said}")

    def kill(self) -> None:
        """End who is in it at once, as a crash would; another takes the place."""
        self._find().kill()

    def pause(self) -> None:
        """Let who is in it hang; when the health check has seen it often enough, another takes the place."""
        self._find().pause()

    def resume(self) -> None:
        """Let who is in it go on."""
        self._find().resume()

    def stop(self) -> None:
        """Raise ``ServiceError``: a swarm would replace it at once."""
        raise ServiceError(f"a swarm keeps {self.name}. Accepted: kill, pause, resume. Next: scale to fewer replicas")

    def start(self) -> None:
        """Raise ``ServiceError``: a swarm does it by itself."""
        raise ServiceError(f"a swarm starts {self.name} by itself. Next: wait_ready, or scale to more replicas")
