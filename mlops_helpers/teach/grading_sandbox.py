"""The sandbox around one grader's submissions: bubblewrap, and in it the server of ``grading_inside``.

Each submission is forked into namespaces of its own below that one, so that submissions share nothing that can be
written, and the end of a submission's process 1 is the end of everything that it started.
"""

import contextlib
import json
import os
import secrets
import select
import shlex
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mlops_helpers.deploy import cgroups
from mlops_helpers.deploy.release import Limits as GroupLimits
from mlops_helpers.errors import ParameterError, RuntimeUnavailable, ServiceError
from mlops_helpers.teach.grading_bubblewrap import (
    ENVIRONMENT,
    NEXT,
    bubblewrap,
    in_temporary_folders,
    private_folder,
    refuse_to_show,
)
from mlops_helpers.teach.grading_confine import is_root_of_machine
from mlops_helpers.teach.imports import Import

__all__ = ["Forked", "Limits", "Sandbox", "SandboxLost"]

_USER = 1_879_048_192  # to this one root turns: nobody has it, and limits of processes bind it
_USERS = 1 << 20
_START_SECONDS = 120.0
_OPENING_SECONDS = 60.0  # whatever a cell may take: a long opening does not keep the sandbox from starting
_GROUP = "grading"
_FORK_SECONDS = 20.0


@dataclass(frozen=True)
class Limits:
    """What one submission may use.

    ``seconds`` for all of it, checks included; ``cell_seconds`` for one cell; ``memory`` bytes beyond what the
    libraries take, for each process and for all together; ``processes`` with threads; ``files`` open at a time;
    ``disk`` bytes of temporary files; ``output`` bytes of printed text and ``message`` bytes of one answer.
    """

    seconds: float = 120.0
    cell_seconds: float = 30.0
    memory: int = 1 << 30
    processes: int = 128
    files: int = 512
    disk: int = 128 << 20
    output: int = 1 << 20
    message: int = 2 << 20

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ParameterError(f"limit {name} is {value!r}; accepted: a number above 0")


class SandboxLost(ServiceError):
    """The sandbox itself ended, which no submission should be able to bring about."""


@dataclass(frozen=True)
class Forked:
    """A submission's process 1 (``pid``, and ``process``, its descriptor), its channel and its output."""

    pid: int
    process: int
    channel: socket.socket
    output: int


