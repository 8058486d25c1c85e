"""Hosts that are kept in one state: said once, brought about as often as needed, and looked after.

:func:`converge` brings every host to what the folder of the hosts says, :func:`check` says what is not so and touches
nothing, :func:`rotate_secret` changes the secret while requests are answered.
"""

import os
import re
import secrets
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from mlops_helpers.deploy import hosts_files
from mlops_helpers.deploy.hosts_ansible import HostsFailed, Result, encrypt, play
from mlops_helpers.deploy.hosts_docker import Containers
from mlops_helpers.deploy.hosts_machines import Folders, Machine, Place
from mlops_helpers.deploy.ownership import MARK, owner
from mlops_helpers.deploy.release import Release
from mlops_helpers.errors import ParameterError, ServiceError
from mlops_helpers.workspace import workspace

__all__ = ["Hosts", "HostsFailed", "Release", "Result", "check", "converge", "rotate_secret"]

_PLACES: dict[str, Callable[[Path], Place]] = {"process": Folders, "docker": Containers}
_NAME = re.compile(r"[a-z][a-z0-9-]{0,19}")
_TAKEN = {"all", "filters", "ungrouped", "localhost"}  # mean something in an inventory
_SECRET = re.compile(r"[A-Za-z0-9._~+/-]{20,200}=*")  # a bearer token (RFC 6750), too long to be guessed


class Hosts:
    """Machines by name, and a new folder that says what they should be like (see :mod:`.hosts_files`).

    ``runtime`` is ``process`` (folders play machines) or ``docker`` (containers do). Both end, and the folder is
    removed, with :meth:`down`, this object, or the interpreter; ``opslab platform down --all`` removes what killed
    makers leave.

    A context; or call :meth:`up` and :meth:`down`. Raises ``ParameterError`` for other values.
    """

    def __init__(self, names: Sequence[str] = ("alpha", "beta", "gamma"), *, runtime: str = "process") -> None:
        if runtime not in _PLACES:
            raise ParameterError(f"runtime is {runtime!r}; accepted: {', '.join(_PLACES)}")
        self.runtime, self.admin_token = runtime, secrets.token_urlsafe(32)
        self._names = _checked(names)
        self._machines: dict[str, Machine] = {}
        self._places: list[Place] = []
        self.folder = Path(tempfile.mkdtemp(dir=workspace("hosts")))
        (self.folder / MARK).write_text(owner(), "utf-8")
        self._end = weakref.finalize(self, _end, os.getpid(), self._machines, self._places, self.folder)

    def up(self) -> "Hosts":
        """Switch all machines on, once; none of them runs a filter yet.

        Raises ``ServiceError`` when Ansible is missing or a machine does not start, ``RuntimeUnavailable`` when there
        is no Docker, ``ImageError`` when its image cannot be built. Nothing is left running then.
        """
        if self._places or not self._end.alive:
            raise ServiceError("these hosts were started before. Next: make others")
        try:
            self._places.append(_PLACES[self.runtime](self.folder))
            self._places[0].open()
            _encrypt_token(self.folder, self.admin_token)
            self._boot(self._names)
        except BaseException:
            self.down()
            raise
        return self

    def down(self) -> None:
        """Switch all machines off, with everything on them, and remove the folder; safe twice."""
        self._end()

    def __enter__(self) -> "Hosts":
        return self.up()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.down()

    def __iter__(self) -> Iterator[Machine]:
        return iter(list(self._machines.values()))

    def __getitem__(self, name: str) -> Machine:
        """Return a machine. Raises ``ParameterError`` naming those that there are."""
        try:
            return self._machines[name]
        except KeyError:
            raise ParameterError(f"there is no host {name!r}; there are: {', '.join(self._machines)}") from None

    @property
    def addresses(self) -> dict[str, str]:
        """Host and port of each machine's filter, by name."""
        return {machine.name: machine.address for machine in self}

    def require_up(self) -> None:
        """Raise ``ServiceError`` before :meth:`up` and after :meth:`down`."""
        if not (self._machines and self._end.alive):
            raise ServiceError("these hosts are not up. Next: up(), or with Hosts() as hosts")

    def add(self, *names: str) -> None:
        """Switch further machines on, and have them in the inventory; :func:`converge` makes them like the others.

        Raises ``ParameterError`` for a name that is taken or not accepted, ``ServiceError`` when one does not start.
        """
        self.require_up()
        self._boot(_checked(names, self._machines))

    def _boot(self, names: Sequence[str]) -> None:
        fresh = {name: self._places[0].machine(name) for name in names}
        self._machines.update(fresh)  # first: what is interrupted while it starts has to be switched off as well
        try:
            with ThreadPoolExecutor() as pool:
                list(pool.map(lambda machine: machine.boot(), fresh.values()))
        except BaseException:
            for name, machine in fresh.items():
                machine.off()
                del self._machines[name]
            raise
        hosts_files.write_inventory(self.folder, self)

    def power_off(self, name: str) -> None:
        """Switch a machine off at once. It stays in the inventory: it ought to be there."""
        self[name].off()

    def replace(self, name: str) -> None:
        """Put a new, empty machine in the place of one. Raises ``ServiceError`` when it does not start."""
        self[name].boot()
        hosts_files.write_inventory(self.folder, self)


