"""Releases as processes of this machine: the embedded runtime, everywhere there."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlops_helpers.deploy.limits import Confinement, process_protections
from mlops_helpers.deploy.output import last_lines
from mlops_helpers.deploy.process import Service
from mlops_helpers.deploy.release import Limits, Protection, Release, ReplicaStatus, Usage
from mlops_helpers.deploy.rolling import RollingRuntime

__all__ = ["ProcessRuntime"]


class ProcessRuntime(RollingRuntime):
    """Each replica is a :class:`Service`: restarted on its address when it dies, and ended with its maker.

    Raises ``WorkspaceError`` when the folder cannot be written.
    """

    name = "process"

    def __init__(self, folder: Path | str | None = None, **options: Any) -> None:
        super().__init__(folder, **options)
        self._confined: dict[str, Confinement] = {}

    def _begin(self, release: Release, name: str, number: int) -> None:
        confined = self._confined[name] = Confinement(name, release.limits, self.folder / f"{name}.log")
        self._fleet.afterwards.append(confined.remove)
        try:
            self._fleet.add(
                name,
                release.arguments(str(release.artifact.folder.resolve())),
                (release.folder or self.folder / release.name) / str(number),
                version=release.version,
                prefix=confined.prefix,
                explain=confined.explain,
                environment=release.environment,
            ).start()
        except BaseException:
            self._fleet.remove([one for one in self._fleet if one.name == name])
            self._free(name)
            raise

    def _await(self, name: str, seconds: float) -> None:
        self._fleet.wait_ready([self._fleet[name]], seconds)

    def _end(self, names: Sequence[str]) -> None:
        self._fleet.remove([self._fleet[name] for name in names])
        for name in names:
            self._free(name)

    def _free(self, name: str) -> None:
        confined = self._confined.pop(name)
        confined.remove()
        self._fleet.afterwards.remove(confined.remove)

    def _names(self, name: str) -> list[str]:
        rollouts = [self._rollout(name)] if name else self._rollouts.values()
        return [one for rollout in rollouts for one in rollout.replicas]

    def status(self, name: str = "") -> list[ReplicaStatus]:
        """Return what there is to know of each replica."""
        names = self._names(name)
        return [one for one in self._fleet.status() if one.name in names]

    def logs(self, name: str, lines: int = 50) -> list[str]:
        """Return the last lines that each replica printed."""
        return [f"{one} | {line}" for one in self._names(name) for line in last_lines(self._fleet[one].log, lines)]

    def stats(self, name: str) -> list[Usage]:
        """Return what each running replica uses."""
        import psutil

        found = []
        for one in [one for one in self.status(name) if one.pid]:
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(one.pid)
                times = process.cpu_times()
                memory = process.memory_info().rss
                found.append(Usage(one.name, memory, times.user + times.system, process.num_threads()))
        return found

    def protections(self, limits: Limits) -> list[Protection]:
        """Return what a process with these limits is kept from on this machine, and what it is not."""
        return process_protections(limits)

    def replica(self, name: str) -> Service:
        """Return a replica by its name."""
        return self._fleet[name]
