"""What an event log and a gateway still know after a kill -9, and that a killed filter costs no reader an answer."""

import asyncio
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import orjson

from mlops_helpers.serve.client import Pool, Reply, encode_request
from mlops_helpers.serve.records import records
from tests.support.asgi import in_event_loop
from tests.support.waiting import until_async

TOKEN = "a-token-of-the-tests"
HALF = {"v1": 0.5, "v2": 0.5}
WRITER = """
import os, sys, asyncio
import uvloop
from pathlib import Path
from mlops_helpers.serve.eventlog import EventLog

async def main(folder, start):
    log = EventLog(Path(folder), segment_bytes=20_000)
    await log.open()
    number = start
    async def client():
        nonlocal number
        while True:
            number, mine = number + 1, number
            await log.append(b'{"n":%d,"text":"%b"}' % (mine, b"x" * (mine % 300)))
            os.write(1, b"%d\\n" % mine)
    await asyncio.gather(*(client() for _ in range(16)))

uvloop.run(main(sys.argv[1], int(sys.argv[2])))
"""


def test_kill_9_loses_nothing_that_a_log_acknowledged(tmp_path, seed) -> None:
    """Four writers are killed at random moments in the same folder."""
    chance = random.Random(seed)
    acknowledged: list[int] = []
    for life in range(4):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(life * 10**6)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            begun = [writer.stdout.readline() for _ in range(chance.randrange(1, 600))]
            writer.kill()
            rest, _ = writer.communicate(timeout=60)
        acknowledged += map(int, b"".join([*begun, rest]).split())
        found = Counter(record["n"] for record in records(tmp_path))
        assert [number for number in acknowledged if found[number] != 1] == []
        assert max(found.values()) == 1
    assert len(acknowledged) > 100


@contextmanager
def service(*arguments: object) -> Iterator[tuple[subprocess.Popen, Pool]]:
    """Run a command of opslab that serves, and yield its process with connections to it."""
    command = [sys.executable, "-m", "mlops_helpers.cli", *map(str, arguments), "--port", "0"]
    process = subprocess.Popen(command, env=os.environ | {"OPSLAB_ADMIN_TOKEN": TOKEN}, stdout=subprocess.PIPE)
    with process:
        host, _, port = json.loads(process.stdout.readline())["address"].rpartition(":")
        pool = Pool(host, int(port))
        try:
            yield process, pool
        finally:
            pool.close()
            process.kill()


async def admin(pool: Pool, method: str, part: str, body: object = None) -> dict:
    headers = {"authorization": f"Bearer {TOKEN}"}
    reply = await pool.send(encode_request(method, f"/admin/{part}", orjson.dumps(body), headers), 60)
    assert reply.status == 200, reply.body
    return orjson.loads(reply.body)


@in_event_loop
async def test_a_killed_filter_costs_no_answer_and_a_killed_gateway_no_decision(artifact, tmp_path) -> None:
    async def ask(pool: Pool, number: int) -> Reply:
        body = orjson.dumps({"id": f"c{number}", "text": "beans"})
        return await pool.send(encode_request("POST", "/v1/classify", body), 60)

    def serve(version: str, replica: int):
        return service("serve", artifact.folder, "--name", version, "--folder", tmp_path / f"{version}-{replica}")

    with serve("v1", 0) as (victim, a), serve("v1", 1) as (_, b), serve("v2", 0) as (_, c):
        addresses = [f"v1={a.address}", f"v1={b.address}", f"v2={c.address}"]
        upstreams = [part for address in addresses for part in ("--upstream", address)]
        gateway = ("gateway", *upstreams, "--folder", tmp_path / "gateway")
        with service(*gateway) as (process, pool):
            statuses: list[int] = []

            async def reader(first: int) -> None:
                for number in range(first, first + 200):
                    statuses.append((await ask(pool, number)).status)

            readers = [asyncio.create_task(reader(1000 * k)) for k in range(8)]
            await until_async(lambda: len(statuses) > 200)
            victim.kill()
            await asyncio.gather(*readers)
            assert set(statuses) == {200}
            assert (await admin(pool, "PUT", "weights", HALF))["weights"] == HALF
            await admin(pool, "PUT", "shadow", {"v2": 0.25})
            process.kill()  # at once: nothing may be left to be written
        with service(*gateway) as (_, pool):
            state = await admin(pool, "GET", "state")
            assert (state["weights"], state["shadow"]) == (HALF, {"v2": 0.25})
            versions = {orjson.loads((await ask(pool, number)).body)["version"] for number in range(9)}
            assert versions == {"v1", "v2"}
