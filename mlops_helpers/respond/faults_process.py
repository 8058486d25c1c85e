"""Faults of processes: ended, frozen, slowed, starved of a processor, and kept from writing."""

import os
import resource
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass

from mlops_helpers.errors import DrillError, ServiceError
from mlops_helpers.respond.faults import Undoing, register
from mlops_helpers.respond.stage import Stage
from mlops_helpers.respond.undo import pin, process_entry

__all__ = [
    "CpuPressure",
    "DiskFull",
    "MemoryPressure",
    "ProcessFrozen",
    "ProcessKilled",
    "ProcessSlowed",
    "ProcessStopped",
]

_THROTTLE = """
import os, signal, sys, time
pid, busy, period = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
import threading
gone = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), gone.set()), daemon=True).start()
try:
    while not gone.is_set():
        os.kill(pid, signal.SIGSTOP)
        gone.wait(period * (1 - busy))
        os.kill(pid, signal.SIGCONT)
        gone.wait(period * busy)
except ProcessLookupError:
    pass
finally:
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass
"""
_BURN = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
os.sched_setaffinity(0, [int(sys.argv[1])])
while True:
    pass
"""
_HOLD = """
import sys
held = bytearray(int(sys.argv[1]) << 20)
for page in range(0, len(held), 4096):
    held[page] = 1
sys.stdin.read()
"""


def _helper(undoing: Undoing, code: str, *arguments: str) -> None:
    """Start a process that does harm until this one lets go of its standard input, or is gone."""
    child = subprocess.Popen(
        [sys.executable, "-I", "-c", code, *arguments], stdin=subprocess.PIPE, start_new_session=True
    )

    def end() -> None:
        assert child.stdin is not None
        with suppress(OSError):
            child.stdin.close()
        try:
            child.wait(3.0)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    undoing.call(end)
    undoing.entry(process_entry("end", child.pid))


@register
@dataclass(frozen=True)
class ProcessKilled:
    """A process dies once (SIGKILL); its supervisor starts the next one."""

    name: str

    def begin(self, stage: Stage, undoing: Undoing) -> None:
        """Kill it. Nothing is to be undone."""
        stage.platform.kill(self.name)


@register
@dataclass(frozen=True)
class ProcessStopped:
    """A service has ended and nobody restarts it: its address refuses connections."""

    name: str

    def begin(self, stage: Stage, undoing: Undoing) -> None:
        """Stop it; it is started again at the end."""

        def start() -> None:
            with suppress(ServiceError):
                stage.platform.start(self.name)

        undoing.call(start)
        stage.platform.stop(self.name)


@register
@dataclass(frozen=True)
class ProcessFrozen:
    """A process hangs (SIGSTOP): connections are accepted by the system, nothing is answered."""

    name: str

    def begin(self, stage: Stage, undoing: Undoing) -> None:
        """Freeze it."""

        def resume() -> None:
            with suppress(ServiceError):
                stage.platform.resume(self.name)

        undoing.entry(process_entry("go_on", stage.pid(self.name)))
        undoing.call(resume)
        stage.platform.pause(self.name)


@register
@dataclass(frozen=True)
class ProcessSlowed:
    """A process gets the processor for a share ``busy`` of each ``period`` seconds; its next process gets it whole."""

    name: str
    busy: float = 0.2
    period: float = 1.0

    def begin(self, stage: Stage, undoing: Undoing) -> None:
        """Stop and continue it in turns."""
        if not (0.01 <= self.busy <= 0.9 and 0.05 <= self.period <= 5):
            raise DrillError(f"busy is {self.busy}, period {self.period}; accepted: 0.01 to 0.9, 0.05 to 5 seconds")
        pid = stage.pid(self.name)
        undoing.entry(process_entry("go_on", pid))
        _helper(undoing, _THROTTLE, str(pid), str(self.busy), str(self.period))


@register
@dataclass(frozen=True)
class CpuPressure:
    """``hogs`` busy processes share one processor with a service, which is bound to it."""

    name: str
    hogs: int = 12

    def begin(self, stage: Stage, undoing: Undoing) -> None:
        """Bind the service to one processor and let the others compute there."""
        if not 1 <= self.hogs <= 32:
            raise DrillError(f"hogs is {self.hogs}; accepted: 1 to 32")
        pid = stage.pid(self.name)
        processors = sorted(os.sched_getaffinity(pid))
        undoing.entry(process_entry("unpin", pid, processors=processors))
        pin(pid, processors[-1:])
        for _ in range(self.hogs):
            _helper(undoing, _BURN, str(processors[-1]))


@register
@dataclass(frozen=True)
class MemoryPressure:
    """Another process of the machine takes ``megabytes`` of memory and keeps them."""

    megabytes: int = 200

    def begin(self, stage: Stage, undoing: Undoing) -> None:
        """Take them, if that leaves the machine half of what is free."""
        import psutil

        free = psutil.virtual_memory().available >> 20
        if not 1 <= self.megabytes <= free // 2:
            raise DrillError(f"megabytes is {self.megabytes}; accepted: 1 to {free // 2}, half of what is free")
        _helper(undoing, _HOLD, str(self.megabytes))


@register
@dataclass(frozen=True)
class DiskFull:
    """A service's files cannot grow (as with a full quota); a process that is started later has room again."""

    name: str

    def begin(self, stage: Stage, undoing: Undoing) -> None:
        """Limit the size of its files to nothing."""
        pid = stage.pid(self.name)
        soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        undoing.entry(process_entry("unlimit", pid, limit=resource.RLIMIT_FSIZE, soft=soft, hard=hard))

        def restart() -> None:  # a log that has failed once is not written again by its process
            with suppress(ServiceError):
                if stage.pid(self.name) == pid:
                    stage.platform.kill(self.name)

        undoing.call(restart)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
