"""Make the environment of the project: ``python3 .ci/setup.py FOLDER [--dev]``. Needs nothing but Python.

pip brings uv, uv brings everything else: the packages of requirements.lock, which students need, and with ``--dev``
those of requirements-dev.lock on top of them. All are verified by the hashes that stand there. The file
``FOLDER/.ready`` (``.ready-dev``) is written last: an interrupted set-up is taken up again.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

OLDEST = (3, 11)
PROJECT = Path(__file__).resolve().parent.parent
COURSE, DEV = PROJECT / "requirements.lock", PROJECT / "requirements-dev.lock"
SIZES = {COURSE: "1.2 GB", DEV: "0.3 GB"}
LINE_SECONDS = 10  # where no terminal shows progress: a line as often as that


def fail(message: str) -> None:
    """End with one line that says what is missing and which command helps."""
    sys.exit(f"set-up: {message}")


def say(message: str) -> None:
    """Print one line of progress."""
    print(f"set-up: {message}", file=sys.stderr, flush=True)


def check_python() -> None:
    """Refuse a Python that is too old or cannot make virtual environments."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST:
        newer = [name for minor in range(20, 10, -1) for name in [f"python3.{minor}"] if shutil.which(name)]
        remedy = f"make PYTHON={newer[0]} TARGET" if newer else "install it, then: make PYTHON=python3.11 TARGET"
        fail(f"{sys.executable} is Python {version}, needed is 3.11 or newer; next: {remedy}")
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        fail(f"Python {version} has no module {error.name}; next: apt-get install {package} (or your system's equal)")


def run(*command: str, **settings: object) -> bool:
    """Run a command; whether it exited with 0."""
    return subprocess.run(command, cwd=PROJECT, check=False, **settings).returncode == 0  # type: ignore[call-overload]


def uv_requirement(folder: Path) -> Path:
    """Write what the lock says of uv to a file of its own, so that uv is verified by hash like all the others."""
    pinned = re.search(r"^uv==.*(?:\n    --hash=.*)+", COURSE.read_text(encoding="utf-8"), re.MULTILINE)
    if not pinned:
        fail("requirements.lock does not name uv; next: make lock on a machine that has uv")
    path = folder / "uv.requirement"
    path.write_text(pinned.group(0) + "\n", encoding="utf-8")  # type: ignore[union-attr]
    return path


def index_of_pip(python: Path) -> dict[str, str]:
    """Return uv's setting for the index that pip is told to use, if it is: a mirror in a classroom or a company."""
    asked = [str(python), "-m", "pip", "config", "get", "global.index-url"]
    configured = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    index = os.environ.get("PIP_INDEX_URL") or configured
    return {"UV_DEFAULT_INDEX": index} if index and "UV_DEFAULT_INDEX" not in os.environ else {}


def install(python: Path, *arguments: str) -> None:
    """Install with uv and show how far it is: in place on a terminal, else by a line now and then."""
    # without bytecode every import pays again; certificates are the system's, as for every other program
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "UV_SYSTEM_CERTS": "1", **index_of_pip(python)}
    command = [str(python), "-m", "uv", "--no-progress", "pip", "install", "--python", str(python), *arguments]
    terminal, log = sys.stderr.isatty(), python.parent.parent / "setup.log"
    start = shown = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=output, stderr=output)
    while process.poll() is None:
        time.sleep(0.25)
        now = time.monotonic()
        if terminal or now - shown >= LINE_SECONDS:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines() or ["starting"]
            doing = "making bytecode" if lines[-1].startswith("Installed") else lines[-1].strip()
            line = f"set-up: {now - start:.0f} s, {doing}"
            print(f"\r{line:<79.79}" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)
            shown = now
    if terminal:
        print(f"\r{'':79}\r", end="", file=sys.stderr, flush=True)
    if process.returncode:
        print(log.read_text(encoding="utf-8", errors="replace"), file=sys.stderr)
        fail("uv could not install (it says why above); next: check network, mirror and disk, then make again")


def main(folder: str = ".venv", *options: str) -> None:
    """Set up the environment in ``folder`` and mark it as ready."""
    check_python()
    target = PROJECT / folder
    python = target / "bin" / "python"
    if not python.exists() or not run(str(python), "-c", "import pip", stderr=subprocess.DEVNULL):
        say(f"making {target} with Python {sys.version.split()[0]}")
        if not run(sys.executable, "-m", "venv", "--clear", str(target), stdout=subprocess.DEVNULL):
            fail(f"no virtual environment could be made in {target}; next: apt-get install python3-venv, or free space")
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--require-hashes"]
    if not run(*pip, "--requirement", str(uv_requirement(target))):
        fail("pip could not install uv (it says why above); next: check network and mirror, then make again")
    lock = DEV if "--dev" in options else COURSE
    say(f"installing the packages of {lock.name} ({SIZES[lock]})")
    install(python, "--compile-bytecode", "--require-hashes", "--requirement", str(lock))
    if lock == COURSE:
        install(python, "--no-deps", "--no-build-isolation", "--editable", str(PROJECT))
    (target / (".ready-dev" if lock == DEV else ".ready")).write_text("made by .ci/setup.py\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
