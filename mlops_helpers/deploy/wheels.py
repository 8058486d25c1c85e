"""The packages that a service imports: a hash-pinned part of requirements.lock, and their wheels in a folder.

With that folder an image is built without any network: on this machine, or on one that has none.
"""

import hashlib
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mlops_helpers.errors import ImageError
from mlops_helpers.workspace import cache, project_root, writable_folder

__all__ = ["SERVICE", "download", "requirements", "verified"]

_IMPORTED = ("httptools", "itsdangerous", "jinja2", "orjson", "prometheus-client", "starlette", "uvicorn", "uvloop")
_NEEDED_BY_THOSE = ("anyio", "click", "h11", "idna", "markupsafe", "typing-extensions")
SERVICE = tuple(sorted(_IMPORTED + _NEEDED_BY_THOSE))
"""What filter, gateway and blog consist of beside this package and Python itself."""

_PIN = re.compile(r"^([a-z0-9-]+)==([^ \\\n]+).*(?:\n    --hash=.*)+", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_PYTHON = "3.11"  # of the base images that the Dockerfile is made for
_LIBC = ("manylinux2014", "manylinux_2_17", "manylinux_2_28")  # what their libc can load
_NEXT = "Next: opslab image wheels"


def requirements(packages: Sequence[str] = SERVICE, lock: Path | None = None) -> str:
    """Return what the lock says of packages, for ``pip install --require-hashes``.

    Raises ``ImageError`` when the lock (default: requirements.lock of the checkout) cannot be read or lacks one.
    """
    path = lock or project_root() / "requirements.lock"
    try:
        pins = [*_PIN.finditer(path.read_text("utf-8"))]
    except OSError as error:
        raise ImageError(f"no lock: {error}. Next: run this in a checkout, or name one") from error
    if missing := {*packages} - {pin[1] for pin in pins}:
        raise ImageError(f"{path} does not pin {', '.join(sorted(missing))}. Next: make lock")
    return "".join(f"{pin[0]}\n" for pin in pins if pin[1] in packages)  # one may be there twice, with markers


def download(folder: Path | None = None, packages: Sequence[str] = SERVICE) -> Path:
    """Return a folder (default: one in the cache) with the wheels of packages, fetched unless they are there.

    They are for Linux and this machine's kind of processor. What else is in the folder stays. Raises ``ImageError``
    when pip cannot get them; nothing is replaced then.
    """
    folder = folder or cache("wheels") / "service"
    with suppress(ImageError):  # an older lock's, incomplete or damaged
        verified(folder, packages)
        return folder
    machine = {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())
    platforms = [f"--platform={libc}_{machine}" for libc in _LIBC]
    folder = writable_folder(folder, "another folder")
    with tempfile.TemporaryDirectory(prefix=".wheels-", dir=folder) as scratch:
        fresh = Path(scratch)
        listed = fresh / "requirements.txt"
        listed.write_text(requirements(packages), "utf-8")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-cache-dir"),
                *("--require-hashes", "--requirement", str(listed), "--dest", str(fresh), "--only-binary=:all:"),
                *(f"--python-version={_PYTHON}", "--implementation=cp", *platforms),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = "\n  ".join((done.stderr or done.stdout).strip().splitlines()[-5:])
            raise ImageError(
                f"pip cannot download what requirements.lock names:\n  {said}\nNext: check network and disk"
            )
        for wheel in verified(fresh, packages):
            wheel.replace(folder / wheel.name)
    verified(folder, packages)
    return folder


def verified(folder: Path, packages: Sequence[str] = SERVICE) -> list[Path]:
    """Return the wheels of packages in a folder.

    Raises ``ImageError`` when some are missing, or one is not what the lock says.
    """
    found, missing = [], {*packages}
    for pin in _PIN.finditer(requirements(packages)):
        stem = f"{pin[1].replace('-', '_')}-{pin[2]}-"
        for wheel in [path for path in sorted(folder.glob("*.whl")) if path.name.lower().startswith(stem)]:
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            if digest not in _HASH.findall(pin[0]):
                raise ImageError(
                    f"{wheel} has the hash {digest}, which requirements.lock does not name. Next: move it away"
                )
            found.append(wheel)
            missing.discard(pin[1])
    if missing:
        raise ImageError(f"{folder} has no wheel of {', '.join(sorted(missing))}. {_NEXT}")
    return found
