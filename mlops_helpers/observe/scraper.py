"""Scrapes targets into a store at an interval, in a thread of its own.

Samples carry the wall clock's time of their scrape, as in Prometheus; what happens when goes by the monotonic clock, so
that a wall clock which jumps stops nothing (samples that would go back in time are refused and counted by the store).
"""

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

from mlops_helpers.errors import MetricsError
from mlops_helpers.observe.fetch import Page
from mlops_helpers.observe.store import Store

__all__ = ["Scraper"]


class _Watched:
    """A target under way: how many scrapes of it began and ended."""

    def __init__(self, job: str, page: Page) -> None:
        self.page = page
        self.labels = {"job": job, "instance": page.instance}
        self.began = self.ended = 0
        self.task: asyncio.Task[None] | None = None


class Scraper:
    """Scrapes ``targets`` (job -> addresses, ``host:port`` or URLs) every ``interval`` seconds into ``store``.

    Use it as a context manager::

        with Scraper(store, {"filter": ["127.0.0.1:8001"]}) as scraper:
            scraper.wait_for(2)

    Each scrape may take ``timeout`` seconds (default: the interval) and ``most_bytes``; one that fails makes ``up`` 0,
    with the reason in ``store.targets()``, and never stops the others. Raises ``MetricsError`` for an address that is
    none, one that is named twice, and an interval or timeout that is not above 0.
    """

    def __init__(
        self,
        store: Store,
        targets: Mapping[str, Iterable[str]],
        *,
        interval: float = 1.0,
        timeout: float | None = None,
        most_bytes: int = 8 << 20,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._timeout = interval if timeout is None else timeout
        if not (interval > 0 and 0 < self._timeout <= interval):
            raise MetricsError(f"interval {interval}, timeout {timeout}; accepted: 0 < timeout <= interval, in seconds")
        self.store, self.interval, self._most_bytes, self._clock = store, interval, most_bytes, clock
        self._targets: dict[tuple[str, str], _Watched] = {}
        self._progress = threading.Condition()
        self._ended = 0  # scrapes of all targets
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        for job, addresses in targets.items():
            for address in addresses:
                self.add(job, address)

    def start(self) -> "Scraper":
        """Begin; every target is scraped at once, and from then on at the interval."""
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="scraper", daemon=True)
        self._thread.start()
        ready.wait()
        if self._loop is None:
            raise MetricsError("the scraper did not start: no event loop; are there too many open files?")
        return self

    def stop(self) -> None:
        """End; may be called twice. The last values stay as they are: nothing is marked stale."""
        loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(self._end.set)
            thread.join()

    def __enter__(self) -> "Scraper":
        return self.start()

    def __exit__(self, *raised: object) -> None:
        self.stop()

    def add(self, job: str, address: str) -> None:
        """Scrape one more target, at once and from then on.

        Raises ``MetricsError`` for an address that is none, and for one that this job has.
        """
        target = _Watched(job, Page(address, most_bytes=self._most_bytes))
        if self._targets.setdefault((job, target.page.instance), target) is not target:
            raise MetricsError(f"{target.page.instance} of {job} is scraped already")
        if self._loop:
            asyncio.run_coroutine_threadsafe(self._begin(target), self._loop).result()

    def remove(self, job: str, address: str) -> None:
        """Scrape a target no longer: its series are stale from now on.

        Raises ``MetricsError`` when there is no such target.
        """
        instance = Page(address, most_bytes=self._most_bytes).instance
        target = self._targets.pop((job, instance), None)
        if target is None:
            there_are = ", ".join(f"{one} of {of}" for of, one in self._targets) or "none"
            raise MetricsError(f"{instance} of {job} is not scraped; there are: {there_are}")
        if self._loop:
            asyncio.run_coroutine_threadsafe(self._finish(target), self._loop).result()
        self.store.remove(self._clock(), target.labels)

    def wait_for(self, what: int | Callable[[], object], *, within: float = 10.0) -> None:
        """Wait until every target was scraped ``what`` times more, or until the condition ``what`` holds.

        Scrapes count that begin from now on, failed ones too. A condition is called after each scrape; a
        ``MetricsError`` out of it (no such metric, yet) means that it does not hold.

        Raises ``MetricsError`` when it takes longer than ``within`` seconds, saying how the targets are.
        """
        goals = {target: target.began + what for target in self._targets.values()} if isinstance(what, int) else {}
        deadline, reason = time.monotonic() + within, ""
        while True:
            seen = self._ended
            try:
                if all(target.ended >= goal for target, goal in goals.items()) if isinstance(what, int) else what():
                    return
            except MetricsError as error:
                reason = f"; {error}"
            if self._loop is None:
                raise MetricsError("the scraper does not run. Next: start(), or use it as a context manager")
            with self._progress:
                while self._ended == seen and time.monotonic() < deadline:
                    self._progress.wait(deadline - time.monotonic())
            if time.monotonic() >= deadline:
                targets = self.store.targets()[["job", "instance", "up", "error"]].to_dict("records")
                raise MetricsError(f"not so within {within:g} s{reason}; targets: {targets}")

    def _run(self, ready: threading.Event) -> None:
        try:
            asyncio.run(self._main(ready))
        finally:
            ready.set()  # also when there was no loop to be had

    async def _main(self, ready: threading.Event) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        for target in list(self._targets.values()):
            await self._begin(target)
        pushes = asyncio.create_task(self._every(self._repeat))
        ready.set()
        await self._end.wait()
        pushes.cancel()
        for target in list(self._targets.values()):
            await self._finish(target)

    async def _begin(self, target: _Watched) -> None:
        target.task = asyncio.create_task(self._every(lambda: self._scrape(target)))

    async def _finish(self, target: _Watched) -> None:
        if target.task is not None:
            target.task.cancel()  # from here on it adds nothing
        target.page.close()

    async def _every(self, act: Callable[[], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            await act()
            due += self.interval * max(1, math.ceil((loop.time() - due) / self.interval))  # missed ones are not made up
            await asyncio.sleep(due - loop.time())

    async def _scrape(self, target: _Watched) -> None:
        target.began += 1
        at, began = self._clock(), time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout):
                body = await target.page.fetch()
            self.store.append(at, body, target.labels, duration=time.perf_counter() - began)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one target, the others go on
            reason = f"no whole answer within {self._timeout:g} s" if isinstance(error, TimeoutError) else str(error)
            self.store.fail(at, target.labels, reason or type(error).__name__, duration=time.perf_counter() - began)
        with self._progress:
            target.ended += 1
            self._ended += 1
            self._progress.notify_all()

    async def _repeat(self) -> None:
        with contextlib.suppress(MetricsError):  # the store is full, which every target says
            self.store.repeat(self._clock())
