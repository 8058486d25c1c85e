"""Machines to configure, which are on while their maker lives; here those that folders play, for want of Docker.

Each has a root folder, a socket that the filter serves on, and one command that enters it: there is no other way in.
"""

import json
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from mlops_helpers.errors import ServiceError

__all__ = ["CONTENT", "Folders", "Machine", "Place"]

CONTENT = Path(__file__).parent / "hosts"
"""Playbook, role, plugins, manifest, and what runs on the machines."""

_RUN_SECONDS = 60.0
_OFF_SECONDS = 10.0


class Machine(ABC):
    """A machine that is on or off. ``address`` is where callers reach its filter, ``root`` a path on the machine."""

    name: str
    address: str
    root: str
    network: str
    """What connects it with those that call it."""
    enter: Sequence[str]
    """The command that enters the machine; what is to be run there is appended."""
    servicectl: str
    """The command, on the machine, that says what runs and replaces it."""
    python: str
    owner: tuple[int, int]
    """User and group, by number, that own the configuration."""

    @abstractmethod
    def boot(self) -> None:
        """Switch it on, with an empty disk. Raises ``ServiceError`` when it cannot be."""

    @abstractmethod
    def off(self) -> None:
        """Switch it off at once; what was on its disk is gone. Safe twice."""

    def run(self, command: str) -> str:
        """Run a shell command in the root folder, as whoever configures may, and return what it printed.

        Raises ``ServiceError`` when it fails, saying what it printed as errors.
        """
        line = [*self.enter, "/bin/sh", "-c", command]
        try:
            done = subprocess.run(line, input="", capture_output=True, text=True, timeout=_RUN_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ServiceError(f"{self.name} cannot be entered: {error}") from error
        if done.returncode:
            raise ServiceError(f"{self.name}: exit code {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def variables(self) -> dict[str, Any]:
        """Return what the inventory says of it."""
        return {
            "machine_enter": list(self.enter),
            "ansible_python_interpreter": self.python,
            "ansible_remote_tmp": f"{self.root}/scratch",
            "filter_root": self.root,
            "filter_owner": self.owner[0],
            "filter_group": self.owner[1],
            "filter_servicectl": self.servicectl,
            "filter_address": self.address,
        }


class Place(Protocol):
    """Where machines are made, and what they have in common."""

    def open(self) -> None:
        """Make what they need. Raises ``ServiceError`` when it cannot be."""

    def machine(self, name: str) -> Machine:
        """Return a machine that is off."""

    def close(self) -> None:
        """Remove what was made, when all of them are off; safe twice."""


class Folders:
    """Folders that play machines: their filters are processes of this one and listen on its loopback address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self) -> None:
        """Folders need nothing."""

    def machine(self, name: str) -> Machine:
        """Return a machine that is off."""
        return _Folder(name, self._folder / "machines" / name)

    def close(self) -> None:
        """Machines that are off leave nothing."""


class _Folder(Machine):
    network = "loopback"

    def __init__(self, name: str, root: Path) -> None:
        script = CONTENT / "servicectl.py"
        self.name, self.root, self.address = name, str(root), ""
        self.enter = ["/bin/sh", str(CONTENT / "enter.sh"), self.root]
        self.servicectl = f"{sys.executable} -P {script}"
        self.python = getattr(sys, "_base_executable", sys.executable)  # it starts sooner; modules need no library
        self.owner = (os.getuid(), os.getgid())
        self._keeper: subprocess.Popen[bytes] | None = None
        self._made = False

    def boot(self) -> None:
        self.off()
        root = Path(self.root)
        try:
            root.mkdir(parents=True)
        except FileExistsError:
            raise ServiceError(f"{root} is there already. Next: move it away, or name another folder") from None
        self._made = True
        with (root / "keeper.log").open("wb") as log:
            self._keeper = subprocess.Popen(
                [sys.executable, "-P", CONTENT / "servicectl.py", "run", self.root],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                process_group=0,
            )
        assert self._keeper.stdout is not None
        line = self._keeper.stdout.readline()
        if not line:
            said = (root / "keeper.log").read_text("utf-8", "replace")
            self.off()
            raise ServiceError(f"{self.name} does not start: {said.strip() or 'no reason given'}")
        self.address = json.loads(line)["address"]

    def off(self) -> None:
        if self._keeper is not None:
            with self._keeper as keeper:
                assert keeper.stdin is not None
                keeper.stdin.close()
                try:
                    keeper.wait(_OFF_SECONDS)
                except subprocess.TimeoutExpired:
                    keeper.kill()  # the filter then ends by its own lifeline
            self._keeper = None
        if self._made:
            shutil.rmtree(self.root, ignore_errors=True)
            self._made = False
