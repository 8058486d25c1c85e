"""A pytest plugin: nbval's kernels talk over Unix sockets.

Over TCP a kernel binds ports that its starter has found free a moment before. Two starters side by side can find the
same one, and then one of their kernels dies.
"""

from functools import partial

import nbval.kernel

nbval.kernel.KernelManager = partial(nbval.kernel.KernelManager, transport="ipc")
