"""The network between the parts, as a proxy in a process of its own: it can be slow, lossy, cut, or change what passes.

It works on connections and what they carry, not on packets: loss is a connection that breaks. It ends with its maker.
"""

import asyncio
import contextlib
import json
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self

from mlops_helpers.errors import ParameterError, ServiceError
from mlops_helpers.respond.side_process import SideProcess
from mlops_helpers.respond.ways import Ways

__all__ = ["Quality", "Wires"]

_END_SECONDS = 5.0


@dataclass(frozen=True)
class Quality:
    """How a wire is: seconds of ``delay`` each way, share of chunks at which the connection breaks (``loss``), ``cut``:
    nothing passes and nobody is told; ``rewrite`` replaces one text by another of the same length on the way there.

    Raises ``ParameterError`` for values out of range.
    """

    delay: float = 0.0
    loss: float = 0.0
    cut: bool = False
    rewrite: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.delay <= 60 and 0 <= self.loss <= 1):
            raise ParameterError(f"delay is {self.delay}, loss {self.loss}; accepted: 0 to 60 seconds, 0 to 1")
        if self.rewrite and len(self.rewrite[0].encode()) != len(self.rewrite[1].encode()):
            raise ParameterError(f"rewrite is {self.rewrite}; accepted: two texts of the same length in bytes")


class Wires:
    """Wires by name, each from an address of its own to a ``target`` (host:port). A context."""

    def __init__(self) -> None:
        self.addresses: dict[str, str] = {}
        self._process: SideProcess | None = None

    @property
    def pid(self) -> int | None:
        """The process that all wires run in."""
        return self._process.pid if self._process else None

    def __enter__(self) -> Self:
        self._process = SideProcess("mlops_helpers.respond.wires", "the process of the wires")
        return self

    def lay(self, name: str, target: str) -> str:
        """Lay a wire to a target and return the address of this end. Raises ``ServiceError``."""
        self.addresses[name] = self._ask({"lay": name, "target": target})["address"]
        return self.addresses[name]

    def front(self, targets: Sequence[str], **options: float) -> tuple[str, Callable[[float], int]]:
        """Return the address of a new front of targets, with the ``options`` of :class:`Ways`.

        Also a function: how often has it acted since a moment (epoch seconds)? Raises ``ServiceError``.
        """
        made = self._ask({"front": [*targets], "options": options})

        def acted(since: float) -> int:
            count: int = self._ask({"acted": made["number"], "since": since})["count"]
            return count

        return made["address"], acted

    def set(self, name: str, quality: Quality) -> None:
        """Make a wire so, for connections that there are as well. Raises ``ParameterError`` for an unknown wire."""
        if name not in self.addresses:
            raise ParameterError(f"there is no wire {name!r}; there are: {', '.join(self.addresses)}")
        self._ask({"set": name, "quality": asdict(quality)})

    def _ask(self, line: dict[str, Any]) -> dict[str, Any]:
        if self._process is None:
            raise ServiceError("the wires were not started. Next: with Wires() as wires")
        return self._process.ask(line)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None:
            self._process.close(_END_SECONDS)


class _Wire:
    def __init__(self, target: str) -> None:
        self.host, _, port = target.rpartition(":")
        self.port = int(port)
        self.quality = Quality()
        self.changed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(self.host, self.port)
        except OSError:
            writer.transport.abort()
            return
        ways = [
            asyncio.create_task(self._carry(reader, there_writer, True)),
            asyncio.create_task(self._carry(there_reader, writer, False)),
        ]
        _, left = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in left:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for end in (writer, there_writer):
            end.transport.abort() if end.transport.get_write_buffer_size() == 0 else end.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, there: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65_536):
                quality = self.quality
                if quality.delay:
                    await asyncio.sleep(quality.delay)
                while self.quality.cut:
                    await self.changed.wait()
                if quality.loss and random.random() < quality.loss:
                    return
                if there and quality.rewrite:
                    chunk = chunk.replace(quality.rewrite[0].encode(), quality.rewrite[1].encode())
                writer.write(chunk)
                await writer.drain()


async def _listening(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> asyncio.Server:
    return await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)


async def _run() -> None:
    loop, servers = asyncio.get_running_loop(), []
    wires: dict[str, _Wire] = {}
    fronts: list[Ways] = []
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(0, "rb", buffering=0))
    while line := await lines.readline():
        told = json.loads(line)
        answer: dict[str, Any] = {}
        if "acted" in told:
            answer = {"count": sum(at >= told["since"] for at in fronts[told["acted"]].acted)}
        elif "set" in told:
            wire = wires[told["set"]]
            rewrite = told["quality"].pop("rewrite")
            wire.quality = Quality(**told["quality"], rewrite=tuple(rewrite) if rewrite else None)
            wire.changed.set()
            wire.changed = asyncio.Event()
        else:
            if "lay" in told:
                wires[told["lay"]] = wire = _Wire(told["target"])
                serve = wire.serve
            else:
                fronts.append(Ways(told["front"], **told["options"]))
                serve, answer = fronts[-1].serve, {"number": len(fronts) - 1}
            servers.append(await _listening(serve))
            answer["address"] = f"127.0.0.1:{servers[-1].sockets[0].getsockname()[1]}"
        print(json.dumps(answer), flush=True)
    os._exit(0)  # connections under way are of no use to anybody any more


if __name__ == "__main__":
    asyncio.run(_run())