class Sandbox:
    """The running sandbox: ``fork()`` gives a fresh process for a submission.

    ``kind``: ``"bwrap"``, or ``"none"`` for trusted submissions. ``hidden`` is the folder that nobody in it may read.
    ``opening``, cells of the lab's own, are executed once: ``fork(opened=True)`` gives a process that has executed
    them. Where that would not be the same as executing them there, and without confinement, :attr:`opening` is empty.

    Raises ``RuntimeUnavailable`` with the next command when it cannot be had.
    """

    def __init__(
        self, kind: str, imports: Sequence[Import], limits: Limits, hidden: Path, opening: Sequence[str] = ()
    ) -> None:
        self._kind, self._imports, self._limits = kind, imports, limits
        self.opening = tuple(opening) if kind == "bwrap" else ()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the sandbox)
        self._why = ""
        self._group: cgroups.Group | None = None
        self._process: subprocess.Popen[bytes] | None = None
        if kind == "bwrap":
            refuse_to_show(hidden)
        users = _users() if self.confined else [0]
        try:
            for user in users:
                if self._started(user):
                    return
            raise RuntimeUnavailable(f"no sandbox for submissions: {self._why}. {NEXT}")
        except BaseException:
            self.close()
            raise

    @property
    def confined(self) -> bool:
        """Whether submissions are kept from this machine at all."""
        return self._kind == "bwrap"

    def said(self) -> str:
        """Return the last line that the sandbox wrote to its standard error."""
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def _started(self, user: int) -> bool:
        self._end()
        (self._control, theirs), (self._opened, opened) = socket.socketpair(), socket.socketpair()
        ends = [theirs.fileno(), opened.fileno()]
        command = [sys.executable, "-P", "-s", "-m", "mlops_helpers.teach.grading_inside", *map(str, ends)]
        if self.confined:
            command = [*bubblewrap(user), *command]
        with theirs, opened:
            self._process = subprocess.Popen(
                self._grouped(command),
                env=ENVIRONMENT if self.confined else {**os.environ, **ENVIRONMENT, "HOME": str(Path.home())},
                pass_fds=ends,
                stdin=subprocess.DEVNULL,
                stdout=self._stderr,
                stderr=self._stderr,
                start_new_session=True,
            )
        setup = {
            "imports": self._imports,
            "opening": self.opening,
            "seconds": min(self._limits.cell_seconds, _OPENING_SECONDS),
            "user": user,
            "confined": self.confined,
            "root": os.getuid() == 0,
        }
        try:
            self._control.sendall(json.dumps(setup).encode() + b"\n")
            for server in (self._control, self._opened):
                server.settimeout(_START_SECONDS)
            if not self._control.recv(100):
                raise SandboxLost(self.said() or "it ended at once")
            if not self._opened.recv(100):
                self.opening = ()
            _end_process(self.fork())  # the proof that a submission can be confined here
        except (OSError, SandboxLost) as error:
            self._why = str(error)
            return False
        return True

    def _grouped(self, command: list[str]) -> list[str]:
        """Put the command into a control group with limits for all its processes, where this user can make one."""
        for group in cgroups.abandoned():  # of graders that were killed
            with contextlib.suppress(ServiceError):
                if any(_GROUP in folder.name for folder in group.folders.values()):
                    group.remove()
        limits = GroupLimits(memory_mb=(self._limits.memory >> 20) + 2048, pids=2 * self._limits.processes + 16)
        with contextlib.suppress(ServiceError):
            within = {name: folder for name, folder in cgroups.parents().items() if name in ("memory", "pids")}
            self._group = cgroups.make_group(f"{_GROUP}{secrets.token_hex(4)}", limits, within)
        if self._group is None:
            return command
        steps = "; ".join(f"echo $$ > {shlex.quote(str(path))}" for path in self._group.procs)
        return ["/bin/sh", "-ec", f'{steps}; exec "$@"', "sh", *command]

    def fork(self, opened: bool = False) -> Forked:
        """Start the processes of one submission; ``opened``: the opening has been executed in them.

        Raises :class:`SandboxLost` when the sandbox does not do so.
        """
        channel, theirs = socket.socketpair()
        output, their_output = os.pipe()
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        channel.settimeout(_FORK_SECONDS)
        limits = asdict(self._limits) | {"seconds": int(self._limits.seconds) + 1, "needed": in_temporary_folders()}
        message = json.dumps({"limits": limits}).encode()
        try:
            socket.send_fds(self._opened if opened else self._control, [message], [theirs.fileno(), their_output])
            theirs.close()
            os.close(their_output)
            their_output = -1
            said, extra, _, _ = channel.recvmsg(1 << 12, socket.CMSG_SPACE(struct.calcsize("3i")))
            if said != b'{"started": true}\n':
                raise SandboxLost(f"a submission could not be started: {said.decode(errors='replace') or self.said()}")
            pid = struct.unpack("3i", extra[0][2])[0]  # the kernel's word, in this process's numbers
            return Forked(pid, os.pidfd_open(pid), channel, output)
        except BaseException as error:
            channel.close()
            theirs.close()
            os.close(output)
            if their_output >= 0:
                os.close(their_output)
            if isinstance(error, OSError):
                raise SandboxLost(f"the sandbox has ended: {error}") from error
            raise

    def _end(self) -> None:
        if self._process is not None:
            self._control.close()
            self._opened.close()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # bubblewrap, and with it its process 1
            self._process.wait()
            self._process = None
        if self._group is not None:
            with contextlib.suppress(ServiceError):  # its last process is not buried yet: a later grader removes it
                self._group.remove()
            self._group = None

    def close(self) -> None:
        """End the sandbox with everything in it; safe twice."""
        self._end()
        self._stderr.close()


def _users() -> list[int]:
    """Return the users as whom submissions may run where root grades, to be tried in turn; 0 is who grades.

    Root of the machine never runs them itself, as the kernel's settings belong to it. Root of a container is nobody
    outside; it does so where it has no other users, or they could not read Python's files.

    Raises ``RuntimeUnavailable`` with the next command where only root of the machine can read these.
    """
    if os.getuid() != 0:
        return [0]
    private, other = private_folder(), _USER + secrets.randbelow(_USERS)
    if not is_root_of_machine():
        return [0] if private else [other, 0]
    if private:
        raise RuntimeUnavailable(
            f"no sandbox for submissions: root's run as another user, who cannot read {private}. Next: "
            f"chmod -R go+rX {shlex.quote(str(private))}, or grade as a user who is not root"
        )
    return [other]


def _end_process(forked: Forked) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(forked.process, signal.SIGKILL)
    select.select([forked.process], [], [], _FORK_SECONDS)
    for descriptor in (forked.process, forked.output):
        os.close(descriptor)
    forked.channel.close()
