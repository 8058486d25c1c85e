"""A foreign program that surely ends with this process, also when this one is killed: see the guard beside it."""

import shutil
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from mlops_helpers.errors import ParameterError, ServiceError
from mlops_helpers.observe import guard

__all__ = ["HOST", "Guarded", "Reserved", "program"]

HOST = "127.0.0.1"
OUTPUT_BYTES = 1_000_000
STOP_SECONDS = 10.0  # from SIGTERM to SIGKILL
_LINES = 15
_POLL_SECONDS = 0.02


def program(*names: str, package: str) -> str:
    """Return the path of the first of these programs that is installed (distributions name one differently).

    Raises ``ServiceError`` with the command that installs ``package`` when there is none.
    """
    for name in names:
        if path := shutil.which(name):
            return path
    wanted = " or ".join(names)
    raise ServiceError(f"{wanted} is not on the PATH of this machine. Next: apt-get install {package}")


class Reserved:
    """A port of the loopback address for a program: nobody else is given it until :meth:`free`; 0: the system chooses.

    Raises ``ServiceError`` when somebody has the port.
    """

    def __init__(self, port: int = 0) -> None:
        self._socket = socket.socket()
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((HOST, port))
        except (OSError, OverflowError) as error:
            self._socket.close()
            raise ServiceError(f"cannot take {HOST}:{port}: {error}. Next: port 0 lets the system choose") from error
        self.port = int(self._socket.getsockname()[1])
        self.address = f"{HOST}:{self.port}"
        if sys.platform != "linux":
            self.free()  # only Linux lets a second socket listen there while this one is bound and does not

    def free(self) -> None:
        """Let others have the port; safe twice."""
        self._socket.close()


class Guarded:
    """A program that runs until :meth:`stop`, or until this process is gone.

    It works in the folder ``cwd``. What it prints is in the new file ``output``, and what came before in ``output.1``
    (a megabyte each).

    Raises ``ServiceError`` when the program cannot be started, ``ParameterError`` when one of these files is there.
    """

    def __init__(self, command: Sequence[str], output: Path, *, cwd: Path, stop_seconds: float = STOP_SECONDS) -> None:
        self.name, self.output = Path(command[0]).name, output
        self._stop_seconds = stop_seconds
        settings = [str(output), str(OUTPUT_BYTES), str(stop_seconds)]
        for path in (output, Path(f"{output}.1")):
            if path.exists():  # whose it is, nobody knows
                raise ParameterError(f"output is {path}, which is there; accepted: a new file. Next: another name")
        try:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, *settings, *command],
                stdin=subprocess.PIPE,  # the lifeline: closed by stop(), or by the system when this process ends
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=cwd,
                process_group=0,  # Ctrl-C is for this process, which ends its programs in order
            )
        except OSError as error:
            raise ServiceError(f"{self.name} cannot be started: {error}") from error

    @property
    def running(self) -> bool:
        """Whether the program has not ended."""
        return self._guard.poll() is None

    def wait_ready(self, ready: Callable[[], bool], seconds: float) -> None:
        """Ask ``ready`` again and again, return when it says yes.

        Raises ``ServiceError`` with the program's last words when it ended first or was not ready within ``seconds``.
        """
        limit = time.monotonic() + seconds
        while not ready():
            if not self.running:
                code = self._guard.returncode
                raise ServiceError(f"{self.name} ended with exit code {code} before it was ready. {self.last_words()}")
            if time.monotonic() > limit:
                raise ServiceError(f"{self.name} was not ready within {seconds:g} s. {self.last_words()}")
            time.sleep(_POLL_SECONDS)

    def last_words(self) -> str:
        """Return the last lines that the program printed, under a heading."""
        try:
            with self.output.open(encoding="utf-8", errors="replace") as file:
                lines = [line.rstrip() for line in deque(file, _LINES)]
        except OSError:
            lines = []
        return "\n".join([f"The last lines of {self.name}:", *(lines or ["(none)"])])

    def stop(self) -> None:
        """End the program, killed when it takes its time; return when it is gone. Safe twice."""
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        try:
            self._guard.wait(self._stop_seconds + STOP_SECONDS)
        except subprocess.TimeoutExpired:  # somebody has stopped the guard itself
            self._guard.kill()
            self._guard.wait()
