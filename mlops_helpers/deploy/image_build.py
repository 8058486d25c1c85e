"""One build with the Docker SDK: from files to an image with a name, or to an error and nothing left behind.

Whatever a build makes on its way carries a label that says who builds. By it the rest is found and removed: in the end,
or by the next build when this one was killed.
"""

import io
import tarfile
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from mlops_helpers.deploy.ownership import owner, owner_lives
from mlops_helpers.errors import ImageError

if TYPE_CHECKING:
    import docker

__all__ = ["BUILD", "build", "finished", "remove_nameless"]

BUILD = "opslab.image.build"
"""The label that each stage of a Dockerfile sets first of all (``by-hand``), and the last in the end (``finished``)."""
_TAIL = 12  # lines of a failing step that an error shows
_GONE_SECONDS = 30.0  # for the daemon to end what an interrupted build was doing
_QUIET_SECONDS = 2.0  # it finishes a step before it notices, and tells nobody
_POLL_SECONDS = 0.05


def build(
    client: "docker.DockerClient",
    name: str,
    files: Mapping[str, bytes],
    arguments: Mapping[str, str],
) -> list[str]:
    """Build an image of files (path in the context -> content, ``Dockerfile`` among them); return what that said.

    No step has a network: what is built depends on the files and the base image alone.

    Raises ``ImageError`` with the failing step and what it said last.
    """
    recipe = files["Dockerfile"].replace(f"{BUILD}=by-hand".encode(), f"{BUILD}={owner()}".encode())
    said: list[str] = []
    with _leaving_nothing(client):
        for message in client.api.build(
            fileobj=_context({**files, "Dockerfile": recipe}),
            custom_context=True,
            tag=name,
            buildargs=dict(arguments),
            network_mode="none",
            nocache=True,
            forcerm=True,
            decode=True,
        ):
            said += message.get("stream", "").splitlines()
            if "error" in message:
                raise ImageError(_failure(said, message["error"]))
    return said


def _context(files: Mapping[str, bytes]) -> io.BytesIO:
    """Return a tar of files that says nothing of when and by whom they were made."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for path, content in sorted(files.items()):
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))
    stream.seek(0)
    return stream


def _failure(said: list[str], error: str) -> str:
    """Return the failing step, the last lines that it printed and the daemon's error."""
    starts = [number for number, line in enumerate(said) if line.startswith("Step ")]
    step, *printed = said[starts[-1] :] if starts else ["the build did not begin"]
    shown = [line for line in printed if line.strip()][-_TAIL:]
    return "\n  ".join(["the image cannot be built:", step, *shown, error.strip()])


@contextmanager
def _leaving_nothing(client: "docker.DockerClient") -> Iterator[None]:
    """Remove in the end what was made on the way, also by builds that were killed."""
    try:
        yield
    except ImageError:
        raise  # the daemon said so: it has ended
    except BaseException as error:
        # The connection lives in frames that the error keeps: cleared, it is closed, and the daemon stops building.
        traceback.clear_frames(error.__traceback__)
        began = since = time.monotonic()
        while time.monotonic() - since < _QUIET_SECONDS and time.monotonic() - began < _GONE_SECONDS:
            if client.api.containers(all=True, filters={"label": f"{BUILD}={owner()}"}) or remove_nameless(client):
                since = time.monotonic()
            time.sleep(_POLL_SECONDS)
        raise
    finally:
        remove_nameless(client)


def finished(client: "docker.DockerClient", image: str) -> bool:
    """Say whether a build ended with this image: what somebody makes of such an image inherits its labels."""
    return f"{BUILD}=finished" in client.api.history(image)[0]["CreatedBy"]


def remove_nameless(client: "docker.DockerClient") -> bool:
    """Remove images of builds that have no name (any more), unless somebody builds or uses them; were there any?"""
    import docker

    removed = False
    for image in client.api.images(filters={"label": BUILD, "dangling": True}):
        builder = image["Labels"][BUILD]
        with suppress(docker.errors.APIError):  # a container is made of it, or it has just been removed
            if (
                builder == owner()
                or not owner_lives(builder)
                or (builder == "finished" and finished(client, image["Id"]))
            ):
                client.api.remove_image(image["Id"])
                removed = True
    return removed
