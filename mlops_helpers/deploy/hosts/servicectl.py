"""What keeps the filter running on a host: a systemd in small, which needs nothing but Python.

::

    servicectl.py run    ROOT [--host H] [--port N] [--user U]   be a machine that is on, until standard input ends
    servicectl.py apply  ROOT                run the filter with the configuration that is on disk
    servicectl.py status ROOT FINGERPRINT    exit 0: it runs with that configuration; 3: it does not
    servicectl.py show   ROOT                what runs, as JSON
    servicectl.py stop   ROOT

``apply`` starts a successor on the same socket, waits until it is ready, and only then ends the predecessor: no
connection is refused, and a configuration that does not work changes nothing. The fingerprint is the SHA-256 of
``etc/filter.toml`` followed by ``etc/token``, as the process read them. What dies is not restarted, but found.
"""

import argparse
import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["main"]

READY = b'{"ready": true'  # how the line begins that the filter prints once it accepts requests
START_SECONDS, STOP_SECONDS = 30.0, 15.0
BACKLOG = 1024
CONTROL = "run/control"  # relative to ROOT, as the address of a Unix socket has at most 107 bytes
OUT_OF_STEP = 3


class Refused(Exception):
    """What was asked for cannot be done; the message says why."""


class Running:
    """One process of the filter, started with what is on disk. Raises ``Refused`` when that cannot be used."""

    def __init__(self, root: Path, sock: socket.socket, user: int | None) -> None:
        try:
            raw, token = (root / "etc" / "filter.toml").read_bytes(), (root / "etc" / "token").read_bytes()
            wanted = tomllib.loads(raw.decode())
            self.fingerprint, self.version = hashlib.sha256(raw + token).hexdigest(), wanted["version"]
            folder = root / "state" / self.fingerprint[:12]  # predecessor and successor each have a log of their own
            options = {"name": self.version, "folder": folder, "fd": sock.fileno(), "lifeline": 0}
            options |= {name: wanted[name] for name in ("sha256", "durability", "concurrency")}
            command = ["serve", str(root / "releases" / wanted["release"])]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Refused(f"the configuration cannot be used: {error!r}") from None
        folder.mkdir(exist_ok=True)
        other: dict[str, Any] = {}
        if user is not None:
            os.chown(folder, user, user)
            other = {"user": user, "group": user, "extra_groups": []}
        self._last, self._decided = b"", threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mlops_helpers.cli", *command]
            + [f"--{name}={value}" for name, value in options.items()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OPSLAB_ADMIN_TOKEN": token.decode().strip()},
            pass_fds=[sock.fileno()],
            process_group=0,
            **other,
        )
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, args=(root / "log" / "filter.log",), daemon=True)
        self._reader.start()

    def _read(self, log: Path) -> None:
        assert self._process.stdout is not None
        with self._process, log.open("ab", buffering=0) as file:
            for line in self._process.stdout:
                file.write(line)
                self._last = line
                if line.startswith(READY):
                    self._decided.set()
        self._decided.set()

    @property
    def alive(self) -> bool:
        return self._reader.is_alive()

    def wait_ready(self) -> None:
        if not (self._decided.wait(START_SECONDS) and self.alive):
            self.end(signal.SIGKILL)
            raise Refused(f"the filter did not start: {self._last.decode(errors='replace').strip()}")

    def wait_end(self, seconds: float | None = None) -> None:
        self._reader.join(seconds)

    def end(self, how: int = signal.SIGTERM) -> None:
        """Ask the process to end, and return when it has."""
        self._process.send_signal(how)
        self.wait_end(STOP_SECONDS)
        self._process.kill()
        self.wait_end()


