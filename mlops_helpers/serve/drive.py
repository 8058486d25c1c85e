"""Sends what a plan says, when it says so, and records what became of it; run as a process by ``traffic``.

Nothing scientific is imported here: a load generator that still imports is late.
"""

import asyncio
import contextlib
import functools
import gc
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from mlops_helpers.serve.blackbox import Record, Recorder
from mlops_helpers.serve.client import Pool
from mlops_helpers.serve.plan import Arrival, Comment
from mlops_helpers.serve.visitors import Visitors

__all__ = ["Settings", "drive"]

_FLUSH_SECONDS = 0.05
_UNINTERRUPTED = 16  # arrivals sent in a row before answers are looked at: who is behind must not go deaf, too


@dataclass(frozen=True)
class Settings:
    """Where traffic goes and how; see :class:`mlops_helpers.serve.traffic.Traffic`."""

    host: str
    port: int
    api: str = "blog"
    timeout: float = 2.0
    connections: int = 512
    concurrency: int | None = None
    retries: int = 0
    run: str = ""


async def drive(
    settings: Settings,
    arrivals: Sequence[Arrival],
    file: BinaryIO,
    *,
    token: str = "",
    stop: asyncio.Event | None = None,
) -> None:
    """Send the arrivals (in order of ``at``) and write one record for each to ``file``.

    Returns when all are answered or given up. After ``stop`` is set nothing more is sent: what is under way is
    finished, what (in a closed loop) is overdue is recorded as ``stopped``, what was not yet due is not recorded.
    Raises ``OSError`` when the record cannot be written.
    """
    run = _Run(settings, arrivals, file, token, stop or asyncio.Event())
    try:
        await run.send_all()
        await run.wait_for_answers()
    finally:
        await run.close()


class _Run:
    def __init__(
        self, settings: Settings, arrivals: Sequence[Arrival], file: BinaryIO, token: str, stop: asyncio.Event
    ) -> None:
        self.arrivals, self.stop = arrivals, stop
        self.open_loop = settings.concurrency is None
        self.defect: BaseException | None = None
        self.limit = settings.concurrency or settings.connections
        self.pool = Pool(settings.host, settings.port, size=self.limit)
        self.tasks: set[asyncio.Task[None]] = set()
        self.overdue: deque[tuple[Arrival, Record]] = deque()  # of a closed loop: due, but nobody is free to send it
        header = asdict(settings) | {"planned": len(arrivals), "started_at": datetime.now(UTC).isoformat()}
        self.start = self.flushed = time.perf_counter()  # the event loop's own clock has steps of a millisecond
        self.recorder = Recorder(file, header)
        self.visitors = Visitors(
            self.pool,
            self.clock,
            self.recorder.add,
            api=settings.api,
            timeout=settings.timeout,
            retries=settings.retries,
            run=settings.run,
            token=token,
        )

    def clock(self) -> float:
        return time.perf_counter() - self.start

    async def send_all(self) -> None:
        for number, arrival in enumerate(self.arrivals):
            if number % _UNINTERRUPTED == 0:
                await self.nap(0)
            while (wait := arrival.at - self.clock()) > 0 and not self.stop.is_set():
                await self.nap(wait)
            if self.stop.is_set():
                return
            self.arrive(arrival)

    async def wait_for_answers(self) -> None:
        while self.tasks:
            if self.stop.is_set():
                self.give_up_overdue()
            await self.nap(_FLUSH_SECONDS)

    async def nap(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, _FLUSH_SECONDS))
        now = time.perf_counter()
        if now - self.flushed >= _FLUSH_SECONDS:
            self.flushed = now
            self.recorder.flush()
        if self.defect is not None:
            raise self.defect

    def arrive(self, arrival: Arrival) -> None:
        comment = arrival.comment
        record = Record(arrival.at, arrival.kind, arrival.reader, late=self.clock() - arrival.at)
        if comment is not None:
            record.label, record.campaign = comment.label, comment.campaign
        if len(self.tasks) < self.limit:
            self.send(arrival, record)
        elif self.open_loop:
            record.outcome = "no_connection"
            self.recorder.add(record)
        else:
            self.overdue.append((arrival, record))

    def send(self, arrival: Arrival, record: Record) -> None:
        task = asyncio.get_running_loop().create_task(self.visitors.visit(arrival, record))
        self.tasks.add(task)
        task.add_done_callback(functools.partial(self.ended, record))

    def ended(self, record: Record, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.defect = task.exception()
        if self.open_loop and record.sent is not None:
            record.late = record.sent - record.intended
        self.recorder.add(record)
        if self.overdue:
            self.send(*self.overdue.popleft())

    def give_up_overdue(self) -> None:
        while self.overdue:
            self.recorder.add(self.overdue.popleft()[1])

    async def close(self) -> None:
        self.give_up_overdue()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.pool.close()
        self.recorder.flush()


def _main() -> None:
    order = orjson.loads(sys.stdin.buffer.readline())
    arrivals = [_arrival(fields) for fields in orjson.loads(sys.stdin.buffer.read(order["plan_bytes"]))]
    gc.freeze()  # a collection that walks through the plan would be seen as a slow server
    with Path(order["record"]).open("wb") as file, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_drive_until_alone(Settings(**order["settings"]), arrivals, file, order["token"]))


def _arrival(fields: dict[str, Any]) -> Arrival:
    comment = fields.pop("comment")
    return Arrival(**fields, comment=None if comment is None else Comment(**comment))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


async def _drive_until_alone(settings: Settings, arrivals: Sequence[Arrival], file: BinaryIO, token: str) -> None:
    """Drive until the plan is done or standard input ends: the other side, which holds it open, stopped or died."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def watch() -> None:
        os.read(0, 1)
        with contextlib.suppress(RuntimeError):  # the run was over before
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=watch, daemon=True).start()
    await drive(settings, arrivals, file, token=token, stop=stop)


if __name__ == "__main__":
    _main()
