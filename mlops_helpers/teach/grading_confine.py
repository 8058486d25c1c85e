"""Inside the grading sandbox: namespaces, limits and the loss of every right, before a submission's first cell runs.

All of it is Linux's own interface, called by ``ctypes``; a call that fails raises ``OSError``, so that no submission
runs with less than all of it.
"""

import ctypes
import fcntl
import os
import platform
import resource
import socket
import struct
from pathlib import Path
from typing import Any

__all__ = [
    "HOME",
    "drop_root",
    "enter_namespaces",
    "give_up_rights",
    "is_root_of_machine",
    "limit_resources",
    "own_folders",
    "protect_proc",
]

HOME = "/tmp/home"  # noqa: S108 (the sandbox's own)

_NEW_NAMESPACES = {"user": 0x10000000, "mnt": 0x20000, "ipc": 0x8000000, "uts": 0x4000000, "net": 0x40000000}
_NEW_PID = 0x20000000
_NOSUID_NODEV = 0x2 | 0x4
_NOEXEC = 0x8
_BIND = 0x1000 | 0x4000  # with what is mounted below
_READ_ONLY_FROM_NOW_ON = 0x1000 | 0x20 | 0x1
_PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 4, 24, 38
_CAPABILITY_VERSION = 0x20080522
_MAPPED = 4
_LAST_CAPABILITY = 63  # the kernel says where they end
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_PROCESSES_PER_NAMESPACE = (5, 14)  # the kernel from which a user's processes are counted within each user namespace

_libc = ctypes.CDLL(None, use_errno=True)


def _must(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(kind: str, target: str, flags: int, options: str = "") -> None:
    _must(_libc.mount(kind.encode(), target.encode(), kind.encode(), flags, options.encode()), f"mount on {target}")


def is_root_of_machine() -> bool:
    """Say whether this user is the one whom the kernel's own files belong to; root of a container may be another."""
    return os.stat("/proc/sys/kernel").st_uid == os.getuid()  # noqa: PTH116


def drop_root(user: int) -> None:
    """Mount ``/proc``, then become ``user`` for good, as limits of processes do not bind root (0: stay what it is).

    Only where root runs the sandbox; for others bubblewrap mounts it, and no limit forgets them.
    """
    _mount("proc", "/proc", _NOSUID_NODEV | _NOEXEC)
    if user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        give_up_rights()
        _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # its own files in /proc are its own again: it writes its user map


def enter_namespaces() -> None:
    """Leave the namespaces of this process behind; the next child is process 1 of the new ones."""
    user, group = os.getuid(), os.getgid()
    flags = _NEW_PID
    for flag in _NEW_NAMESPACES.values():
        flags |= flag
    _must(_libc.unshare(flags), "unshare")
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{user} {user} 1")
    _write("/proc/self/gid_map", f"{group} {group} 1")


def own_folders(disk_bytes: int, needed: list[str]) -> None:
    """In process 1: own ``/proc``, own and bounded temporary folders, own loopback, and no namespaces below these.

    ``needed``: folders that are mounted within the temporary ones, and shall be there again.
    """
    _mount("proc", "/proc", _NOSUID_NODEV | _NOEXEC)
    kept = {folder: os.open(folder, os.O_PATH) for folder in needed}
    for folder in ("/tmp", "/dev/shm"):  # noqa: S108 (the sandbox's own)
        _mount("tmpfs", folder, _NOSUID_NODEV, f"size={disk_bytes},nr_inodes=20000,mode=0700")
    for folder, descriptor in kept.items():
        os.makedirs(folder, 0o700)  # noqa: PTH103
        source = f"/proc/self/fd/{descriptor}".encode()
        _must(_libc.mount(source, folder.encode(), None, _BIND, None), f"mount on {folder}")
        os.close(descriptor)
    for folder in (HOME, "/tmp/submission"):  # noqa: S108
        os.mkdir(folder, 0o700)  # noqa: PTH102
    os.chdir("/tmp/submission")  # noqa: S108
    with socket.socket() as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
    _write("/proc/sys/user/max_user_namespaces", "0")


def protect_proc() -> None:
    """Let nobody write to ``/proc`` any more: whoever it belongs to, the kernel's settings stay what they are."""
    flags = _READ_ONLY_FROM_NOW_ON | _NOSUID_NODEV | _NOEXEC
    _must(_libc.mount(None, b"/proc", None, flags, None), "/proc read-only")


def limit_resources(limits: dict[str, Any], confined: bool) -> None:
    """Set the limits of this process and of those that it will start."""
    _write("/proc/self/oom_score_adj", "1000")  # when the machine has no memory left, these go first
    fields = Path("/proc/self/statm").read_text().split()
    mapped, data = (int(fields[place]) * resource.getpagesize() for place in (0, 5))
    values = {
        resource.RLIMIT_DATA: data + limits["memory"],
        resource.RLIMIT_AS: mapped + _MAPPED * limits["memory"],  # libraries map much that they never use
        resource.RLIMIT_CPU: limits["seconds"],
        resource.RLIMIT_NOFILE: limits["files"],
        resource.RLIMIT_FSIZE: limits["disk"],
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 1 << 20,
        resource.RLIMIT_MSGQUEUE: 1 << 20,
    }
    release = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])
    if confined and release >= _PROCESSES_PER_NAMESPACE:  # else it would count what the same user runs elsewhere
        values[resource.RLIMIT_NPROC] = limits["processes"]
    for name, value in values.items():
        _, most = resource.getrlimit(name)
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(name, (value, value))


def give_up_rights() -> None:
    """Drop every capability, for good, and with it whatever a set-user-id program would give."""
    _must(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    for number in range(_LAST_CAPABILITY + 1):
        if _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
            break  # there are no more, or there is no right to drop them: none can be gained again either way
    header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    _must(_libc.capset(header, bytes(24)), "capset")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:  # noqa: PTH123 (no folder above it needs to be known)
        file.write(text)
