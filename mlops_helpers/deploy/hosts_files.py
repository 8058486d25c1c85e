"""The folder that says what the machines should be like, as Ansible reads it: who wants another state changes it here.

::

    inventory/hosts.yml                         which machines there are, and the way into each
    inventory/group_vars/filters/release.yml    version, hashes and parameters
    inventory/group_vars/filters/vault.yml      the secret, encrypted: this file may be shown to anybody
    releases/v1-0123456789ab.tar                what is brought to the machines
    vault-password                              opens vault.yml; in earnest it is kept somewhere else
    owner                                       the process that made it: when that is gone, this may go
"""

import hashlib
import re
import secrets
import tarfile
from collections.abc import Iterable
from pathlib import Path

import yaml

from mlops_helpers.deploy.hosts_machines import Machine
from mlops_helpers.deploy.release import Limits, Release
from mlops_helpers.errors import ParameterError
from mlops_helpers.workspace import atomic_file

__all__ = ["inventory", "release", "vault", "vault_password", "write_inventory", "write_release"]

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")


def inventory(folder: Path) -> Path:
    """Return the file that names the machines."""
    return folder / "inventory" / "hosts.yml"


def release(folder: Path) -> Path:
    """Return the file that says what the machines should run; missing until somebody has said it."""
    return vault(folder).with_name("release.yml")


def vault(folder: Path) -> Path:
    """Return the file with the encrypted secret."""
    return folder / "inventory" / "group_vars" / "filters" / "vault.yml"


def vault_password(folder: Path) -> Path:
    """Return the file with the password of the vault, made with a new one if it is missing."""
    path = folder / "vault-password"
    if not path.exists():
        path.touch(0o600)
        path.write_text(secrets.token_urlsafe(32) + "\n", encoding="utf-8")
    return path


def write_inventory(folder: Path, machines: Iterable[Machine]) -> None:
    """Write which machines there are. Raises ``WorkspaceError``, as all that writes here."""
    filters = {"hosts": {machine.name: machine.variables() for machine in machines}}
    _write_yaml(inventory(folder), {"filters": filters | {"vars": {"ansible_connection": "machine"}}})


def write_release(folder: Path, wanted: Release) -> None:
    """Write what the machines should run, and pack what is brought to them.

    Raises ``ParameterError`` for a version that is no name for a folder, and for what a host does not take: how many
    there are is said by the inventory, and a limit or an environment would be passed over in silence.
    """
    if not _VERSION.fullmatch(wanted.version):
        raise ParameterError(
            f"version {wanted.version!r}; accepted: up to 32 letters, digits, . _ -, the first no sign"
        )
    if wanted.durability not in ("ack", "async"):
        raise ParameterError(f"durability is {wanted.durability!r}; accepted: ack, async")
    if wanted.replicas != 1 or wanted.limits != Limits() or wanted.environment or wanted.image or wanted.folder:
        raise ParameterError("hosts take a release's version, artifact and durability; accepted: nothing beside them")
    sha256, source = wanted.artifact.sha256, wanted.artifact.folder
    sums = (source / "SHA256SUMS").read_bytes()
    name = f"{wanted.version}-{sha256[:12]}"  # two artifacts never share a folder
    archive = folder / "releases" / f"{name}.tar"
    with atomic_file(archive) as path, tarfile.open(path, "w") as tar:
        for member in sorted(source.iterdir()):
            tar.add(member, f"{name}/{member.name}", filter=_of_nobody)
    variables = {
        "filter_version": wanted.version,
        "filter_release": name,
        "filter_sha256": sha256,
        "filter_hashes": f"{sums.decode()}{hashlib.sha256(sums).hexdigest()}  SHA256SUMS\n",
        "filter_archive": str(archive),
        "filter_durability": wanted.durability,
    }
    _write_yaml(release(folder), variables)


def _of_nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member


def _write_yaml(path: Path, content: object) -> None:
    with atomic_file(path) as stage:
        stage.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
