"""Kernels for a run: one server process starts them, watches them and ends them all.

Where forking is possible the server loads the notebooks' libraries once and forks; elsewhere it starts plain
kernels. Either way a kernel has its own session, talks over sockets in a private folder (nothing listens on
the network), is noticed when it dies, and does not outlive the run, even when the run is killed. (Out of reach:
daemons with a clean environment, when the server itself is killed or where the system has no subreapers.)
"""

import contextlib
import itertools
import os
import shutil
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_helpers.teach.imports import Import
from mlops_helpers.teach.kernel_link import STOP_LIMIT, KernelLink, KernelProcess
from mlops_helpers.teach.leftovers import MARK

if TYPE_CHECKING:
    from jupyter_client.manager import AsyncKernelManager

__all__ = ["KernelHost"]

PRELOAD_LIMIT = 90.0  # seconds for loading the libraries; then kernels are started plainly
START_LIMIT = 30.0  # seconds for a server without libraries to be ready
SOCKET_PATH_LIMIT = 100  # bytes; Linux allows 107, macOS 103


class KernelHost:
    """The kernels of one run. ``start`` returns at once; the libraries load while the caller goes on.

    ``imports`` are loaded ahead where kernels are forked; ``plain`` asks for freshly started kernels.
    """

    def __init__(self, imports: Sequence[Import] = (), *, plain: bool = False) -> None:
        self._imports = list(imports)
        self._reason = "asked for" if plain else "" if sys.platform == "linux" else f"no safe fork on {sys.platform}"
        self._folder: Path | None = None
        self._closed = False
        self._link: KernelLink | None = None
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
        try:
            if hasattr(os, "fork"):
                self._link = KernelLink(self._folder, self._imports, fork=not self._reason, reason=self._reason)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End all kernels and what they started, and remove the run's private folder. Safe to call twice."""
        self._closed = True
        if self._link is not None:
            self._link.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def private_folder(self) -> Path:
        """Make a folder that goes when the run ends, however it ends."""
        assert self._folder is not None
        return Path(tempfile.mkdtemp(prefix="workspace-", dir=self._folder))

    @contextlib.contextmanager
    def manager(self, label: str, kernel_name: str) -> Iterator["AsyncKernelManager"]:
        """Give a kernel manager that starts its kernel here; at the end that kernel is gone.

        Raises ``jupyter_client.kernelspec.NoSuchKernel`` for a kernel that is not installed, and ``OSError``
        when no process can be started.
        """
        from jupyter_client.manager import AsyncKernelManager

        self.wait_ready()
        assert self._folder is not None
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
        words = [] if status is None else [f"exit status {status}" if status >= 0 else f"killed by signal {-status}"]
        if log is not None and log.is_file():
            words += log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
        return "\n".join(words)

    def wait_ready(self) -> None:
        """Wait for the libraries; if loading them ended or hung the server, go on with plain kernels."""
        with self._readying:
            if self._link is None or self._folder is None or self._link.mode:
                return
            if not self._link.wait_ready(PRELOAD_LIMIT) and not self._closed:
                hung = not self._link.mode
                self._link.close()
                self._reason = f"loading the notebooks' libraries ahead {'hung' if hung else 'ended the process'}"
                self._link = KernelLink(self._folder, [], fork=False, reason=self._reason)
                self._link.wait_ready(START_LIMIT)
            self._reason = self._link.reason