def converge(hosts: Hosts, release: Release | None = None) -> Result:
    """Bring every host to what the folder of the hosts says, which becomes ``release`` if that is given.

    A host that is as it should be is not touched. One whose filter has to be replaced answers all the while, and goes
    on as before when the new one does not start.

    Raises :class:`HostsFailed`, after all hosts had their turn, when some failed; ``ServiceError`` when Ansible does
    not get as far as the hosts; ``ParameterError`` when no release was ever given.
    """
    if release is not None:
        hosts.require_up()
        hosts_files.write_release(hosts.folder, release)
    return _play(hosts)


def check(hosts: Hosts) -> Result:
    """Say what :func:`converge` would change on each host, and change nothing. Raises what that raises."""
    return _play(hosts, "--check", "--diff")


def rotate_secret(hosts: Hosts, new: str | None = None) -> Result:
    """Encrypt a new admin token (None: a random one) and bring it to every host. Raises what :func:`converge` raises.

    A host that fails keeps the old one, until it converges. Raises ``ParameterError`` for one that could be guessed.
    """
    token = secrets.token_urlsafe(32) if new is None else new
    if not _SECRET.fullmatch(token):
        raise ParameterError("this is no good secret; accepted: 20 to 200 letters, digits and . _ ~ + / -")
    hosts.require_up()
    _encrypt_token(hosts.folder, token)
    hosts.admin_token = token
    return _play(hosts)


def _play(hosts: Hosts, *options: str) -> Result:
    hosts.require_up()
    if not hosts_files.release(hosts.folder).exists():
        raise ParameterError("nobody has said yet what these hosts should run. Next: converge(hosts, release)")
    return play(hosts.folder, *options)


def _encrypt_token(folder: Path, token: str) -> None:
    encrypt(folder, f'filter_token: "{token}"\n')


def _checked(names: Sequence[str], taken: Sequence[str] | dict[str, Machine] = ()) -> Sequence[str]:
    for place, name in enumerate(names):
        if not _NAME.fullmatch(name) or name in _TAKEN or name in taken or name in names[:place]:
            raise ParameterError(
                f"host {name!r}; accepted: up to 20 lower-case letters, digits, -, the first a letter, each once, "
                f"and none of {', '.join(sorted(_TAKEN | set(taken)))}"
            )
    if not names:
        raise ParameterError("no host is named; accepted: at least one, such as ['alpha']")
    return names


def _end(owner: int, machines: dict[str, Machine], places: Sequence[Place], folder: Path) -> None:
    if os.getpid() != owner:  # a forked child ends with a copy of what is not its own
        return
    with ExitStack() as stack:  # whatever becomes of one, the others have their turn
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for one in places:
            stack.callback(one.close)
        for machine in machines.values():
            stack.callback(machine.off)
