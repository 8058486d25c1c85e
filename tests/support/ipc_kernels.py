"""A pytest plugin: nbval's kernels talk over Unix sockets.

Over TCP a kernel binds ports that its starter has found free a moment before. Two starters side by side can find the
same one, and then one of their kernels dies.
"""

from itertools import count
from tempfile import TemporaryDirectory
from typing import Any

import nbval.kernel
from jupyter_client.manager import KernelManager

_sockets = TemporaryDirectory(prefix="opslab-nbval-")  # removed when pytest ends
_number = count(1)


def _manager(**options: Any) -> KernelManager:
    return KernelManager(transport="ipc", ip=f"{_sockets.name}/{next(_number)}", **options)


nbval.kernel.KernelManager = _manager
