"""Commands and files travel through one command that enters the machine, such as ``docker exec -i NAME``."""

import subprocess
from pathlib import Path

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection import ConnectionBase

__all__ = ["Connection"]

DOCUMENTATION = """
name: machine
short_description: run on a machine that a command enters
description: Everything goes through standard input and output of that command.
options:
  enter:
    description: The command, as a list; what is to be run is appended.
    type: list
    elements: str
    required: true
    vars: [{name: machine_enter}]
extends_documentation_fragment: [connection_pipelining]
"""

SECONDS = 120.0  # one task on one host
UNREACHABLE = (b"Error", b"Cannot connect to the Docker daemon", b"permission denied while trying to connect")


class Connection(ConnectionBase):
    """One task's way into one machine."""

    transport = "machine"
    has_pipelining = True

    def _connect(self) -> "Connection":
        self._connected = True
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run a command of the shell there."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        command = [*self.get_option("enter"), "/bin/sh", "-c", cmd]
        try:
            done = subprocess.run(command, input=in_data or b"", capture_output=True, timeout=SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise AnsibleConnectionFailure(f"no answer: {error}") from error
        if done.returncode and done.stderr.startswith(UNREACHABLE):
            raise AnsibleConnectionFailure(done.stderr.decode(errors="replace").strip())
        return done.returncode, done.stdout, done.stderr

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy a file to the machine."""
        self._copy(f"cat > {self._shell.quote(out_path)}", Path(in_path).read_bytes())

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy a file from the machine."""
        Path(out_path).write_bytes(self._copy(f"cat {self._shell.quote(in_path)}", b""))

    def _copy(self, command: str, data: bytes) -> bytes:
        code, output, said = self.exec_command(command, data)
        if code:
            raise AnsibleConnectionFailure(f"{command}: {said.decode(errors='replace').strip()}")
        return output

    def close(self) -> None:
        """Nothing is kept open."""
        self._connected = False
