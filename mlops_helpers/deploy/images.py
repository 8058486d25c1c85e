"""The image of the services: lean, not root, reproducible, and built without a network.

``images/service.Dockerfile`` says what is in it. It is made of files only: the same files give the same layers, and
what was built of the same files before is not built again. Filter, gateway and blog run from it, on port 8080::

    docker run --read-only --tmpfs /data -v ARTIFACT:/artifact:ro IMAGE
    docker run --read-only -v STATE:/data IMAGE gateway --host 0.0.0.0 --port 8080 --upstream v1=HOST:PORT

``/data`` is the one folder that they write to; the health check asks ``/readyz`` on that port.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import mlops_helpers
from mlops_helpers.deploy import wheels as service_wheels
from mlops_helpers.deploy.base_image import BASE_IMAGE
from mlops_helpers.deploy.docker_engine import engine
from mlops_helpers.deploy.image_build import build, finished, remove_nameless
from mlops_helpers.errors import ImageError
from mlops_helpers.model.provenance import git_commit
from mlops_helpers.workspace import cache, one_at_a_time

if TYPE_CHECKING:
    import docker
    from docker.models.images import Image

__all__ = ["INPUTS", "SERVICE_IMAGE", "ServiceImage", "build_service_image", "sources"]

SERVICE_IMAGE = f"opslab-service:{mlops_helpers.__version__}"
"""The image's name, unless another is given."""
INPUTS = "opslab.image.inputs"
"""The image's label with the hash of all that it was built from."""

_PACKAGE = Path(mlops_helpers.__file__).parent
_RECIPE = Path(__file__).with_suffix("")
_SERVING = (  # the part of this package that serves
    *("__init__.py", "cli.py", "errors.py", "workspace.py", "serve/**/*"),
    *(f"model/{name}.py" for name in ("__init__", "artifact", "linear", "scorer", "sealed")),
)


@dataclass(frozen=True)
class ServiceImage:
    """An image of the services: ``layers`` are the content digests of what it adds to its base, in ``added_bytes``."""

    name: str
    id: str
    layers: tuple[str, ...]
    added_bytes: int


def build_service_image(
    name: str = SERVICE_IMAGE, *, base: str = BASE_IMAGE, wheels: Path | None = None, fresh: bool = False
) -> ServiceImage:
    """Build the image of the services, unless there is one of the same files and not ``fresh``, and name it.

    ``wheels`` is a folder with the packages; None: that of :func:`wheels.download`. They are verified against the lock
    by their hashes, and no step of the build has a network.

    Raises ``RuntimeUnavailable`` when there is no Docker, ``ImageError`` when the base image is missing, wheels are
    missing or not what the lock says, or a step fails. Then, and after an interrupt, no container and no image of the
    build stays behind.
    """
    with engine() as client, one_at_a_time(cache("images") / "build.lock"):
        base_image, before = _found(client, base), _found(client, name)
        if base_image is None:
            raise ImageError(
                f"the base image {base} is not on this machine. Next: opslab image base makes {BASE_IMAGE}; or, where "
                "a registry is reached, docker pull python:3.11-slim and name that one"
            )
        files = _files()
        inputs = _hash(files, base_image.id)
        named = client.images.list(filters={"label": f"{INPUTS}={inputs}"})
        same = [one for one in named if finished(client, one.id)]
        if fresh or not same:
            packages = service_wheels.verified(wheels or service_wheels.download())
            context = files | {f"wheels/{path.name}": path.read_bytes() for path in packages}
            labels = {"INPUTS": inputs, "VERSION": mlops_helpers.__version__, "REVISION": git_commit()}
            build(client, name, context, {"BASE_IMAGE": base, **labels})
        elif before not in same:
            same[0].tag(name)
            remove_nameless(client)
        image = client.images.get(name)
        layers = image.attrs["RootFS"]["Layers"][len(base_image.attrs["RootFS"]["Layers"]) :]
        return ServiceImage(name, image.id, tuple(layers), image.attrs["Size"] - base_image.attrs["Size"])


def _found(client: "docker.DockerClient", name: str) -> "Image | None":
    import docker

    try:
        return client.images.get(name)
    except docker.errors.ImageNotFound:
        return None


def sources() -> dict[str, bytes]:
    """Return the part of this package that serves: the content of its files, by path."""
    found = {path for pattern in _SERVING for path in _PACKAGE.glob(pattern) if "__pycache__" not in path.parts}
    return {str(path.relative_to(_PACKAGE.parent)): path.read_bytes() for path in sorted(found) if path.is_file()}


def _files() -> dict[str, bytes]:
    """Return the files of the build, but for the wheels: these the requirements name by hash."""
    return {
        "Dockerfile": (_RECIPE / "service.Dockerfile").read_bytes(),
        "healthcheck.py": (_RECIPE / "healthcheck.py").read_bytes(),
        "requirements.txt": service_wheels.requirements().encode(),
        **sources(),
    }


def _hash(files: dict[str, bytes], base_id: str) -> str:
    parts = [base_id, *(f"{path} {hashlib.sha256(content).hexdigest()}" for path, content in sorted(files.items()))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
