"""A base image without a registry: a small Debian with Python, made by debootstrap in about a minute.

It stands in for python:3.11-slim where Debian's mirrors are reached but no registry is: in a classroom, in some CI.
It is kept as an image and as a tarball in the cache; the tarball carries it to machines that reach nothing at all.
"""

import os
import shutil
import ssl
import subprocess
import tarfile
import tempfile
from pathlib import Path

from mlops_helpers.deploy.docker_engine import engine
from mlops_helpers.errors import ImageError
from mlops_helpers.workspace import atomic_file, cache

__all__ = ["BASE_IMAGE", "base_image", "base_tarball"]

BASE_IMAGE = "opslab-base:bookworm"
"""What :func:`base_image` makes."""

_PACKAGES = "python3,python3-venv,ca-certificates"
_MIRROR = "http://deb.debian.org/debian"  # packages are signed: a mirror on the way may cache them
_CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
_LEFT_OUT = ("dev", "tmp", "var/cache", "var/lib/apt/lists", "var/log", "usr/share/man", "usr/share/locale")
_TAIL = 8  # lines of debootstrap's output that an error shows


def base_image(tarball: Path | None = None) -> str:
    """Return the id of the base image on this machine, made of a tarball (default: :func:`base_tarball`) if missing.

    Raises ``RuntimeUnavailable`` when there is no Docker, ``ImageError`` when the tarball cannot be read or made.
    """
    import docker

    with engine() as client:
        try:
            return str(client.images.get(BASE_IMAGE).id)
        except docker.errors.ImageNotFound:
            path, (name, tag) = tarball or base_tarball(), BASE_IMAGE.split(":")
        try:
            stream = path.open("rb")
        except OSError as error:
            raise ImageError(f"no base image's tarball: {error}. Next: opslab image base makes one") from error
        with stream:
            client.api.import_image(stream, name, tag, changes=['CMD ["python3"]'])
        return str(client.images.get(BASE_IMAGE).id)


def base_tarball() -> Path:
    """Return the tarball of the base image in the cache, made if missing; that takes root and Debian's mirrors.

    The certificates that this machine trusts are trusted in it, too: the way out may lead through a proxy of its own.

    Raises ``ImageError`` when it cannot be made; nothing is left behind then.
    """
    path = cache("images") / "opslab-base-bookworm.tar.gz"
    if not path.exists():
        if os.geteuid() != 0 or not shutil.which("debootstrap"):
            raise ImageError(
                "the base image is made by root with debootstrap. Next: apt-get install debootstrap, then as root: "
                f"opslab image base; or copy {path.name} of another machine to {path.parent}"
            )
        with tempfile.TemporaryDirectory(prefix="base-", dir=path.parent) as scratch:
            root = Path(scratch) / "root"
            _bootstrap(root)
            with atomic_file(path) as fresh, tarfile.open(fresh, "w:gz", compresslevel=1) as tar:
                tar.add(root, ".", filter=_kept)
    return path


def _bootstrap(root: Path) -> None:
    # A mount namespace of its own: what debootstrap mounts vanishes with it, however it ends, before root is deleted.
    isolated = ("unshare", "--mount", "--fork", "--kill-child")
    debootstrap = ("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", str(root), _MIRROR)
    done = subprocess.run(
        [*isolated, *debootstrap], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        said = "\n  ".join(done.stdout.strip().splitlines()[-_TAIL:])
        raise ImageError(f"debootstrap failed:\n  {said}\nNext: see that {_MIRROR} is reached and the disk has 400 MB")
    trusted = ssl.get_default_verify_paths().cafile
    if trusted:
        shutil.copyfile(trusted, root / _CERTIFICATES)


def _kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out what is below the folders that an image does not need, not the folders themselves."""
    inside = member.name.removeprefix("./")
    documentation = inside.startswith("usr/share/doc/") and member.isfile() and not inside.endswith("/copyright")
    return None if documentation or any(inside.startswith(f"{part}/") for part in _LEFT_OUT) else member
