"""What this process holds: compared before and after a test, since earlier tests' programs may go on (a cluster's)."""

import gc
import threading
from pathlib import Path
from typing import NamedTuple

import psutil


class Held(NamedTuple):
    """Open descriptors, threads, and processes started from here, their children too."""

    descriptors: list[Path]
    threads: int
    children: set[psutil.Process]


def held() -> Held:
    """Count what is held now, without what was only dropped."""
    gc.collect()
    descriptors = sorted(Path("/proc/self/fd").iterdir())
    return Held(descriptors, threading.active_count(), set(psutil.Process().children(recursive=True)))
