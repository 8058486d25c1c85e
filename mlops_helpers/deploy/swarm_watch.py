"""Where the replicas of a swarm are: it gives what replaces a replica another address, and tells nobody."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_helpers.deploy.containers import each, find
from mlops_helpers.deploy.ownership import RELEASE
from mlops_helpers.deploy.runtime import EndpointsChanged
from mlops_helpers.errors import ServiceError

if TYPE_CHECKING:
    import docker

__all__ = ["Watch"]

_SECONDS = 0.2  # between two looks; a replica that is asked to end still answers for 0.3


class Watch:
    """Looks again and again, and tells a release's endpoints when they are others; what was not heard is told again."""

    def __init__(self, client: "docker.DockerClient", folder: Path, on_change: EndpointsChanged) -> None:
        self._client, self._folder, self._on_change = client, folder, on_change
        self._told: dict[str, Sequence[str]] = {}
        self._looking, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch of {folder.name}", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def look(self) -> None:
        """Look now. Raises ``ServiceError`` when Docker does not answer, or who is told does not listen."""
        with self._looking:
            found: dict[str, list[str]] = {}
            there = [one for one in find(self._client, self._folder) if one.running]
            for release, address in each(there, lambda one: (one.labels[RELEASE], one.address)):
                if address:
                    found.setdefault(release, []).append(address)
            for name, endpoints in found.items():
                if self._told.get(name) != sorted(endpoints):
                    self._on_change(name, endpoints)
                    self._told[name] = sorted(endpoints)

    def end(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_SECONDS):
            with suppress(ServiceError):
                self.look()
