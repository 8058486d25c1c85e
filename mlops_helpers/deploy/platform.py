"""Blog, gateway and filters as one thing that is started, watched, broken and ended together."""

import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mlops_helpers.deploy.calls import call
from mlops_helpers.deploy.filters import START_SECONDS, Filters
from mlops_helpers.deploy.fleet import Fleet
from mlops_helpers.deploy.runtime import Limits, Replica, ReplicaStatus, Runtime, runtime_class
from mlops_helpers.deploy.undoing import undone_by
from mlops_helpers.errors import ParameterError
from mlops_helpers.model import artifact as artifacts

__all__ = ["Platform"]

Source = artifacts.Artifact | Path | str

_FRONTS = ("blog", "gateway")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")


class Platform:
    """One blog and one gateway, processes of this machine, and for each version ``replicas`` filters on a runtime.

    ``versions`` gives each version's artifact, loaded or as a folder; the first gets all comments until
    :meth:`set_weights`. ``durability`` is that of the filters' logs. ``port`` is the blog's, 0: the system chooses.
    ``folder`` keeps databases and logs, also for the next platform there; None: a new one, removed with this object.
    What dies is restarted if ``supervise``. ``by`` says to others who runs it. ``runtime`` is ``process``, ``docker``
    or ``swarm``, with ``limits`` for each filter; containers are of ``image`` (empty: the one that is built of this
    package). ``environment`` is set for the filters of ``versions``.

    A context; or call :meth:`up` and :meth:`down`. What was forgotten ends with the object, the interpreter or, if
    that is killed, by itself.

    Raises ``ParameterError`` for other values, ``ArtifactError`` when a folder holds no artifact,
    ``RuntimeUnavailable`` when the runtime is not here.
    """

    def __init__(
        self,
        versions: Mapping[str, Source],
        *,
        folder: Path | str | None = None,
        replicas: int = 1,
        durability: str = "ack",
        supervise: bool = True,
        port: int = 0,
        comments_per_minute: int = 30,
        by: str = "a program of your own",
        runtime: str = "process",
        image: str = "",
        limits: Limits | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        if not versions:
            raise ParameterError("no version is given; accepted: at least one, such as {'v1': artifact}")
        if durability not in ("ack", "async"):
            raise ParameterError(f"durability is {durability!r}; accepted: ack, async")
        self._initial = {version: _checked(version, source, replicas) for version, source in versions.items()}
        kind = runtime_class(runtime)
        kind.available()
        self._replicas, self._port, self._environment = replicas, port, environment
        self._comments_per_minute, self._by = comments_per_minute, by
        self.admin_token, self.moderator_token = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        self._fleet = Fleet(folder, fronts=_FRONTS, supervise=supervise)
        self.folder = self._fleet.folder
        settings = {"token": self.admin_token, "durability": durability, "image": image}
        self._filters = Filters(kind, self._fleet, limits=limits or Limits(), **settings)

    def up(self) -> Self:
        """Start everything, once; return when all of it says that it is ready.

        Raises ``ServiceError`` when a part does not get there, with its last words: nothing is left running then.
        """
        self._fleet.open(ready=False, by=self._by)
        with undone_by(self.down):
            # What an admin call changed outlives a gateway, but these addresses are those of the last platform.
            (self.folder / "gateway" / "state.json").unlink(missing_ok=True)
            for version, artifact in self._initial.items():
                self._filters.launch(version, artifact, self._replicas, environment=self._environment)
            upstreams = [f"--upstream={version}={one}" for version, found in self.filters.items() for one in found]
            gateway = self._fleet.add(
                "gateway",
                ["gateway", *upstreams],
                self.folder / "gateway",
                environment={"OPSLAB_ADMIN_TOKEN": self.admin_token},
            )
            blog = self._fleet.add(
                "blog",
                ["blog", f"--gateway={gateway.address}", f"--comments-per-minute={self._comments_per_minute}"],
                self.folder / "blog",
                port=self._port,
                environment={"OPSLAB_MODERATOR_TOKEN": self.moderator_token},
            )
            self._filters.gateway = gateway.address
            self._publish(ready=False)
            for front in (gateway, blog):
                front.start()
            self._filters.wait_ready()
            self._fleet.wait_ready([gateway, blog], START_SECONDS)
            self._publish(ready=True)
        return self

    def down(self) -> None:
        """End everything: the blog first, then the gateway, then the filters, each drained; safe twice."""
        self._fleet.end()
        self.runtime.close()

    def __enter__(self) -> Self:
        return self.up()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.down()

    @property
    def blog(self) -> str:
        """Host and port of the blog."""
        return self._fleet["blog"].address

    @property
    def gateway(self) -> str:
        """Host and port of the gateway."""
        return self._fleet["gateway"].address

    @property
    def filters(self) -> dict[str, list[str]]:
        """Hosts and ports of the filters, by version."""
        return self._filters.addresses

    @property
    def runtime(self) -> Runtime:
        """What the filters run on: its ``logs``, ``stats`` and ``protections``, for the release ``filter-VERSION``."""
        return self._filters.runtime

    @property
    def blog_url(self) -> str:
        """Where readers go."""
        return f"http://{self.blog}/"

    @property
    def moderation_url(self) -> str:
        """Where moderators sign in; whoever has this address is one."""
        return f"http://{self.blog}/login?token={self.moderator_token}"

    def predictions(self, version: str) -> list[Path]:
        """Return the prediction logs of a version, one for each replica there was (see ``serve.records.read``)."""
        return self._filters.predictions(version)

    def status(self) -> list[ReplicaStatus]:
        """Return what there is to know of each service."""
        return [*(one for one in self._fleet.status() if one.name in _FRONTS), *self.runtime.status()]

    def add_version(self, version: str, artifact: Source, *, replicas: int = 1, **own: Any) -> None:
        """Start filters of another version; they get comments by :meth:`set_weights` or :meth:`set_shadow`.

        ``own`` may be ``limits`` and ``image``, instead of the platform's, and ``environment``.

        Raises ``ParameterError`` when the version is there already or named strangely, ``ServiceError`` when its
        filters do not get ready; then nothing has changed.
        """
        self._filters.add(version, _checked(version, artifact, replicas), replicas, **own)

    def remove_version(self, version: str) -> None:
        """Let a version's filters answer what they have, and end them; their logs stay.

        Raises ``ParameterError`` for an unknown version, ``ServiceError`` when it still has a weight or shadow copies.
        """
        self._filters.remove(version)

    def scale(self, version: str, replicas: int) -> None:
        """Have so many filters of a version. Raises ``ServiceError``; there are as many as before then."""
        self._filters.scale(version, replicas)

    def update(self, version: str, artifact: Source | None = None, *, image: str = "") -> None:
        """Replace a version's filters one by one, while the others answer, by some of another artifact or image.

        Raises ``ServiceError`` when one of the new does not get ready; then the old ones are there, as before.
        """
        self._filters.update(version, None if artifact is None else _checked(version, artifact, 1), image)

    def set_weights(self, weights: Mapping[str, float]) -> None:
        """Share the comments out among versions. Raises ``ServiceError`` when the gateway refuses; it says why."""
        self._filters.route("weights", weights)

    def set_shadow(self, shares: Mapping[str, float]) -> None:
        """Send copies of a share of the comments to versions. Raises ``ServiceError`` as :meth:`set_weights`."""
        self._filters.route("shadow", shares)

    def weights(self) -> dict[str, float]:
        """Return each version's share of the comments, as the gateway has it."""
        return dict(call("GET", self.gateway, "/admin/state", token=self.admin_token)["weights"])

    def kill(self, name: str) -> None:
        """Kill a service's process (SIGKILL), whatever it does; :meth:`wait_ready` waits for the next one."""
        self._one(name).kill()

    def pause(self, name: str) -> None:
        """Let a service hang, until :meth:`resume`."""
        self._one(name).pause()

    def resume(self, name: str) -> None:
        """Let a paused service go on."""
        self._one(name).resume()

    def stop(self, name: str) -> None:
        """End a service; its address refuses connections until :meth:`start`."""
        self._one(name).stop()

    def start(self, name: str) -> None:
        """Start a stopped or failed service on its address, return when it is ready. Raises ``ServiceError``."""
        self._one(name).start()
        self.wait_ready(name)

    def wait_ready(self, name: str, seconds: float = START_SECONDS) -> None:
        """Return when a service is ready (again). Raises ``ServiceError`` when it is not in time, or not any more."""
        self._one(name).wait_ready(seconds)

    def _one(self, name: str) -> Replica:
        return self._fleet[name] if name in _FRONTS else self.runtime.replica(name)

    def _publish(self, *, ready: bool) -> None:
        self._fleet.publish(
            ready=ready,
            by=self._by,
            runtime=self.runtime.name,
            blog_url=self.blog_url,
            moderation_url=self.moderation_url,
            gateway=self.gateway,
            admin_token=self.admin_token,
            moderator_token=self.moderator_token,
        )


def _checked(version: str, source: Source, replicas: int) -> artifacts.Artifact:
    if not _VERSION.fullmatch(version):
        raise ParameterError(f"version {version!r}; accepted: up to 32 letters, digits, . _ -, the first no sign")
    if replicas < 1:
        raise ParameterError(f"replicas is {replicas}; accepted: 1 or more")
    return source if isinstance(source, artifacts.Artifact) else artifacts.load(Path(source))
