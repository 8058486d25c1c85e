"""jupyter_client's view of a kernel that the kernel server started, without its fixed waits."""

import asyncio
import time
from queue import Empty
from typing import Any

from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import LocalProvisioner
from traitlets import Any as AnyTrait

__all__ = ["PromptClient", "ServedProvisioner"]


class ServedProvisioner(LocalProvisioner):
    """A local kernel whose process the host's server owns; connection file and signals as usual."""

    host = AnyTrait()
    label = AnyTrait()

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Ask the server for a kernel; its process leads a session and a group of its own."""
        process: Any = self.host.launch(self.label, cmd, kwargs["env"], kwargs["cwd"])
        self.process, self.pid, self.pgid, self.cwd = process, process.pid, process.pid, kwargs["cwd"]
        return self.connection_info

    async def shutdown_requested(self, restart: bool = False) -> None:
        """Watch closely for the kernel's polite end (jupyter_client looks once in 100 ms), then insist."""
        limit = time.monotonic() + self.get_shutdown_wait_time() / 2
        while self.process is not None and self.process.poll() is None and time.monotonic() < limit:
            await asyncio.sleep(0.005)
        if self.process is not None and self.process.poll() is None:
            await self.terminate()


class PromptClient(AsyncKernelClient):
    """A client that is ready when the kernel is.

    jupyter_client's own then waits until the output channel has been silent for 200 ms. That is for clients
    that do not look at whose output they receive; nbclient does.
    """

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait for an answer and for a first message on the output channel, which shows that outputs arrive.

        Raises ``RuntimeError`` when the kernel dies or ``timeout`` seconds pass.
        """
        limit = time.monotonic() + (float("inf") if timeout is None else timeout)
        while time.monotonic() < limit:
            request = self.kernel_info()
            try:
                while (message := await self.shell_channel.get_msg(timeout=1))["parent_header"].get(
                    "msg_id"
                ) != request:
                    pass
                await self.iopub_channel.get_msg(timeout=0.2)
            except Empty:
                if not await self.is_alive():
                    raise RuntimeError("the kernel died while it started") from None
            else:
                self._handle_kernel_info_reply(message)
                return
        raise RuntimeError(f"the kernel did not answer within {timeout:g} s")