class Machine:
    """A host that is on: its socket, and at most one filter that is in service."""

    def __init__(self, root: Path, host: str, port: int, user: int | None) -> None:
        self._root, self._user = root, user
        self._running: Running | None = None
        self._started: list[Running] = []
        self._lock, self._address = threading.RLock(), (host, port)
        self._socket = self._bound()
        self._address = self._socket.getsockname()

    def _bound(self) -> socket.socket:
        """Return a socket that has the port but does not listen: connections are refused, nobody else gets it."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(self._address)
        return sock

    def show(self) -> dict[str, Any]:
        """Return the address; and process, version and fingerprint of the filter, if one runs."""
        found: dict[str, Any] = {"address": "{}:{}".format(*self._address)}
        if self._running is not None and self._running.alive:
            found |= {name: getattr(self._running, name) for name in ("pid", "version", "fingerprint")}
        return found

    def apply(self) -> None:
        """Let a successor take over. Raises ``Refused``; the predecessor then serves on."""
        with self._lock:
            self._socket.listen(BACKLOG)
            before = self._running
            try:
                successor = Running(self._root, self._socket, self._user)
                self._started = [*(one for one in self._started if one.alive), successor]
                successor.wait_ready()
            except BaseException:
                self._refuse_if_dead()
                raise
            self._running = successor
        threading.Thread(target=self._watch, args=(successor,), daemon=True).start()
        if before is not None:
            # without draining: nobody has to go elsewhere, as the same address answers
            threading.Thread(target=before.end, args=(signal.SIGINT,), daemon=True).start()

    def stop(self) -> None:
        """End the filter; connections are refused then."""
        if self._running is not None:
            self._running.end()
            self._refuse_if_dead()

    def off(self) -> None:
        """End everything at once."""
        for one in self._started:
            one.end(signal.SIGKILL)

    def _watch(self, one: Running) -> None:
        one.wait_end()
        self._refuse_if_dead()

    def _refuse_if_dead(self) -> None:
        with self._lock:
            if self._running is None or not self._running.alive:
                self._socket.close()
                self._socket = self._bound()

    def answer(self, connection: socket.socket) -> None:
        """Do what one caller asks for."""
        with connection, contextlib.suppress(ConnectionError):
            try:
                asked = connection.recv(100).decode()
                if asked != "show":
                    {"apply": self.apply, "stop": self.stop}[asked]()
                said = self.show()
            except (Refused, OSError) as error:
                said = {"error": str(error)}
            connection.sendall(json.dumps(said).encode())


def run(root: Path, args: Sequence[str]) -> int:
    """Be a machine that is on, until standard input ends or SIGTERM comes."""
    parser = argparse.ArgumentParser(prog="servicectl.py run ROOT")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port (default: a free one)")
    parser.add_argument("--user", type=int, help="number of the filter's user and group (default: this one)")
    options = parser.parse_args(args)
    for folder in ("etc", "log", "releases", "run", "scratch", "state"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    os.chdir(root)
    Path(CONTROL).unlink(missing_ok=True)
    Path("run/pid").write_text(f"{os.getpid()}\n")
    machine = Machine(root, options.host, options.port, options.user)
    with socket.socket(socket.AF_UNIX) as control:
        control.bind(CONTROL)
        Path(CONTROL).chmod(0o600)
        control.listen()

        def serve() -> None:
            while True:
                machine.answer(control.accept()[0])

        threading.Thread(target=serve, daemon=True).start()
        print(json.dumps({"ready": True, **machine.show()}), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            while os.read(0, 1):
                pass
        machine.off()
        os._exit(0)  # the thread that serves is in accept()


def ask(root: Path, what: str) -> dict[str, Any]:
    """Return what the machine answers. Raises ``OSError`` when it is off, ``Refused`` when it says no."""
    os.chdir(root)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(START_SECONDS + STOP_SECONDS)
        connection.connect(CONTROL)
        connection.sendall(what.encode())
        said: dict[str, Any] = json.loads(b"".join(iter(lambda: connection.recv(65536), b"")))
    if "error" in said:
        raise Refused(said["error"])
    return said


def main(argv: Sequence[str]) -> int:
    """Run one command; return the exit code."""
    command, root, *rest = argv
    if command == "run":
        return run(Path(root).resolve(), rest)
    try:
        found = ask(Path(root), command if command in ("apply", "stop") else "show")
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"nobody answers for {root}: {error}", file=sys.stderr)
        return 1
    if command == "status":
        return 0 if found.get("fingerprint") == rest[0] else OUT_OF_STEP
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
