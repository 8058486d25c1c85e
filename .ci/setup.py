"""Make the environment of the project: ``python3 .ci/setup.py [FOLDER]``. Needs nothing but Python.

Everything is installed from requirements.lock, by hash. uv does it when it can be had, since it is several times
faster than pip; pip otherwise. ``FOLDER/.ready`` is written last: an interrupted set-up is taken up again.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
PROJECT = Path(__file__).resolve().parent.parent
LOCK = PROJECT / "requirements.lock"


def fail(message: str) -> None:
    """End with one line that says what is missing and which command mends it."""
    sys.exit(f"set-up: {message}")


def check_python() -> None:
    """Refuse a Python that is too old or cannot make virtual environments."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST:
        newer = [name for minor in range(20, 10, -1) for name in [f"python3.{minor}"] if shutil.which(name)]
        remedy = f"make PYTHON={newer[0]} TARGET" if newer else "install it, then: make PYTHON=python3.11 TARGET"
        fail(f"{sys.executable} is Python {found}, needed is 3.11 or newer; next: {remedy}")
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        fail(f"Python {found} has no module {error.name}; next: apt-get install {package} (or your system's equal)")


def run(*command: str, **settings: object) -> bool:
    """Run a command; whether it exited with 0."""
    return subprocess.run(command, cwd=PROJECT, check=False, **settings).returncode == 0  # type: ignore[call-overload]


def uv_requirement(folder: Path) -> Path:
    """Write what the lock says of uv to a file of its own, so that uv is verified by hash like all the others."""
    found = re.search(r"^uv==.*(?:\n    --hash=.*)+", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    if not found:
        fail("requirements.lock does not name uv; next: make lock on a machine that has uv")
    path = folder / "uv.requirement"
    path.write_text(found.group(0) + "\n", encoding="utf-8")  # type: ignore[union-attr]
    return path


def install(python: Path) -> None:
    """Install the locked packages and the project itself into the environment of ``python``."""
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    # without bytecode every import pays again; certificates are the system's, as for every other program
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    uv = str(uv_requirement(python.parent.parent))
    print("set-up: installing the packages of requirements.lock (about 1.3 GB)", file=sys.stderr, flush=True)
    fast = run(*pip, "install", "--quiet", "--require-hashes", "--requirement", uv, **quiet) and run(
        str(python), "-m", "uv", "pip", "install", "--quiet", "--python", str(python),
        "--compile-bytecode", "--require-hashes", "--requirement", str(LOCK), **quiet,
    )  # fmt: skip
    if not fast:
        print(
            "set-up: uv cannot install here, pip takes over and needs some minutes",
            file=sys.stderr,
            flush=True,
        )
        if not run(*pip, "install", "--quiet", "--require-hashes", "--requirement", str(LOCK), env=environment):
            fail("the packages could not be installed (pip says why above); next: check the network, then make again")
    if not run(
        *pip,
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--editable",
        str(PROJECT),
        env=environment,
    ):
        fail("the project itself could not be installed (pip says why above)")


def quiet_lab(target: Path) -> None:
    """Let JupyterLab neither ask for news nor look for updates: nothing that is done here is told to others."""
    settings = target / "share" / "jupyter" / "lab" / "settings"
    settings.mkdir(parents=True, exist_ok=True)
    news = {"@jupyterlab/apputils-extension:notification": {"checkForUpdates": False, "fetchNews": "false"}}
    (settings / "overrides.json").write_text(json.dumps(news) + "\n", encoding="utf-8")


def main(folder: str = ".venv") -> None:
    """Set up the environment in ``folder`` and mark it as ready."""
    check_python()
    target = PROJECT / folder
    python = target / "bin" / "python"
    if not python.exists() or not run(str(python), "-c", "import pip", stderr=subprocess.DEVNULL):
        print(f"set-up: making {target}", file=sys.stderr, flush=True)
        if not run(sys.executable, "-m", "venv", "--clear", str(target), stdout=subprocess.DEVNULL):
            fail(f"no virtual environment could be made in {target}; next: apt-get install python3-venv, or free space")
    install(python)
    quiet_lab(target)
    (target / ".ready").write_text("made by .ci/setup.py\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
