"""Whose something is that outlives its maker: labels in Docker, and whether that maker still runs."""

import functools
import os
import socket

__all__ = ["FOLDER", "MARK", "NAMESPACE", "OWNER", "RELEASE", "REPLICA", "VERSION", "alive", "owner", "owner_lives"]

NAMESPACE = "opslab."
OWNER = f"{NAMESPACE}owner"  # who made it: process number, when that process was created, host
FOLDER = f"{NAMESPACE}folder"  # of state and logs; a runtime has one of its own
RELEASE = f"{NAMESPACE}release"
VERSION = f"{NAMESPACE}version"
MARK = "owner"  # the file of a folder that says so of it
REPLICA = f"{NAMESPACE}replica"  # its name; a swarm's containers have another label instead


@functools.cache
def _created(pid: int) -> float:
    import psutil

    return float(psutil.Process(pid).create_time())


def owner() -> str:
    """Return what this process writes on what it makes."""
    pid = os.getpid()
    return f"{pid}/{_created(pid)}/{socket.gethostname()}"


def alive(pid: int, created: float | None) -> bool:
    """Say whether a process still runs: the one that was created then, as numbers are given to others."""
    import psutil

    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and created in (None, process.create_time())
    except psutil.NoSuchProcess:
        return False


def owner_lives(label: str) -> bool:
    """Say whether who wrote a label still runs; one on another host, or a label that says too little, may."""
    pid, _, rest = label.partition("/")
    created, _, host = rest.partition("/")
    if not pid.isdecimal() or host not in ("", socket.gethostname()):
        return True
    return alive(int(pid), float(created) if created else None)
