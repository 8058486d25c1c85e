"""The versions of the filter behind one gateway: releases on a runtime, and what the gateway is told of them."""

import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlops_helpers.deploy.calls import call
from mlops_helpers.deploy.fleet import Fleet
from mlops_helpers.deploy.runtime import EndpointsChanged, Limits, Release, Runtime
from mlops_helpers.deploy.undoing import undone_by
from mlops_helpers.errors import ParameterError
from mlops_helpers.model.artifact import Artifact

__all__ = ["Filters"]

START_SECONDS = 60.0  # a deadline: it takes about one


class Filters:
    """Filters by version, on a runtime of that class; ``gateway`` is to be set before they are changed.

    ``image`` is what containers are made of; empty: the one that is built of this package.
    """

    def __init__(
        self, kind: type[Runtime], fleet: Fleet, *, token: str, durability: str, image: str, limits: Limits
    ) -> None:
        self.runtime = kind(fleet=fleet, on_change=_unless_gone(self))
        self.gateway = ""
        self._folder, self._token, self._image = fleet.folder / "filters", token, image
        self._durability, self._limits = durability, limits
        self._releases: dict[str, Release] = {}
        self._routed: dict[str, list[str]] = {}
        self._routing = threading.RLock()

    @property
    def addresses(self) -> dict[str, list[str]]:
        """Hosts and ports by version, as the gateway has them."""
        return {version: [*found] for version, found in self._routed.items()}

    def launch(self, version: str, artifact: Artifact, replicas: int, **own: Any) -> None:
        """Start filters that the gateway will know from its start. Raises ``ServiceError``."""
        release = self._release(version, artifact, replicas, **own)
        self.runtime.launch(release)
        self._keep(release)

    def wait_ready(self) -> None:
        """Return when all filters answer. Raises ``ServiceError``."""
        limit = time.monotonic() + START_SECONDS
        for release in self._releases.values():
            self.runtime.wait_ready(release.name, max(0.0, limit - time.monotonic()))

    def add(self, version: str, artifact: Artifact, replicas: int, **own: Any) -> None:
        """Start filters of another version and tell the gateway. Raises ``ServiceError``; nothing has changed then.

        ``own`` may give it ``environment``, ``image`` and ``limits`` of its own.
        """
        release = self._release(version, artifact, replicas, **own)
        self.runtime.deploy(release, deadline=START_SECONDS)
        with undone_by(lambda: self._forget(version)):
            self._keep(release)
            self.route("upstreams", self.addresses)

    def remove(self, version: str) -> None:
        """Have the gateway forget a version, and end its filters. Raises ``ServiceError`` when the gateway refuses."""
        self._known(version)
        self.route("upstreams", {name: found for name, found in self._routed.items() if name != version})
        self._forget(version)

    def scale(self, version: str, replicas: int) -> None:
        """Have so many filters of a version. Raises ``ServiceError``; there are as many as before then."""
        self.runtime.scale(self._known(version).name, replicas, deadline=START_SECONDS)

    def update(self, version: str, artifact: Artifact | None, image: str) -> None:
        """Replace filters one by one by others of that artifact and image. Raises ``ServiceError`` as above."""
        before = self._known(version)
        release = replace(before, artifact=artifact or before.artifact, image=image or before.image)
        self.runtime.update(release, deadline=START_SECONDS)
        self._releases[version] = release

    def route(self, part: str, value: object) -> None:
        """Tell the gateway. Raises ``ServiceError`` when it refuses, saying why."""
        call("PUT", self.gateway, f"/admin/{part}", value, token=self._token)

    def _release(
        self,
        version: str,
        artifact: Artifact,
        replicas: int,
        *,
        environment: Mapping[str, str] | None = None,
        image: str = "",
        limits: Limits | None = None,
    ) -> Release:
        if version in self._releases:
            raise ParameterError(f"there is a version {version}. Next: another name, or remove_version({version!r})")
        if not (image or self._image) and self.runtime.name != "process":
            from mlops_helpers.deploy.images import build_service_image

            self._image = build_service_image().name
        return Release(
            f"filter-{version}",
            version,
            artifact,
            image=image or self._image,
            replicas=replicas,
            limits=limits or self._limits,
            durability=self._durability,
            folder=self._folder / version,
            environment={**(environment or {}), "OPSLAB_ADMIN_TOKEN": self._token},
        )

    def _known(self, version: str) -> Release:
        if version not in self._releases:
            raise ParameterError(f"there is no version {version!r}; there are: {', '.join(self._releases)}")
        return self._releases[version]

    def _keep(self, release: Release) -> None:
        with self._routing:  # what changes meanwhile is told afterwards
            self._releases[release.version] = release
            self._routed[release.version] = self.runtime.endpoints(release.name)

    def _forget(self, version: str) -> None:
        with self._routing:
            release = self._releases.pop(version)
            self._routed.pop(version, None)
        self.runtime.stop(release.name)

    def changed(self, name: str, endpoints: Sequence[str]) -> None:
        """Tell the gateway where a release is now; one that is nowhere keeps its last addresses, for a last resort."""
        with self._routing:
            for version, release in self._releases.items():
                if release.name == name and endpoints and self.gateway:
                    self.route("upstreams", self.addresses | {version: [*endpoints]})
                    self._routed[version] = [*endpoints]

    def predictions(self, version: str) -> list[Path]:
        """Return the prediction logs of a version, those of the first replicas first."""

        def order(path: Path) -> tuple[int, str]:
            replica = path.relative_to(self._folder / version).parts[0]
            return len(replica), replica  # numbers in their order

        return sorted((self._folder / version).rglob("predictions"), key=order)


def _unless_gone(filters: Filters) -> EndpointsChanged:
    """Return a function that tells of a change without keeping the filters from ending with their owner."""
    found = weakref.ref(filters)

    def changed(name: str, endpoints: Sequence[str]) -> None:
        one = found()
        if one is not None:
            one.changed(name, endpoints)

    return changed
