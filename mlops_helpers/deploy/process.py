"""One service as a plain process: it keeps its address while it is restarted, and never outlives its parent.

The parent holds the listening socket and the child inherits it, so that nobody takes the port meanwhile and connections
made while a killed process is replaced wait instead of being refused. The child's standard input is its lifeline: only
the parent has the other end, so it ends with the parent, however that ended.
"""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mlops_helpers.deploy.exits import exit_reason
from mlops_helpers.deploy.output import Output
from mlops_helpers.errors import ServiceError

__all__ = ["HOST", "Service"]

HOST = "127.0.0.1"
READY = '{"ready": true'  # how the line begins that a service prints once it accepts requests
BACKLOG = 1024  # connections that wait while a process is replaced
STOP_SECONDS = 15.0  # from SIGTERM to SIGKILL; a service drains for less
QUICK_SECONDS = 5.0  # a process that lives less long died quickly
DELAYS = (0.0, 0.1, 0.2, 0.4, 0.8)  # before the restart after each quick death in a row; then it is given up

_log = logging.getLogger(__name__)


def _bound(port: int) -> socket.socket:
    """Return a socket that has the port but does not listen yet: connections are refused, nobody else gets it."""
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((HOST, port))
    except (OSError, OverflowError) as error:
        sock.close()
        raise ServiceError(f"cannot take {HOST}:{port}: {error}. Next: port 0 lets the system choose") from error
    return sock


