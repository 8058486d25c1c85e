"""Runtimes that have no orchestrator: here is how replicas are added, replaced one by one, and rolled back."""

import time
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mlops_helpers.deploy.runtime import DEADLINE, Release, Runtime
from mlops_helpers.deploy.undoing import undone_by
from mlops_helpers.errors import ParameterError, ServiceError

__all__ = ["RollingRuntime"]


@dataclass
class _Rollout:
    """A release as it runs: the names of its replicas, and the number that the next one gets."""

    release: Release
    replicas: list[str] = field(default_factory=list)
    number: int = 0


class RollingRuntime(Runtime):
    """A runtime that knows how to begin, await and end one replica; the rest is here."""

    def __init__(self, folder: Path | str | None = None, **options: Any) -> None:
        super().__init__(folder, **options)
        self._rollouts: dict[str, _Rollout] = {}

    @abstractmethod
    def _begin(self, release: Release, name: str, number: int) -> None:
        """Start a replica, with an address that others can be told. When it fails, nothing of it is left."""

    @abstractmethod
    def _await(self, name: str, seconds: float) -> None:
        """Return when a replica that was begun is ready; from now on it is replaced when it dies."""

    @abstractmethod
    def _end(self, names: Sequence[str]) -> None:
        """End replicas at the same time, drained, and remove them."""

    def launch(self, release: Release) -> None:
        """Start a release; see :meth:`Runtime.launch`."""
        if release.name in self._rollouts:
            raise ParameterError(f"there is a release {release.name}. Next: update it, or stop({release.name!r})")
        self._rollouts[release.name] = rollout = _Rollout(release)
        with undone_by(lambda: self.stop(release.name)):
            for _ in range(release.replicas):
                self._add(rollout, release)

    def wait_ready(self, name: str, seconds: float = DEADLINE) -> None:
        """Return when all replicas answer; see :meth:`Runtime.wait_ready`."""
        limit = time.monotonic() + seconds
        for replica in self._rollout(name).replicas:
            self._await(replica, max(0.0, limit - time.monotonic()))

    def scale(self, name: str, replicas: int, *, deadline: float = DEADLINE) -> None:
        """Have so many replicas; see :meth:`Runtime.scale`."""
        rollout = self._rollout(name)
        release = replace(rollout.release, replicas=replicas)
        before, limit = len(rollout.replicas), time.monotonic() + deadline
        with undone_by(lambda: self._retire(rollout, rollout.replicas[before:])):
            added = [self._add(rollout, release) for _ in range(before, replicas)]
            for replica in added:
                self._await(replica, max(0.0, limit - time.monotonic()))
        self.on_change(name, self.endpoints(name))
        self._retire(rollout, rollout.replicas[replicas:])
        rollout.release = release

    def update(self, release: Release, *, deadline: float = DEADLINE) -> None:
        """Replace replicas one by one; see :meth:`Runtime.update`."""
        rollout = self._rollout(release.name)
        before, limit = [*rollout.replicas], time.monotonic() + deadline
        try:
            with undone_by(lambda: self._roll_back(rollout, before)):
                for old in before:
                    self._await(self._add(rollout, release), max(0.0, limit - time.monotonic()))
                    self._retire(rollout, [old])
        except ServiceError as error:
            raise ServiceError(f"{release.name} was rolled back to {rollout.release.version}: {error}") from error
        rollout.release = replace(release, replicas=len(before))

    def _roll_back(self, rollout: _Rollout, before: Sequence[str]) -> None:
        new = [name for name in rollout.replicas if name not in before]
        again = [self._add(rollout, rollout.release) for name in before if name not in rollout.replicas]
        for replica in again:
            self._await(replica, DEADLINE)
        self._retire(rollout, new)

    def stop(self, name: str) -> None:
        """End a release; see :meth:`Runtime.stop`."""
        rollout = self._rollout(name)
        self._retire(rollout, rollout.replicas)
        del self._rollouts[name]

    def _rollout(self, name: str) -> _Rollout:
        if name not in self._rollouts:
            raise ParameterError(f"there is no release {name!r}; there are: {', '.join(self._rollouts) or 'none'}")
        return self._rollouts[name]

    def _add(self, rollout: _Rollout, release: Release) -> str:
        name = f"{release.name}-{rollout.number}"
        self._begin(release, name, rollout.number)
        rollout.number += 1
        rollout.replicas.append(name)
        return name

    def _retire(self, rollout: _Rollout, names: Sequence[str]) -> None:
        gone = [*names]
        if not gone:
            return
        addresses = {one.name: one.address for one in self.status(rollout.release.name)}
        rest = [name for name in rollout.replicas if name not in gone]
        there = [addresses[name] for name in rest if name in addresses]  # one may have been removed by hand
        self.on_change(rollout.release.name, there)
        self._end(gone)
        rollout.replicas[:] = rest
