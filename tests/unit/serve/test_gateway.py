"""Readers get the version their comment's id names, and notice no replica that dies; operators' changes are kept."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from mlops_helpers.errors import LogFull, ParameterError, ServiceError
from mlops_helpers.serve import forwarding, upstreams
from mlops_helpers.serve.asgi import App, Limits
from mlops_helpers.serve.eventlog import EventLog
from mlops_helpers.serve.gateway import make_gateway
from mlops_helpers.serve.records import records
from mlops_helpers.serve.routing import RoutingTable
from tests.support.asgi import Answer, ask, in_event_loop
from tests.support.filters import FakeFilter, filters
from tests.support.waiting import until_async

TOKEN = "secret"
HALF = {"v1": 0.5, "v2": 0.5}


@pytest.fixture(autouse=True)
def often(monkeypatch) -> None:
    """Probe a hundred times a second."""
    monkeypatch.setattr(upstreams, "PROBE_SECONDS", 0.01)


class Client:
    """Speaks to a gateway on the same event loop."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def send(self, method: str, path: str, body: object = b"", **headers: str) -> Answer:
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await ask(self.app, method, path, raw, named)

    async def classify(self, body: object, **headers: str) -> Answer:
        return await self.send("POST", "/v1/classify", body, **headers)

    async def admin(self, part: str, body: object) -> Answer:
        return await self.send("PUT", f"/admin/{part}", body, authorization=f"Bearer {TOKEN}")

    async def state(self) -> dict:
        return (await self.send("GET", "/admin/state", authorization=f"Bearer {TOKEN}")).json()

    async def replica_states(self) -> dict[str, str]:
        return {replica["address"]: replica["state"] for replica in (await self.state())["replicas"]}

    async def until_replica(self, address: str, state: str | None) -> None:
        async def reached() -> bool:
            return (await self.replica_states()).get(address) == state

        await until_async(reached, f"{address} {state}")

    async def metric(self, name: str, **labels: str) -> float:
        text = (await self.send("GET", "/metrics")).text
        wanted = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        found = re.search(rf"^{re.escape(name + (f'{{{wanted}}}' if wanted else ''))} (.*)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0


@asynccontextmanager
async def running(
    folder: Path, upstreams: dict[str, Sequence[FakeFilter]], weights=None, **options
) -> AsyncIterator[Client]:
    """Yield a client of a gateway before these filters."""
    addresses = {version: [replica.address for replica in replicas] for version, replicas in upstreams.items()}
    app = make_gateway(folder, upstreams=addresses, weights=weights, admin_token=TOKEN, **options)
    await app.start()
    try:
        yield Client(app)
    finally:
        await app.stop()


def comment(number: int) -> dict[str, str]:
    return {"id": f"c{number}", "text": "x"}


def expected(number: int, weights: dict[str, float]) -> str:
    routing = RoutingTable({version: [f"{version}:1"] for version in weights}, weights)
    return routing.version(b"c%d" % number)


# who answers


@in_event_loop
async def test_each_comment_goes_where_its_id_says_as_the_same_bytes(tmp_path) -> None:
    weights = {"v1": 0.8, "v2": 0.2}
    async with filters("v1", "v2") as (one, two), running(tmp_path, {"v1": [one], "v2": [two]}, weights) as client:
        for number in range(100):
            reply = await client.classify(comment(number))
            assert reply.json()["version"] == expected(number, weights)
        assert 60 <= len(one.seen) <= 95 and len(one.seen) + len(two.seen) == 100
        odd = b'{ "text":"\xc3\xa9", "id" : "c7", "more": 1.50 }'
        seen = {"v1": one, "v2": two}[expected(7, weights)].seen
        await client.classify(odd)
        assert seen[-1][1] == odd
        assert await client.metric("gateway_weight", version="v2") == 0.2
        counted = [await client.metric("gateway_requests_total", code="200", version=v) for v in weights]
        assert counted == [len(one.seen), len(two.seen)]


@in_event_loop
async def test_a_batch_is_split_by_version_and_merged_in_order(tmp_path) -> None:
    async with filters("v1", "v2") as (one, two), running(tmp_path, {"v1": [one], "v2": [two]}, HALF) as client:
        reply = await client.classify({"comments": [comment(number) for number in range(50)]})
        assert reply.status == 200
        verdicts = reply.json()["verdicts"]
        assert verdicts == [{"id": f"c{number}", "version": expected(number, HALF)} for number in range(50)]
        assert len(one.seen) == len(two.seen) == 1


@in_event_loop
async def test_a_batch_of_which_a_part_is_not_answered_is_not_answered(tmp_path) -> None:
    async with filters("v1", "v2") as (one, two), running(tmp_path, {"v1": [one], "v2": [two]}, HALF) as client:
        batch = {"comments": [comment(number) for number in range(20)]}
        two.mode = 503
        reply = await client.classify(batch)
        assert reply.status == 503 and reply.headers["retry-after"] == "7"
        two.mode = "answer"
        two.verdicts = lambda body: b'{"verdicts": []}'
        assert (await client.classify(batch)).status == 502


# replicas that fail


@in_event_loop
async def test_no_reader_notices_that_a_replica_dies(tmp_path) -> None:
    async with filters("v1", "v1") as (one, two), running(tmp_path, {"v1": [one, two]}) as client:
        one.mode = two.mode = "hang"
        pending = [asyncio.create_task(client.classify(comment(number))) for number in range(20)]
        await until_async(lambda: one.under_way == two.under_way == 10)
        one.mode = "answer"
        two.die()
        assert {answer.status for answer in await asyncio.gather(*pending)} == {200}
        assert await client.metric("gateway_retries_total") == 10
        await client.until_replica(two.address, "ejected")
        two.mode = "answer"
        two.start()
        await client.until_replica(two.address, "ready")
        assert await client.metric("gateway_replicas", state="ready", version="v1") == 2


@in_event_loop
async def test_what_one_replica_sheds_another_is_asked_once(tmp_path) -> None:
    async with (
        filters("v1", "v1", "v2") as (one, two, other),
        running(tmp_path, {"v1": [one, two], "v2": [other]}, HALF) as client,
    ):
        one.mode = 503
        number = next(number for number in range(99) if expected(number, HALF) == "v1")
        assert [(await client.classify(comment(number))).status for _ in range(6)] == [200] * 6
        two.mode = 503
        asked = len(one.seen) + len(two.seen)
        reply = await client.classify(comment(number))
        assert reply.status == 503 and reply.headers["retry-after"] == "7"
        assert len(one.seen) + len(two.seen) == asked + 2
        assert other.seen == []  # what one version sheds must not flood another
        assert (await client.replica_states())[one.address] == "ready"


@in_event_loop
async def test_a_version_that_is_away_is_stood_in_for_by_the_heaviest_that_readers_may_see(tmp_path) -> None:
    weights = {"v1": 0.1, "v2": 0.3, "v3": 0.6, "v4": 0}
    async with (
        filters("v1", "v2", "v3", "v4") as all_of,
        running(tmp_path, {one.version: [one] for one in all_of}, weights) as client,
    ):
        number = next(number for number in range(99) if expected(number, weights) == "v1")

        async def version() -> str:
            reply = await client.classify(comment(number))
            return reply.json()["version"] if reply.status == 200 else str(reply.status)

        assert await version() == "v1"
        for left, stands_in in ((all_of[0], "v3"), (all_of[2], "v2"), (all_of[1], "503")):
            left.die()
            await client.until_replica(left.address, "ejected")
            assert await version() == stands_in
        assert all_of[3].seen == []  # nobody decided that readers may see it
        assert await client.metric("gateway_failovers_total", from_version="v1", to_version="v3") == 1
        reply = await client.classify(comment(number))
        assert reply.status == 503 and reply.headers["retry-after"] == "1" and b"no replica of v1" in reply.body
        assert (await client.send("GET", "/readyz")).status == 503
        all_of[0].start()
        await client.until_replica(all_of[0].address, "ready")
        assert await version() == "v1"
        assert (await client.send("GET", "/readyz")).status == 200


@in_event_loop
async def test_retries_do_not_make_an_outage_worse(tmp_path) -> None:
    async with (
        filters("v1", "v1") as (one, two),
        running(tmp_path, {"v1": [one, two]}, limits=Limits(concurrency=4)) as client,
    ):
        one.mode = two.mode = 500
        for number in range(60):
            assert (await client.classify(comment(number))).status == 500
        assert len(one.seen) + len(two.seen) <= 60 + 4 + 60 * 0.2
        assert await client.metric("gateway_retries_total") == len(one.seen) + len(two.seen) - 60


# shadow copies


@in_event_loop
async def test_shadow_copies_are_marked_and_never_answer(tmp_path) -> None:
    async with filters("v1", "v2") as (one, two), running(tmp_path, {"v1": [one], "v2": [two]}) as client:
        assert (await client.admin("shadow", {"v2": 1.0})).status == 200
        reply = await client.classify(comment(1), x_request_id="r-1")
        await client.classify({"comments": [comment(2), comment(3)]})
        await client.classify({"id": "c4"}, x_shadow="1")
        one.mode = 400
        await client.classify(comment(5))
        assert reply.json()["version"] == "v1"
        await until_async(lambda: len(two.seen) == 3, "three copies")
        assert [body for _, body in two.seen] == [body for _, body in one.seen][:3]
        assert all(headers["x-shadow"] == "1" for headers, _ in two.seen)
        assert not any("x-shadow" in headers for headers, _ in one.seen)  # not a client's to say
        assert two.seen[0][0]["x-request-id"] == "r-1"
        assert await client.metric("gateway_requests_total", code="200", version="v2") == 0


@in_event_loop
async def test_a_shadow_that_hangs_delays_nobody_and_is_not_asked_again(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(forwarding, "_SHADOW_REQUESTS", 10)
    async with filters("v1", "v2") as (one, two), running(tmp_path, {"v1": [one], "v2": [two]}, timeout=60) as client:
        await client.admin("shadow", {"v2": 1.0})
        two.mode = "hang"
        replies = [await client.classify(comment(number)) for number in range(50)]  # each would wait for 60 s
        assert {reply.status for reply in replies} == {200}
        dropped = await client.metric("gateway_shadow_total", outcome="dropped", version="v2")
        assert dropped == 50 - 10 - forwarding._SHADOW_SENDERS
        two.mode = 500
        await until_async(lambda: len(two.seen) == 50 - dropped or two.under_way == 0)
        assert len(two.seen) <= 50 - dropped
        assert await client.metric("gateway_retries_total") == 0


# changes while it runs


@in_event_loop
async def test_changes_hold_for_the_next_request_and_for_the_next_start(tmp_path) -> None:
    async with filters("v1", "v2") as (one, two):
        async with running(tmp_path, {"v1": [one], "v2": [two]}) as client:
            for version in ("v2", "v1", "v2"):
                assert (await client.admin("weights", {version: 1})).status == 200
                assert (await client.classify(comment(1))).json()["version"] == version
            assert (await client.admin("shadow", {"v1": 0.25})).status == 200
        async with running(tmp_path, {"v1": [one], "v2": [two]}) as client:
            state = await client.state()
            assert (state["weights"], state["shadow"]) == ({"v1": 0.0, "v2": 1.0}, {"v1": 0.25})


@in_event_loop
async def test_a_change_that_cannot_be_stored_is_not_made(tmp_path, monkeypatch) -> None:
    async with filters("v1", "v2") as (one, two), running(tmp_path, {"v1": [one], "v2": [two]}) as client:
        (tmp_path / "state.json").mkdir()
        reply = await client.admin("weights", {"v2": 1})
        assert reply.status == 507 and b"nothing was changed" in reply.body
        assert (await client.state())["weights"] == {"v1": 1.0, "v2": 0.0}


@pytest.mark.parametrize(
    ("part", "body", "status"),
    [
        ("weights", b"{", 400),
        ("weights", b'{"v1": NaN}', 400),
        ("weights", {"v9": 1}, 422),
        ("shadow", {"v2": 1.1}, 422),
        ("shadow", [], 422),
        ("upstreams", {"v1": ["nowhere"]}, 422),
        ("upstreams", {}, 422),
    ],
)
@in_event_loop
async def test_admin_calls_are_checked_before_anything_changes(tmp_path, part: str, body, status: int) -> None:
    async with filters("v1", "v2") as (one, two), running(tmp_path, {"v1": [one], "v2": [two]}) as client:
        before = await client.state()
        reply = await client.admin(part, body)
        assert reply.status == status and ("accepted" in reply.text or status == 400)
        assert await client.state() == before


@in_event_loop
async def test_only_who_knows_the_token_may_look_or_change(tmp_path) -> None:
    async with filters("v1") as (one,), running(tmp_path, {"v1": [one]}) as client:
        for method, path in (("GET", "state"), ("PUT", "weights"), ("PUT", "shadow"), ("PUT", "upstreams")):
            for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}):
                reply = await client.send(method, f"/admin/{path}", b"{}", **headers)
                assert reply.status == 401 and reply.headers["www-authenticate"] == "Bearer"
        assert not (tmp_path / "state.json").exists()


