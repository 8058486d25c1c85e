"""Blog, gateway and filters as one thing that is started, watched, broken and ended together."""

import re
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from mlops_helpers.deploy.calls import call, wait_ready
from mlops_helpers.deploy.fleet import Fleet, ServiceStatus
from mlops_helpers.deploy.process import Service
from mlops_helpers.errors import ParameterError, ServiceError
from mlops_helpers.model import artifact as artifacts

__all__ = ["Platform"]

Source = artifacts.Artifact | Path | str

START_SECONDS = 60.0  # a deadline: it takes about one
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")


class Platform:
    """One blog, one gateway, and for each version ``replicas`` filters, as processes of this machine.

    ``versions`` gives each version's artifact, loaded or as a folder; the first gets all comments until
    :meth:`set_weights`. ``durability`` is that of the filters' logs. ``port`` is the blog's, 0: the system chooses.
    ``folder`` keeps databases and logs, also for the next platform there; None: a new one, removed with this object.
    What dies is restarted if ``supervise``. ``by`` says to others who runs it.

    A context; or call :meth:`up` and :meth:`down`. What was forgotten ends with the object, the interpreter or, if
    that is killed, by itself.

    Raises ``ParameterError`` for other values, ``ArtifactError`` when a folder holds no artifact.
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
    ) -> None:
        if not versions:
            raise ParameterError("no version is given; accepted: at least one, such as {'v1': artifact}")
        if durability not in ("ack", "async"):
            raise ParameterError(f"durability is {durability!r}; accepted: ack, async")
        self._initial = {version: _checked(version, source, replicas) for version, source in versions.items()}
        self._replicas, self._durability, self._port = replicas, durability, port
        self._comments_per_minute, self._by = comments_per_minute, by
        self.admin_token, self.moderator_token = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        self._fleet = Fleet(folder, fronts=("blog", "gateway"), supervise=supervise)
        self.folder = self._fleet.folder

    def up(self) -> "Platform":
        """Start everything, once; return when the blog and the gateway say that they are ready.

        Raises ``ServiceError`` when one of them does not get there, with its last words: nothing is left running then.
        """
        self._fleet.open()
        try:
            # What an admin call changed outlives a gateway, but these addresses are those of the last platform.
            (self.folder / "gateway" / "state.json").unlink(missing_ok=True)
            for version, artifact in self._initial.items():
                self._add_filters(version, artifact, self._replicas)
            upstreams = [f"--upstream={one.version}={one.address}" for one in self._fleet]
            self._fleet.add(
                "gateway", ["gateway", *upstreams], self.folder / "gateway", OPSLAB_ADMIN_TOKEN=self.admin_token
            )
            self._fleet.add(
                "blog",
                ["blog", f"--gateway={self.gateway}", f"--comments-per-minute={self._comments_per_minute}"],
                self.folder / "blog",
                port=self._port,
                OPSLAB_MODERATOR_TOKEN=self.moderator_token,
            )
            self._publish(ready=False)
            self._start([*self._fleet])
            self._publish(ready=True)
        except BaseException:
            self.down()
            raise
        return self

    def down(self) -> None:
        """End everything: the blog first, then the gateway, then the filters, each drained; safe twice."""
        self._fleet.end()

    def __enter__(self) -> "Platform":
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
        found: dict[str, list[str]] = {}
        for service in self._fleet:
            if service.version:
                found.setdefault(service.version, []).append(service.address)
        return found

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
        return sorted((self.folder / "filters" / version).glob("*/predictions"), key=lambda path: int(path.parent.name))

    def status(self) -> list[ServiceStatus]:
        """Return what there is to know of each service."""
        return self._fleet.status()

    def add_version(self, version: str, artifact: Source, *, replicas: int = 1) -> None:
        """Start filters of another version; they get comments by :meth:`set_weights` or :meth:`set_shadow`.

        Raises ``ParameterError`` when the version is there already or named strangely, ``ServiceError`` when its
        filters do not get ready; then nothing has changed.
        """
        if version in self.filters:
            raise ParameterError(f"there is a version {version}. Next: another name, or remove_version({version!r})")
        loaded = _checked(version, artifact, replicas)
        try:
            self._start(self._add_filters(version, loaded, replicas))
            self._route("upstreams", self.filters)
        except BaseException:
            self._remove_filters(version)
            raise

    def remove_version(self, version: str) -> None:
        """Let a version's filters answer what they have, and end them; their logs stay.

        Raises ``ParameterError`` for an unknown version, ``ServiceError`` when it still has a weight or shadow copies.
        """
        left = self.filters
        if left.pop(version, None) is None:
            raise ParameterError(f"there is no version {version!r}; there are: {', '.join(left)}")
        self._route("upstreams", left)
        self._remove_filters(version)

    def set_weights(self, weights: Mapping[str, float]) -> None:
        """Share the comments out among versions. Raises ``ServiceError`` when the gateway refuses; it says why."""
        self._route("weights", weights)

    def set_shadow(self, shares: Mapping[str, float]) -> None:
        """Send copies of a share of the comments to versions. Raises ``ServiceError`` as :meth:`set_weights`."""
        self._route("shadow", shares)

    def weights(self) -> dict[str, float]:
        """Return each version's share of the comments, as the gateway has it."""
        return dict(call("GET", self.gateway, "/admin/state", token=self.admin_token)["weights"])

    def kill(self, name: str) -> None:
        """Kill a service's process (SIGKILL), whatever it does; :meth:`wait_ready` waits for the next one."""
        self._fleet[name].kill()

    def pause(self, name: str) -> None:
        """Let a service hang, until :meth:`resume`."""
        self._fleet[name].pause()

    def resume(self, name: str) -> None:
        """Let a paused service go on."""
        self._fleet[name].resume()

    def stop(self, name: str) -> None:
        """End a service; its address refuses connections until :meth:`start`."""
        self._fleet[name].stop()

    def start(self, name: str) -> None:
        """Start a stopped or failed service on its address, return when it is ready. Raises ``ServiceError``."""
        self._start([self._fleet[name]])

    def wait_ready(self, name: str, seconds: float = 60.0) -> None:
        """Return when a service is ready (again). Raises ``ServiceError`` when it is not in time, or not any more."""
        self._fleet[name].wait_ready(seconds)

    def _add_filters(self, version: str, artifact: artifacts.Artifact, replicas: int) -> list[Service]:
        name = ["serve", str(artifact.folder.resolve()), f"--sha256={artifact.sha256}", f"--name={version}"]
        return [
            self._fleet.add(
                f"filter-{version}-{replica}",
                [*name, f"--durability={self._durability}"],
                self.folder / "filters" / version / str(replica),
                version=version,
                OPSLAB_ADMIN_TOKEN=self.admin_token,
            )
            for replica in range(replicas)
        ]

    def _remove_filters(self, version: str) -> None:
        self._fleet.remove([service for service in self._fleet if service.version == version])

    def _start(self, services: Sequence[Service]) -> None:
        """Start services and return when they say by line and by /readyz that they are ready."""
        limit = time.monotonic() + START_SECONDS
        self._fleet.start(services, START_SECONDS)
        for service in services:
            try:
                wait_ready(service.address, max(0.0, limit - time.monotonic()))
            except ServiceError as error:
                raise ServiceError(f"{service.name} is not ready: {error}. Next: read {service.log}") from error

    def _route(self, part: str, value: object) -> None:
        call("PUT", self.gateway, f"/admin/{part}", value, token=self.admin_token)

    def _publish(self, *, ready: bool) -> None:
        self._fleet.publish(
            ready=ready,
            by=self._by,
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
