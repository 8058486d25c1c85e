"""The process that starts the kernels of one run: it loads their libraries once and forks on request.

It runs by itself (``python -P -m mlops_helpers.teach.kernel_server DESCRIPTOR``) and talks JSON lines over a
socket with ``kernel_link.KernelLink``::

    <- {"imports": [[module, name], ...], "fork": true, "reason": "", "folder": ...}    once
    -> {"ready": "fork" | "plain", "reason": ...}
    <- {"start": mark, "argv": [...], "env": {...}, "cwd": ..., "log": ..., "fork": true}   once a kernel
    -> {"started": mark, "pid": ...}  or  {"refused": mark, "reason": ...}
    -> {"ended": pid, "status": ...}                                      as subprocess.Popen.returncode

The end of the socket is the end of the run, however it came: the server then ends every kernel and everything
that notebooks left running, removes the run's folder, and goes. It stays single-threaded, as forking demands.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import random
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import threading
import traceback
from typing import Any

from mlops_helpers.teach.leftovers import adopt_orphans, children, end_children, end_leftovers

__all__ = ["main"]

#: What every kernel loads sooner or later. Not matplotlib's inline backend: it hooks itself into the running
#: kernel when it is imported, so each kernel must import it for itself.
KERNEL_MODULES = (
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "ipykernel.zmqshell",
    "ipykernel.debugger",
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.core.logger",
    "IPython.core.oinspect",
    "IPython.extensions.storemagic",
    "sqlite3",
    "tornado.platform.asyncio",
)
INLINE = "module://matplotlib_inline.backend_inline"


def _die_with_parent(number: int = signal.SIGKILL) -> None:
    """Ask Linux to kill this process when its parent dies (0: to leave it alone again)."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(1, number)  # PR_SET_PDEATHSIG
        if number and os.getppid() != parent:
            os._exit(1)


def _into_kernel() -> None:
    """Settle this process below the server before it becomes a kernel (safe after a fork: there are no threads)."""
    _die_with_parent()
    adopt_orphans()


def _preload(imports: list[list[str]]) -> str:
    """Import the libraries; return why forking is not possible, or nothing."""
    os.environ.setdefault("MPLBACKEND", INLINE)  # before matplotlib reads it
    for module, name in [*((module, "") for module in KERNEL_MODULES), *imports]:
        try:
            loaded = importlib.import_module(module)
            if name and not hasattr(loaded, name):
                importlib.import_module(f"{module}.{name}")
        except Exception as error:  # noqa: BLE001 (any import may fail in any way)
            # The notebook that imports it fails by itself and shows why.
            print(f"not loaded ahead: {module} {name}: {error!r}", file=sys.stderr)
    others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    return f"a library started threads on import: {', '.join(others)}" if others else ""