@in_event_loop
async def test_without_a_token_nobody_may(tmp_path) -> None:
    client = Client(make_gateway(tmp_path, upstreams={}, weights=None, admin_token=None))
    for bearer in ("Bearer ", "Bearer None", ""):
        reply = await client.send("PUT", "/admin/weights", {}, authorization=bearer)
        assert reply.status == 403 and "OPSLAB_ADMIN_TOKEN" in reply.text


@in_event_loop
async def test_a_gateway_without_upstreams_says_so_until_it_has_some(tmp_path) -> None:
    async with filters("v1") as (one,), running(tmp_path, {}) as client:
        reply = await client.classify(comment(1))
        assert reply.status == 503 and b"PUT /admin/upstreams" in reply.body
        assert (await client.send("GET", "/readyz")).status == 503
        assert (await client.send("GET", "/healthz")).status == 200
        assert (await client.admin("upstreams", {"v1": [one.address]})).status == 200
        assert (await client.classify(comment(1))).status == 200


def test_arguments_that_make_no_sense_end_the_start(tmp_path) -> None:
    with pytest.raises(ParameterError, match="add up to 2"):
        make_gateway(tmp_path, upstreams={"v1": ["a:1"], "v2": ["b:1"]}, weights={"v1": 1, "v2": 1}, admin_token=None)
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(ServiceError, match=r"state\.json"):
        make_gateway(tmp_path, upstreams={}, weights=None, admin_token=None)


