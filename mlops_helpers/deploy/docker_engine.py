"""Docker for making images: it may be silent for long, and what it refuses is an error about an image."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from mlops_helpers.deploy.docker_errors import connect
from mlops_helpers.errors import ImageError

if TYPE_CHECKING:  # a fifth of a second to import
    import docker

__all__ = ["engine"]

_SECONDS = 600  # within a step of a build, or the import of a base image, nothing is said


@contextmanager
def engine() -> "Iterator[docker.DockerClient]":
    """Yield a client of the daemon that the environment names.

    Raises ``RuntimeUnavailable`` when there is none, ``ImageError`` when it refuses something or goes away meanwhile.
    """
    with closing(connect()) as client:
        import docker
        from requests.exceptions import RequestException
        from urllib3.exceptions import HTTPError

        client.api.timeout = _SECONDS
        try:
            yield client
        except docker.errors.APIError as error:
            raise ImageError(f"Docker refuses: {error.explanation or error}") from error
        except (RequestException, HTTPError) as error:
            raise ImageError(f"Docker went away: {error}. Next: docker version, until it answers") from error
