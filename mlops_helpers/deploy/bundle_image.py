"""A bundle's code as an image: the service's image with the team's text utility and its packages on top."""

import hashlib
from typing import TYPE_CHECKING

from mlops_helpers.deploy.docker_engine import engine
from mlops_helpers.deploy.image_build import build
from mlops_helpers.deploy.images import INPUTS, SERVICE_IMAGE, build_service_image

if TYPE_CHECKING:
    from mlops_helpers.deploy.bundle import Bundle

__all__ = ["RELEASE_IMAGE", "build_bundle_image", "remove_bundle_images"]

RELEASE_IMAGE = "opslab-release"
"""The name of these images; the tag says what is in them."""

# The inputs are named anew: those of the service's image would make this one look like it.
_RECIPE = f"""\
FROM {SERVICE_IMAGE}
LABEL opslab.image.build=by-hand
COPY app/ /opt/release/
ENV PYTHONPATH=/opt/release:/opt/opslab
LABEL opslab.image.build=finished {INPUTS}=TAG
"""


def build_bundle_image(bundle: "Bundle") -> str:
    """Return the name of the image of a bundle's code, built unless it is there. The model is no part of it.

    Raises ``RuntimeUnavailable`` when there is no Docker, ``ImageError`` when it cannot be built.
    """
    import docker

    app = bundle.folder / "app"
    files = {
        f"app/{path.relative_to(app).as_posix()}": path.read_bytes()
        for path in sorted(app.rglob("*"))
        if path.is_file()
    }
    parts = [build_service_image().id, *(f"{name} {hashlib.sha256(data).hexdigest()}" for name, data in files.items())]
    tag = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    name = f"{RELEASE_IMAGE}:{tag}"
    with engine() as client:
        try:
            client.images.get(name)
        except docker.errors.ImageNotFound:
            build(client, name, {"Dockerfile": _RECIPE.replace("TAG", tag).encode(), **files}, {})
    return name


def remove_bundle_images() -> None:
    """Remove all images of bundles that no container is made of."""
    import docker

    with engine() as client:
        for image in client.images.list(RELEASE_IMAGE):
            try:
                client.images.remove(image.tags[0])
            except docker.errors.APIError as error:
                if error.status_code != 409:  # in use
                    raise
