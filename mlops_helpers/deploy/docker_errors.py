"""Reaching Docker to run services, and what it refuses in the words of this package."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlops_helpers.errors import RuntimeUnavailable, ServiceError

if TYPE_CHECKING:  # a fifth of a second to import
    import docker

__all__ = ["Gone", "OutOfSequence", "PortTaken", "connect", "told"]

_SECONDS = 30  # the daemon answers what is asked here within some of them


class PortTaken(ServiceError):
    """Somebody else listens on the port."""


class Gone(ServiceError):
    """Docker knows nothing of that name, any more or yet."""


class OutOfSequence(ServiceError):
    """A swarm's object was changed since it was read."""


def connect() -> "docker.DockerClient":
    """Return a client of the daemon that ``DOCKER_HOST`` names, else of this machine's.

    Raises ``RuntimeUnavailable`` with the reason and the next command.
    """
    import docker

    where = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    try:
        return docker.from_env(timeout=_SECONDS)
    except docker.errors.DockerException as error:
        said = str(error)
        if "Permission denied" in said:
            why, next_step = "this user may not use it", "sudo usermod -aG docker $USER, and sign in again"
        elif "No such file" in said and "DOCKER_HOST" not in os.environ:
            why = "there is no daemon"
            next_step = "apt-get install docker.io, or export DOCKER_HOST=... (docker context ls shows addresses)"
        else:
            why, next_step = f"nothing answers there ({said})", "sudo systemctl start docker, or correct DOCKER_HOST"
        raise RuntimeUnavailable(
            f"no Docker at {where}: {why}. Accepted: a running daemon; or runtime='process'. Next: {next_step}"
        ) from error


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Tell what Docker refuses while ``doing`` something, or that it went away, as ``ServiceError``."""
    import docker
    from requests.exceptions import RequestException

    try:
        yield
    except docker.errors.APIError as error:
        raise _refusal(doing, error) from error
    except (docker.errors.DockerException, RequestException, OSError) as error:
        next_step = "docker version, until it answers; opslab platform down --all removes what killed programs left"
        raise ServiceError(f"Docker went away while {doing}: {error}. Next: {next_step}") from error


def _refusal(doing: str, error: "docker.errors.APIError") -> ServiceError:
    said = str(error.explanation or error)
    lower = said.lower()
    if "port is already allocated" in lower or "address already in use" in lower:
        return PortTaken(f"{doing}: {said}")
    if "update out of sequence" in lower:
        return OutOfSequence(f"{doing}: {said}")
    if "no such image" in lower:
        return Gone(f"{doing}: {said}. Next: opslab image build, or name an image that docker images shows")
    if error.status_code == 404:
        return Gone(f"{doing}: {said}")
    if "no space left" in lower:
        return ServiceError(
            f"{doing}: the disk is full ({said}). Next: docker system df, then remove what is not needed"
        )
    return ServiceError(f"{doing}: Docker refuses: {said}")