class Service:
    """A process that is kept running on one address.

    ``command`` is completed by ``--fd`` (the listening socket) and ``--lifeline``. If ``supervise``, a process that has
    been ready and dies unasked is restarted: at once, after quick deaths in a row later each time, in the end no more.

    ``state`` is ``stopped``, ``starting``, ``ready``, ``paused``, ``restarting`` or ``failed`` (``error`` says why);
    ``on_change`` is called after each change, from any thread. ``restarts`` counts since the first start;
    ``exit_reason`` is why the last process ended, as ``explain`` reads its exit code. ``log`` has what is printed.

    Raises ``ServiceError`` when the port is taken (0: the system chooses).
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        port: int = 0,
        environment: Mapping[str, str] | None = None,
        version: str = "",
        supervise: bool = True,
        inherit: Sequence[int] = (),
        on_change: Callable[[], None] = lambda: None,
        explain: Callable[[int], str] = exit_reason,
    ) -> None:
        self.name, self.version, self.log = name, version, log
        self.state, self.error, self.exit_reason, self.restarts = "stopped", "", "", 0
        self._command, self._environment, self._inherit = [*command], {**(environment or {})}, inherit
        self._supervise, self._on_change, self._explain, self._output = supervise, on_change, explain, Output(log)
        self._changed = threading.Condition()  # guards all that changes
        self._wanted = self._was_ready = self._killed = False
        self._child: subprocess.Popen[bytes] | None = None
        self._keeper: threading.Thread | None = None
        self._socket = _bound(port)
        self._port = self._socket.getsockname()[1]

    @property
    def address(self) -> str:
        """Host and port, the same for the whole life."""
        return f"{HOST}:{self._port}"

    @property
    def pid(self) -> int | None:
        """The process that runs now, if one does."""
        return self._child.pid if self._child is not None and self._child.returncode is None else None

    def start(self) -> None:
        """Start the process if it is not wanted already; do not wait for it.

        Raises ``ServiceError`` when the port has been taken since it failed.
        """
        with self._changed:
            if self._wanted:
                return
            if self._socket.fileno() < 0:
                self._socket = _bound(self._port)
            self._socket.listen(BACKLOG)
            self._wanted, self._was_ready, self.error = True, False, ""
            self._become("starting")
            self._keeper = threading.Thread(target=self._keep, name=f"keeper of {self.name}", daemon=True)
            self._keeper.start()
        self._on_change()

    def wait_ready(self, seconds: float) -> None:
        """Return when the process is ready. Raises ``ServiceError`` when it ended first, or was not ready in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.state in {"ready", "paused", "failed", "stopped"}, seconds):
                raise ServiceError(f"{self.name} was not ready within {seconds:.3g} s. {self._output.tail()}")
            if self.state in {"failed", "stopped"}:
                raise ServiceError(self.error or f"{self.name} is stopped. Next: start it")

    def kill(self) -> None:
        """End the process at once (SIGKILL), as a crash would; this death is not counted as one of a crash loop.

        Raises ``ServiceError`` when the service is stopped or has failed; so do :meth:`pause` and :meth:`resume`.
        """
        self._send(signal.SIGKILL, {"starting": "restarting", "ready": "restarting", "paused": "restarting"})

    def pause(self) -> None:
        """Let the process hang (SIGSTOP): connections are accepted by the system, nothing is answered."""
        self._send(signal.SIGSTOP, {"ready": "paused"})

    def resume(self) -> None:
        """Let a paused process go on."""
        self._send(signal.SIGCONT, {"paused": "ready"})

    def _send(self, number: int, becomes: Mapping[str, str]) -> None:
        with self._changed:
            if not self._wanted or self._child is None:
                raise ServiceError(f"{self.name} is {self.state}. Next: start it")
            self._killed = self._killed or number == signal.SIGKILL
            self._child.send_signal(number)  # nothing happens when it has just died
            self._become(becomes.get(self.state, self.state))
        self._on_change()

    def ask_to_stop(self) -> None:
        """Ask the process to drain and end, and do not wait for it; safe twice (a second signal would cut it short)."""
        with self._changed:
            if self._wanted:
                self._wanted = False
                self._socket.close()
                self._changed.notify_all()
                if self._child is not None:
                    self._child.send_signal(signal.SIGTERM)
                    self._child.send_signal(signal.SIGCONT)  # a paused one could not take it

    def stop(self, seconds: float = STOP_SECONDS, *, free_port: bool = False) -> None:
        """End the process, killed when it drains for longer than ``seconds``; safe twice.

        Connections are refused then. Nobody else gets the port before the next start, unless ``free_port``.
        """
        self.ask_to_stop()
        if self._keeper is not None:
            self._keeper.join(seconds)
            if self._keeper.is_alive() and self._child is not None:
                self._child.kill()
            self._keeper.join()
        with self._changed:
            self._socket.close()
            if not free_port:
                self._socket = _bound(self._port)
            self._become("stopped")
        self._on_change()

    def _become(self, state: str) -> None:
        self.state = state
        self._changed.notify_all()

    def _keep(self) -> None:
        """Run the process as long as it is wanted; the keeper thread's whole life."""
        quick, delay = 0, 0.0
        with contextlib.closing(self._output):
            while True:
                with self._changed:
                    if self._changed.wait_for(lambda: not self._wanted, delay):
                        break
                    try:
                        self._child = child = self._spawn()
                    except OSError as error:
                        self._give_up(f"{self.name} cannot be started: {error}.")
                        break
                    self._killed = False
                    self._become("starting")
                began = time.monotonic()
                with child:
                    self._follow(child)
                with self._changed:
                    self.exit_reason = self._explain(child.returncode)
                    if not self._wanted:
                        break
                    quick = 0 if self._killed or time.monotonic() - began > QUICK_SECONDS else quick + 1
                    if why := self._reason_to_give_up(quick):
                        self._give_up(why)
                        break
                    delay = DELAYS[max(0, quick - 1)]
                    self.restarts += 1
                    self._become("restarting")
                self._on_change()
        self._on_change()

    def _spawn(self) -> "subprocess.Popen[bytes]":
        fd = self._socket.fileno()
        return subprocess.Popen(
            [*self._command, "--fd", str(fd), "--lifeline", "0"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self._environment},
            pass_fds=[fd, *self._inherit],
            process_group=0,  # Ctrl-C is for the parent, which ends its services in order
        )

    def _follow(self, child: "subprocess.Popen[bytes]") -> None:
        """Read what the process prints until it has ended."""
        assert child.stdout is not None
        while line := child.stdout.readline(10_000):
            self._output.write(text := line.decode(errors="replace").rstrip())
            if text.startswith(READY):
                with self._changed:
                    if self.state == "starting":  # not if it was killed meanwhile
                        self._was_ready = True
                        self._become("ready")
                self._on_change()

    def _reason_to_give_up(self, quick: int) -> str:
        ended = f"{self.name} ended with {self.exit_reason}"
        if not self._was_ready and not self._killed:
            return f"{ended} before it was ready."
        if not self._supervise:
            return f"{ended} and is not supervised."
        if quick > len(DELAYS):
            return f"{ended}, {quick} times in a row soon after its start."
        _log.info("%s; it is restarted", ended)
        return ""

    def _give_up(self, why: str) -> None:
        self._wanted = False
        self._socket.close()  # refused is better than never answered
        self.error = f"{why} {self._output.tail()}"
        self._become("failed")
        _log.log(logging.ERROR if self._was_ready else logging.INFO, "%s", self.error)  # who starts it, is told