class _Server:
    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.kernels: dict[int, str] = {}  # pid -> mark
        self.wake, waker = socket.socketpair()
        for end in (self.wake, waker):
            end.setblocking(False)
        self.waker = waker
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        # Handlers, not SIG_IGN: that would be inherited by kernels, which must be interruptible.
        for number in (signal.SIGCHLD, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        self.buffer = b""
        self.plain = True
        self.own: set[int] = set()  # what loading the libraries started: it stays until the end

    def tell(self, **message: Any) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the loop sees the end of the socket
            self.channel.sendall(json.dumps(message).encode() + b"\n")

    def ask(self) -> list[dict[str, Any]] | None:
        """Return the messages that have arrived; None at the end of the socket."""
        try:
            data = self.channel.recv(1 << 16)
        except ConnectionResetError:
            return None
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        return [json.loads(line) for line in lines] if data else None

    def serve(self, folder: str) -> dict[str, Any] | None:
        """Answer until the socket ends. Gives None in the server, and its request in each forked kernel."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.channel, selectors.EVENT_READ)
            selector.register(self.wake, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self.wake:
                        self.wake.recv(1 << 12)
                        self.reap()
                        continue
                    messages = self.ask()
                    if messages is None:
                        self.end(folder)
                        return None
                    for message in messages:
                        if self.start(message):
                            return message

    def start(self, message: dict[str, Any]) -> bool:
        """Start one kernel; True in a forked child."""
        try:
            pid = os.fork() if message["fork"] and not self.plain else self._spawn(message)
        except OSError as error:
            self.tell(refused=message["start"], reason=str(error))
            return False
        if pid == 0:
            return True
        self.kernels[pid] = message["start"]
        self.tell(started=message["start"], pid=pid)
        return False

    def _spawn(self, message: dict[str, Any]) -> int:
        with open(message["log"], "ab") as log:  # noqa: PTH123
            process = subprocess.Popen(
                message["argv"],
                env=message["env"],
                cwd=message["cwd"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_into_kernel,
            )
        process.returncode = 0  # reaped below, not by Popen
        return process.pid

    def reap(self) -> None:
        for pid in list(self.kernels):
            # First look, then end its session, then let go of its number: nobody else can get it meanwhile.
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                end_leftovers(pid, self.kernels[pid])
                # Every other child was this kernel's: those that live adopt their own orphans.
                end_children({*self.kernels, *self.own})
                del self.kernels[pid]
                _, status = os.waitpid(pid, 0)
                self.tell(ended=pid, status=os.waitstatus_to_exitcode(status))

    def end(self, folder: str) -> None:
        for pid, mark in self.kernels.items():
            os.kill(pid, signal.SIGKILL)
            end_leftovers(pid, mark)
            os.waitpid(pid, 0)
        end_children()
        shutil.rmtree(folder, ignore_errors=True)


def _become_kernel(server: _Server, message: dict[str, Any]) -> None:
    """Turn this forked child into what a freshly started kernel is."""
    os.setsid()
    _into_kernel()
    signal.set_wakeup_fd(-1)
    for end in (server.channel, server.wake, server.waker):
        end.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(message["env"])
    os.environ.setdefault("MPLBACKEND", INLINE)
    os.chdir(message["cwd"])
    log = os.open(message["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.close(log)
    random.seed()
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
    from ipykernel.kernelapp import IPKernelApp

    # As `python -m ipykernel_launcher -f FILE ...` would have it.
    sys.argv = ["ipykernel_launcher.py", *message["argv"][3:]]
    status: object = 1
    try:
        IPKernelApp.launch_instance()
        status = 0
    except SystemExit as leaving:
        status = leaving.code
    except BaseException:  # noqa: BLE001 (the process ends below, and would not show it)
        traceback.print_exc()
    # As forked children of multiprocessing end: threads, exit handlers, streams; modules are not torn down.
    # That would copy every page of the libraries: a third of a small notebook's time.
    threading._shutdown()  # type: ignore[attr-defined]
    # ipykernel's own handler waits for a thread that may wait for one that is gone. Nothing is lost.
    atexit.unregister(IPKernelApp.instance().close)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status if isinstance(status, int) else 0 if status is None else 1)


def main() -> None:
    """Serve one run over the inherited socket whose descriptor is the only argument."""
    _die_with_parent()  # an import that hangs cannot see the end of the socket
    adopt_orphans()
    server = _Server(socket.socket(fileno=int(sys.argv[1])))
    messages: list[dict[str, Any]] | None = []
    while not messages:
        messages = server.ask()
        if messages is None:
            return
    setup = messages[0]
    reason = _preload(setup["imports"]) if setup["fork"] else setup["reason"]
    server.plain = bool(reason) or not setup["fork"]
    server.own = children()
    gc.collect()
    gc.freeze()  # a collection in a kernel would copy all these pages
    _die_with_parent(0)  # from here on the socket's end tells, and there is something to clean up
    server.tell(ready="plain" if server.plain else "fork", reason=reason)
    request = server.serve(setup["folder"])
    if request is not None:
        _become_kernel(server, request)


if __name__ == "__main__":
    main()
