"""The runner's end of the conversation with a kernel server."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlops_helpers.teach.imports import Import
from mlops_helpers.teach.leftovers import end_leftovers

__all__ = ["STOP_LIMIT", "KernelLink", "KernelProcess"]

STOP_LIMIT = 10.0  # seconds for everything to end
START_LIMIT = 30.0  # seconds for the server to start one process


class KernelProcess:
    """A kernel started by the server, as far as jupyter_client asks: a ``subprocess.Popen`` in miniature."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, mark: str) -> None:
        self.pid = pid
        self.mark = mark
        self.returncode: int | None = None
        self._over = threading.Event()

    def poll(self) -> int | None:
        """Return the exit status (negative: the signal), or None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the end and return the exit status."""
        self._over.wait(timeout)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to the process, unless it is over."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it ended, and the news is on its way
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process at once."""
        self.send_signal(signal.SIGKILL)

    def ended(self, status: int) -> None:
        """Note the end (the server's news)."""
        self.returncode = status
        self._over.set()


class KernelLink:
    """One server process and the conversation with it.

    ``mode`` is empty until kernels can be started, then ``fork`` or ``plain``, and ``gone`` at the end; ``reason``
    says why not ``fork``.
    """

    def __init__(self, folder: Path, imports: Sequence[Import], *, fork: bool, reason: str) -> None:
        self.mode = ""
        self.reason = reason
        self._processes: dict[int, KernelProcess] = {}
        self._answers: dict[str, dict[str, Any]] = {}
        self._news = threading.Condition()
        self._writing = threading.Lock()
        self._channel, theirs = socket.socketpair()
        with theirs, (folder / "server.log").open("ab") as log:
            self._server = subprocess.Popen(
                # -P: the current folder is no place for a kernel to import from.
                [sys.executable, "-P", "-m", "mlops_helpers.teach.kernel_server", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={name: value for name, value in os.environ.items() if name != "JPY_PARENT_PID"},
                start_new_session=True,  # Ctrl-C in a terminal is for the runner, which then ends this
            )
        self._listener = threading.Thread(target=self._listen, daemon=True, name="kernel-news")
        self._listener.start()
        self._tell(imports=imports, fork=fork, reason=reason, folder=str(folder))

    def wait_ready(self, limit: float) -> bool:
        """Wait until kernels can be started; False when that is not to be."""
        with self._news:
            self._news.wait_for(lambda: self.mode, limit)
        return self.mode in ("fork", "plain")

    def launch(self, mark: str, **request: Any) -> KernelProcess:
        """Start one process; ``OSError`` when the system or the server cannot."""
        self._tell(start=mark, **request)
        with self._news:
            self._news.wait_for(lambda: mark in self._answers or self.mode == "gone", START_LIMIT)
        answer = self._answers.get(mark, {"reason": "the kernel server has ended"})
        if "pid" not in answer:
            raise OSError(f"no kernel could be started: {answer['reason']}")
        return self._processes[answer["pid"]]

    def close(self) -> None:
        """End the server, which ends its kernels."""
        if not self.mode:  # it loads libraries, perhaps for long, and has no kernels yet
            self._server.kill()
        # shutdown, not close: the listening thread still reads, and shall see the end.
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_WR)
        try:
            self._server.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._listener.join()
        self._channel.close()

    def _tell(self, **message: Any) -> None:
        with (
            self._writing,
            contextlib.suppress(BrokenPipeError, ConnectionResetError),
        ):  # _listen sees the end
            self._channel.sendall(json.dumps(message).encode() + b"\n")

    def _listen(self) -> None:
        """Take in the server's news until its end (in a thread of its own)."""
        with self._channel.makefile("rb") as lines, contextlib.suppress(ConnectionResetError):
            for line in lines:
                self._hear(json.loads(line))
        for process in self._processes.values():
            if process.returncode is None:  # the server was killed, and could not clean up
                end_leftovers(process.pid, process.mark)
                process.ended(-signal.SIGKILL)
        with self._news:
            self.mode = "gone"
            self._news.notify_all()

    def _hear(self, message: dict[str, Any]) -> None:
        with self._news:
            match message:
                case {"ready": mode, "reason": reason}:
                    self.mode, self.reason = mode, reason
                case {"started": mark, "pid": pid}:
                    self._answers[mark] = message
                    self._processes[pid] = KernelProcess(pid, mark)
                case {"refused": mark}:
                    self._answers[mark] = message
                case {"ended": pid, "status": status}:
                    self._processes[pid].ended(status)
            self._news.notify_all()
