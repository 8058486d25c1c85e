"""Replicas are ejected when they fail, come back when they are well, and are asked in turn."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from mlops_helpers.serve import upstreams as module
from mlops_helpers.serve.client import RequestFailed, encode_request
from mlops_helpers.serve.upstreams import Replica, Upstreams
from tests.support.asgi import in_event_loop
from tests.support.filters import FakeFilter, filters
from tests.support.waiting import until_async

REQUEST = encode_request("POST", "/v1/classify", b'{"id":"c1","text":"x"}')
LONG = 20.0


@asynccontextmanager
async def upstreams_of(*filters: FakeFilter) -> AsyncIterator[tuple[Upstreams, list[Replica], list[str]]]:
    """Yield upstreams whose replicas are in the order of the filters, and the reasons of failures so far."""
    reasons: list[str] = []
    upstreams = Upstreams(8, lambda version, reason: reasons.append(reason))
    wanted: dict[str, list[str]] = {}
    for one in filters:
        wanted.setdefault(one.version, []).append(one.address)
    await upstreams.change(wanted)
    try:
        yield upstreams, list(upstreams), reasons
    finally:
        await upstreams.close()


@pytest.fixture(autouse=True)
def often(monkeypatch) -> None:
    """Probe a hundred times a second."""
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.01)


@pytest.fixture
def unwatched(monkeypatch) -> None:
    """Let nobody probe but the test."""
    monkeypatch.setattr(module, "PROBE_SECONDS", 3600)


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """A clock that the test moves."""
    hands = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: hands.now))
    return hands


async def failure(replica: Replica, timeout: float = LONG) -> str:
    with pytest.raises(RequestFailed) as failed:
        await replica.ask(REQUEST, timeout)
    return failed.value.reason


@in_event_loop
async def test_one_missed_probe_ejects_nobody_and_two_do(unwatched) -> None:
    async with filters("v1") as (one,), upstreams_of(one) as (_, [replica], _reasons):
        for readyz, state in ((500, "ready"), (200, "ready"), (500, "ready"), (500, "ejected"), (200, "ready")):
            one.readyz = readyz
            await replica.probe()
            assert replica.state == state


@in_event_loop
async def test_three_failures_in_a_row_eject_and_an_answer_in_between_begins_anew(unwatched) -> None:
    async with filters("v1") as (one,), upstreams_of(one) as (_, [replica], reasons):
        for mode, state in ((500, "ready"), (502, "ready"), (404, "ready"), (500, "ready"), (500, "ready")):
            one.mode = mode
            await replica.ask(REQUEST, LONG)
            assert replica.state == state
        one.mode = "hang"
        assert await failure(replica, 0.05) == "timeout"
        assert replica.state == "ejected"
        assert reasons == ["status"] * 4 + ["timeout"]


@in_event_loop
async def test_who_says_ready_and_fails_is_believed_later_each_time(unwatched, clock, monkeypatch) -> None:
    async def eject() -> None:
        one.mode = 500
        for _ in range(3):
            await replica.ask(REQUEST, LONG)
        assert replica.state == "ejected"

    async def seconds_until_believed() -> float:
        began = clock.now
        while replica.state != "ready":
            clock.now += 0.25
            await replica.probe()
        return clock.now - began

    async with filters("v1") as (one,), upstreams_of(one) as (_, [replica], _reasons):
        monkeypatch.setattr(module, "PROBE_SECONDS", 0.25)
        waits = []
        for _ in range(8):
            await eject()
            waits.append(await seconds_until_believed())
        assert waits == [0.25, 0.5, 1, 2, 4, 8, 8, 8]
        one.mode = "answer"
        await replica.ask(REQUEST, LONG)
        await eject()
        assert await seconds_until_believed() == 0.25


@in_event_loop
async def test_a_draining_replica_gets_nothing_new_and_has_not_failed(unwatched) -> None:
    async with filters("v1", "v1") as (one, two), upstreams_of(one, two) as (upstreams, [first, second], reasons):
        one.readyz = 503
        await first.probe()
        assert first.state == "draining" and not reasons
        assert [upstreams.ready("v1") for _ in range(3)] == [second] * 3
        second.state, second.failed_at = "ejected", time.monotonic()
        assert upstreams.ready("v1") is None and upstreams.last_resort("v1") is first
        one.readyz = 200
        await first.probe()
        assert upstreams.ready("v1") is first


@in_event_loop
async def test_the_last_resort_is_who_failed_longest_ago(unwatched) -> None:
    async with filters("v1", "v1") as (a, b), upstreams_of(a, b) as (upstreams, [first, second], _):
        for replica, when in ((first, 2.0), (second, 1.0)):
            replica.state, replica.failed_at = "ejected", when
        assert upstreams.last_resort("v1") is second
        assert upstreams.last_resort("v1", second) is first
        assert upstreams.last_resort("v2") is None


@in_event_loop
async def test_a_change_keeps_who_stays_and_drains_who_goes() -> None:
    async with filters("v1", "v1", "v1") as (a, b, c), upstreams_of(a, b) as (upstreams, [first, gone], _):
        b.mode = "hang"
        pending = asyncio.create_task(gone.ask(REQUEST, LONG))
        await until_async(lambda: b.under_way == 1)
        await upstreams.change({"v1": [a.address, c.address]})
        present = list(upstreams)
        assert present[0] is first and present[1].address == c.address and present[2] is gone
        assert present[1].state == "ready"  # probed before it was let in
        assert gone not in [upstreams.ready("v1") for _ in range(6)]
        assert gone not in [upstreams.last_resort("v1", first), upstreams.last_resort("v1", present[1])]
        b.mode = "answer"
        assert (await pending).status == 200
        assert gone not in list(upstreams)
        probes = b.probes
        await until_async(lambda: a.probes > 3, "probes")
        assert b.probes == probes
