"""Kernels for a run: one server process starts them, watches them and ends them all.

Where forking is possible the server loads the notebooks' libraries once and forks; elsewhere it starts plain
kernels. Either way a kernel has its own session, talks over sockets in a private folder (nothing listens on
the network), is noticed when it dies, and never outlives the run, even when the run is killed.
"""

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_helpers.teach.imports import Import
from mlops_helpers.teach.kernel_server import MARK, end_leftovers

if TYPE_CHECKING:
    from jupyter_client.manager import AsyncKernelManager

__all__ = ["KernelHost", "KernelProcess"]

PRELOAD_LIMIT = 90.0  # seconds for loading the libraries; then kernels are started plainly
STOP_LIMIT = 10.0  # seconds for everything to end
START_LIMIT = 30.0  # seconds for the server to start one process
SOCKET_PATH_LIMIT = 100  # bytes; Linux allows 107, macOS 103


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
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process at once."""
        self.send_signal(signal.SIGKILL)

    def ended(self, status: int) -> None:
        """Note the end (the server's news)."""
        self.returncode = status
        self._over.set()


class _Link:
    """One server process and the conversation with it."""

    def __init__(self, folder: Path, imports: Sequence[Import], *, fork: bool, reason: str) -> None:
        self.mode = ""  # then "fork", "plain", and "gone" at the end
        self.reason = reason
        self._processes: dict[int, KernelProcess] = {}
        self._answers: dict[str, dict[str, Any]] = {}
        self._news = threading.Condition()
        self._writing = threading.Lock()
        self._channel, theirs = socket.socketpair()
        with theirs, (folder / "server.log").open("ab") as log:
            script = Path(__file__).with_name("kernel_server.py")
            self._server = subprocess.Popen(
                # -P: the folder of the script is no place for a kernel to import from.
                [sys.executable, "-P", str(script), str(theirs.fileno())],
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

    def close(self, *, kill: bool = False) -> None:
        """End the server, which ends its kernels."""
        if kill:
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


class KernelHost:
    """The kernels of one run. ``start`` returns at once; the libraries load while the caller goes on.

    ``imports`` are loaded ahead where kernels are forked; ``plain`` asks for freshly started kernels.
    """

    def __init__(self, imports: Sequence[Import] = (), *, plain: bool = False) -> None:
        self._imports = list(imports)
        self._reason = (
            "asked for" if plain else "" if sys.platform == "linux" else f"no safe fork on {sys.platform}"
        )
        self._folder = Path()
        self._link: _Link | None = None
        self._readying = threading.Lock()
        self._numbers = itertools.count()
        self._processes: dict[str, KernelProcess] = {}
        self._logs: dict[str, Path] = {}

    @property
    def description(self) -> str:
        """How the kernels of this run started, in words."""
        return f"plain kernels: {self._reason}" if self._reason else "forked kernels"

    def start(self) -> None:
        """Start the server. ``close`` must follow."""
        self._folder = Path(tempfile.mkdtemp(prefix="opslab-"))
        if hasattr(os, "fork"):
            self._link = _Link(self._folder, self._imports, fork=not self._reason, reason=self._reason)

    def close(self) -> None:
        """End all kernels and what they started, and remove the run's private folder. Safe to call twice."""
        if self._link is not None:
            self._link.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextlib.contextmanager
    def manager(self, label: str, kernel_name: str) -> Iterator["AsyncKernelManager"]:
        """Give a kernel manager that starts its kernel here; at the end that kernel is gone.

        Raises ``jupyter_client.kernelspec.NoSuchKernel`` for a kernel that is not installed, and ``OSError``
        when no process can be started.
        """
        from jupyter_client.manager import AsyncKernelManager

        self.wait_ready()
        file = self._folder / f"{next(self._numbers)}.json"
        self._logs[label] = file.with_suffix(".log")
        # Sockets in a folder that only this user can enter, unless its name is too long for a socket.
        local = self._link is not None and len(str(file)) < SOCKET_PATH_LIMIT
        manager = AsyncKernelManager(
            kernel_name=kernel_name, connection_file=str(file), transport="ipc" if local else "tcp"
        )
        if self._link is not None:
            from mlops_helpers.teach.provisioner import PromptClient, ServedProvisioner

            manager.client_factory = PromptClient
            manager.provisioner = ServedProvisioner(
                parent=manager, kernel_spec=manager.kernel_spec, host=self, label=label
            )
        try:
            yield manager
        finally:
            process = self._processes.get(label)
            if process is not None:
                process.kill()
                process.wait(STOP_LIMIT)

    def launch(self, label: str, argv: list[str], env: dict[str, str], cwd: str) -> KernelProcess:
        """Start a kernel for ``label`` (for the provisioner). Raises ``OSError`` when that cannot be."""
        assert self._link is not None
        mark = uuid.uuid4().hex
        # Only this Python's own kernel can be forked from the server.
        ours = argv[:3] == [sys.executable, "-m", "ipykernel_launcher"]
        env = {name: value for name, value in env.items() if name != "JPY_PARENT_PID"} | {MARK: mark}
        request = {"argv": argv, "env": env, "cwd": cwd, "log": str(self._logs[label]), "fork": ours}
        process = self._processes[label] = self._link.launch(mark, **request)
        return process

    def last_words(self, label: str) -> str:
        """Return how the kernel of ``label`` ended and the end of what it wrote outside its cells."""
        process, log = self._processes.get(label), self._logs.get(label)
        status = None if process is None else process.returncode
        words = (
            []
            if status is None
            else [f"exit status {status}" if status >= 0 else f"killed by signal {-status}"]
        )
        if log is not None and log.is_file():
            words += log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
        return "\n".join(words)

    def wait_ready(self) -> None:
        """Wait for the libraries; if loading them ended or hung the server, go on with plain kernels."""
        with self._readying:
            if self._link is None or self._link.mode:
                return
            if not self._link.wait_ready(PRELOAD_LIMIT):
                hung = not self._link.mode
                self._link.close(kill=True)
                self._reason = (
                    f"loading the notebooks' libraries ahead {'hung' if hung else 'ended the process'}"
                )
                self._link = _Link(self._folder, [], fork=False, reason=self._reason)
                self._link.wait_ready(START_LIMIT)
            self._reason = self._link.reason
