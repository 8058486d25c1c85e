"""One run of Ansible: its own program in a process of its own, which writes nowhere but below one folder.

What it did is read from events, one line of JSON a task and host, which a callback plugin of ours writes: ansible-core
has no output for programs. What it says on the screen is kept for people.
"""

import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_helpers.deploy import hosts_files
from mlops_helpers.deploy import hosts_program as program
from mlops_helpers.deploy.hosts_machines import CONTENT
from mlops_helpers.errors import ServiceError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["HostsFailed", "Result", "encrypt", "play"]


@dataclass(frozen=True)
class Result:
    """What a run did, host by host.

    ``changed`` names the tasks that changed something (in check mode: would), ``failed`` says what went wrong on a
    host, which then did not get the rest. ``output`` is what Ansible printed, ``seconds`` how long it took.
    """

    changed: Mapping[str, Sequence[str]]
    failed: Mapping[str, str]
    output: str
    seconds: float

    @property
    def ok(self) -> list[str]:
        """The hosts that came through."""
        return [host for host in self.changed if host not in self.failed]

    def frame(self) -> "pd.DataFrame":
        """Return a row a host: what changed, what failed."""
        import pandas as pd

        rows = {
            host: {"changed": ", ".join(tasks) or "nothing", "failed": self.failed.get(host, "")}
            for host, tasks in self.changed.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index")


class HostsFailed(ServiceError):
    """Some hosts could not be brought to their state; all others were. ``result`` has both."""

    def __init__(self, result: Result) -> None:
        failed = [f"{host}: {why}" for host, why in result.failed.items()]
        super().__init__("\n  ".join([f"{len(failed)} of {len(result.changed)} hosts failed:", *failed]))
        self.result = result


def play(folder: Path, *options: str, playbook: Path = CONTENT / "playbook.yml") -> Result:
    """Run a playbook for the inventory in a folder; ``options`` are those of ``ansible-playbook``.

    Every host gets its turn, whatever becomes of the others. Raises :class:`HostsFailed` when some failed, and
    ``ServiceError`` when Ansible is missing, does not get as far as the hosts (the playbook, the vault's password), or
    hangs. An interrupt ends it.
    """
    began = time.monotonic()
    hosts = hosts_files.inventory(folder)
    with tempfile.TemporaryDirectory(prefix="run-", dir=folder) as scratch:
        events = Path(scratch) / "events"
        command = ["playbook", "--inventory", str(hosts), *options, str(playbook)]
        done = _ansible(folder, Path(scratch), command, OPSLAB_EVENTS=str(events))
        noted = [json.loads(line) for line in events.read_text("utf-8").splitlines()] if events.exists() else []
    if not any(event["state"] == "end" for event in noted):
        raise ServiceError(f"the playbook did not get to its end: {program.tail(done, '[WARNING]')}")
    result = _result(noted, done.stdout, time.monotonic() - began)
    if result.failed:
        raise HostsFailed(result)
    return result


def encrypt(folder: Path, content: str) -> None:
    """Write the vault of a folder. Raises ``ServiceError``."""
    with tempfile.TemporaryDirectory(prefix="run-", dir=folder) as scratch:
        path = Path(scratch) / "vault.yml"
        done = _ansible(folder, Path(scratch), ["vault", "encrypt", "--output", str(path), "-"], content)
        if done.returncode:
            raise ServiceError(f"the secret could not be encrypted: {program.tail(done, '[WARNING]')}")
        hosts_files.vault(folder).parent.mkdir(parents=True, exist_ok=True)
        path.replace(hosts_files.vault(folder))


def _ansible(folder: Path, scratch: Path, command: Sequence[str], content: str = "", **more: str) -> program.Done:
    if importlib.util.find_spec("ansible") is None:
        raise ServiceError("ansible-core is not installed. Next: make setup, or pip install ansible-core")
    own = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    ours = {
        "ANSIBLE_CONFIG": str(CONTENT / "ansible.cfg"),
        "ANSIBLE_HOME": str(scratch),
        "ANSIBLE_VAULT_PASSWORD_FILE": str(hosts_files.vault_password(folder)),
        "LC_ALL": "C.UTF-8",  # it refuses to run in other encodings
        "TMPDIR": str(scratch),
    }
    return program.run([sys.executable, "-P", "-m", "ansible", *command], scratch, own | ours | more, content)


def _result(events: Sequence[Mapping[str, Any]], output: str, seconds: float) -> Result:
    changed: dict[str, list[str]] = {}
    failed: dict[str, str] = {}
    for event in events[:-1]:
        tasks = changed.setdefault(event["host"], [])
        if event["changed"]:
            tasks.append(event["task"])
        if event["state"] != "ok":
            failed[event["host"]] = f"{event['state']} ({event['task']}): {event['said'].strip()}"
    return Result(dict(sorted(changed.items())), dict(sorted(failed.items())), output, seconds)