@in_event_loop
async def test_a_draining_gateway_says_so_and_still_answers(tmp_path) -> None:
    async with filters("v1") as (one,), running(tmp_path, {"v1": [one]}) as client:
        client.app.draining = True
        assert (await client.send("GET", "/readyz")).status == 503
        assert (await client.classify(comment(1))).status == 200


# on record


@in_event_loop
async def test_request_ids_are_passed_on_or_made(tmp_path) -> None:
    async with filters("v1") as (one,), running(tmp_path, {"v1": [one]}) as client:
        given_id = "A-b_c.1" * 9
        replies = [await client.classify(comment(1), x_request_id=name) for name in (given_id, "", "a b", "x" * 65)]
        told = [reply.headers["x-request-id"] for reply in replies]
        assert told == [headers["x-request-id"] for headers, _ in one.seen]
        assert told[0] == given_id and len(set(told)) == 4
        assert all(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]+", name) for name in told[1:])
        one.die()
        assert (await client.classify(comment(1), x_request_id="r1")).headers["x-request-id"] == "r1"


@in_event_loop
async def test_every_request_is_on_record(tmp_path) -> None:
    async with filters("v1", "v2") as (one, two):
        async with running(tmp_path, {"v1": [one], "v2": [two]}, HALF) as client:
            await client.classify({"id": 'c1"\n{"forged": 1}', "text": "x"}, x_request_id="r1")
            await client.classify({"comments": [comment(number) for number in range(20)]}, x_request_id="r2")
            await client.classify({"id": "x" * 65}, x_request_id="r3")
        found = list(records(tmp_path / "access"))
    first, *parts, last = found
    assert first["comment_id"] == 'c1"\n{"forged": 1}' and last["comment_id"] is None
    assert [first[key] for key in ("request_id", "comments", "status", "tries")] == ["r1", 1, 200, 1]
    assert sum(part["comments"] for part in parts) == 20 and {part["version"] for part in parts} == {"v1", "v2"}
    assert {part["replica"] for part in parts} == {one.address, two.address}
    assert all(abs(record["ts"] - time.time()) < 60 and record["ms"] >= 0 for record in found)


@in_event_loop
async def test_a_full_log_costs_records_and_no_answers(tmp_path, monkeypatch) -> None:
    def full(log: EventLog, record: bytes) -> None:
        raise LogFull("full")

    async with filters("v1") as (one,), running(tmp_path, {"v1": [one]}) as client:
        monkeypatch.setattr(EventLog, "append", full)
        assert (await client.classify(comment(1))).status == 200
        assert await client.metric("gateway_access_log_lost_total") == 1
