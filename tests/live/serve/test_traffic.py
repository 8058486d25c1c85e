"""Traffic keeps its times whatever the service does, records every arrival exactly once, and always ends."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import orjson
import pytest
from prometheus_client import CollectorRegistry

from mlops_helpers.errors import ParameterError, ServiceError, WorkspaceError
from mlops_helpers.serve import archive
from mlops_helpers.serve.asgi import App, Limits, Problem, Response
from mlops_helpers.serve.blackbox import OUTCOMES, read_record
from mlops_helpers.serve.drive import Settings, drive
from mlops_helpers.serve.plan import Arrival, Comment, Moderators, plan
from mlops_helpers.serve.server import serving
from mlops_helpers.serve.sli import Share, honest_published_at_once, spam_held
from mlops_helpers.serve.traffic import Traffic
from tests.support.blog import POST, TOKEN, FakeGateway, made
from tests.support.leaks import ended
from tests.support.waiting import until

WAIT = 60.0
COMMENTS = [Comment(f"text {k}", k % 2, f"author {k}") for k in range(1000)]
CALM = plan(COMMENTS, rate=160, seconds=0.5, seed=1)


async def judge(request) -> Response:
    sent = request.json()
    assert set(sent) == {"id", "text"}, "the truth is not sent"
    verdict = {"id": sent["id"], "spam": int(sent["text"].split()[1]) % 2 == 1, "score": 0.5, "version": "v7"}
    return Response(200, orjson.dumps(verdict))


def classifier(answer=judge) -> App:
    return App({"/v1/classify": {"POST": answer}}, Limits(concurrency=9_999), registry=CollectorRegistry())


def driven(address: str, arrivals, tmp_path: Path, api: str = "classify", token: str = "", **settings):
    host, _, port = address.rpartition(":")
    record = tmp_path / "record.jsonl"
    with record.open("wb") as file:
        asyncio.run(drive(Settings(host, int(port), api=api, **settings), arrivals, file, token=token))
    return read_record(record)


def complete(frame, arrivals) -> bool:
    """Whether every arrival is recorded exactly once, with a known outcome."""
    return frame["intended"].tolist() == [a.at for a in arrivals] and set(frame["outcome"]) <= set(OUTCOMES)


def test_a_run_is_recorded_with_types(tmp_path) -> None:
    with serving(classifier()) as address:
        frame = driven(address, CALM, tmp_path, run="a-", timeout=WAIT)
    assert complete(frame, CALM)
    assert frame["outcome"].eq("ok").all() and frame["status"].eq(200).all() and frame["attempts"].eq(1).all()
    assert frame["comment_id"].tolist() == [f"a-{arrival.key}" for arrival in CALM]
    assert frame["label"].tolist() == [arrival.comment.label for arrival in CALM]
    assert frame["state"].tolist() == ["spam" if arrival.comment.label else "ham" for arrival in CALM]
    assert set(frame["version"]) == {"v7"} and set(frame["reader"]) == {arrival.reader for arrival in CALM}
    assert (frame["sent"] >= frame["intended"]).all() and (frame["done"] > frame["sent"]).all()
    assert frame["latency"].sub(frame["done"] - frame["intended"]).abs().max() < 1e-9
    assert frame["service_time"].sub(frame["done"] - frame["sent"]).abs().max() < 1e-9
    assert frame["late"].sub(frame["sent"] - frame["intended"]).abs().max() < 1e-9
    assert frame.attrs["planned"] == len(CALM) and abs(time.time() - frame.attrs["started_at"].timestamp()) < WAIT
    spam = sum(arrival.comment.label for arrival in CALM)
    assert honest_published_at_once(frame) == Share(len(CALM) - spam, len(CALM) - spam)
    assert spam_held(frame) == Share(spam, spam)


def test_the_open_loop_sees_a_stall_that_a_closed_loop_hides(tmp_path) -> None:
    began = 0.0

    async def stall(request) -> Response:
        nonlocal began
        now = time.monotonic()
        began = began or now
        if 0.3 <= now - began < 1.1:
            await asyncio.sleep(1.1 - (now - began))
        return Response(200, b'{"id":"a","spam":false,"score":0.5,"version":"v1"}')

    arrivals = plan(COMMENTS, rate=100, seconds=1.6, seed=2)
    with serving(classifier(stall)) as address:
        opened = driven(address, arrivals, tmp_path, timeout=30.0)
        began = 0.0
        closed = driven(address, arrivals, tmp_path, timeout=30.0, concurrency=2)
    assert complete(opened, arrivals) and complete(closed, arrivals)
    during = sum(0.4 <= arrival.at < 0.8 for arrival in arrivals)  # each of these would have waited about 0.3 s or more
    assert opened["service_time"].gt(0.2).sum() >= during
    assert opened["latency"].gt(0.2).sum() >= during
    assert closed["service_time"].gt(0.2).sum() < during / 3, "each of two callers waits once, and nobody else is asked"
    assert closed["latency"].gt(0.2).sum() >= during, "from the intended start even a closed loop shows it"


@contextmanager
def misbehaving(behave):
    """A server that does what ``behave`` does with each accepted connection."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=512)) as listener:

        def work() -> None:
            kept = []
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    break
                kept.append(sock)
                behave(sock)
            for sock in kept:
                sock.close()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
    thread.join(WAIT)


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (503, b"{}", "shed"),
        (429, b"{}", "shed"),
        (500, b"{}", "error"),
        (422, b"{}", "unwanted"),
        (200, b"<html>", "malformed"),
        (200, b'{"id":"x"}', "malformed"),
        (200, b"[]", "malformed"),
    ],
)
def test_answers_are_told_apart(tmp_path, status, body, outcome) -> None:
    async def answer(request) -> Response:
        if status == 503:
            raise Problem(503, "too much")
        return Response(status, body)

    with serving(classifier(answer)) as address:
        frame = driven(address, CALM[:5], tmp_path)
    assert complete(frame, CALM[:5]) and set(frame["outcome"]) == {outcome} and set(frame["status"]) == {status}


def test_beyond_its_connections_arrivals_fail_at_their_time(tmp_path) -> None:
    with misbehaving(lambda sock: None) as address:
        frame = driven(address, CALM, tmp_path, connections=7, timeout=1.5)
    assert complete(frame, CALM)
    assert frame["outcome"].tolist() == ["timeout"] * 7 + ["no_connection"] * (len(CALM) - 7)
    assert frame.loc[frame["outcome"] == "no_connection", ["sent", "done", "latency"]].isna().all(axis=None)


@pytest.mark.parametrize("concurrency", [None, 2])
def test_stopped_while_the_service_is_silent_what_was_due_is_recorded(tmp_path, concurrency) -> None:
    async def work(address: str, file) -> None:
        host, _, port = address.rpartition(":")
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.25, stop.set)
        settings = Settings(host, int(port), api="classify", timeout=0.7, concurrency=concurrency)
        await drive(settings, CALM, file, stop=stop)

    with misbehaving(lambda sock: None) as address, (tmp_path / "record").open("wb") as file:
        asyncio.run(work(address, file))
    frame = read_record(tmp_path / "record")
    assert 0 < len(frame) < len(CALM) and complete(frame, CALM[: len(frame)])
    assert set(frame["outcome"]) == ({"timeout"} if concurrency is None else {"timeout", "stopped"})


def test_a_blog_is_read_written_and_moderated_by_the_truth(tmp_path) -> None:
    held = [Comment(f"casino {k}", k % 2, f"author {k}") for k in range(1000)]
    people = Moderators(every=0.1, delay=0.2, error_rate=0.0)
    arrivals = plan(held, rate=50, seconds=2, seed=3, reads_per_comment=2, posts=(POST,), moderators=people)
    with made(tmp_path / "blog", FakeGateway()) as app, serving(app) as address:
        frame = driven(address, arrivals, tmp_path, api="blog", token=TOKEN, timeout=WAIT)
    decisions = frame[frame["kind"] == "decide"]
    assert complete(frame[frame["kind"] != "decide"], arrivals) and frame["outcome"].eq("ok").all()
    assert set(frame["kind"]) == {"comment", "read", "moderate", "decide"}
    assert decisions["comment_id"].is_unique and len(decisions) > 10
    assert decisions["state"].tolist() == ["rejected" if label else "published" for label in decisions["label"]]
    labels = archive.labels(tmp_path / "blog").set_index("comment_id")["label"]
    assert labels[decisions["comment_id"]].tolist() == decisions["label"].tolist()


def test_a_comment_whose_connection_broke_is_sent_again_with_the_same_key(tmp_path) -> None:
    seen = []

    def reset_the_first(sock: socket.socket) -> None:
        seen.append(sock.recv(65536))
        if len(seen) > 2:
            sock.sendall(b'HTTP/1.1 201 Created\r\ncontent-length: 27\r\n\r\n{"id":"c-1","state":"held"}')
        sock.close()

    arrivals = [Arrival(0.0, "comment", "10.0.0.1", "p", "k1", COMMENTS[0])]
    with misbehaving(reset_the_first) as address:
        frame = driven(address, arrivals, tmp_path, api="blog", retries=5, run="r-")
    assert len(seen) == 3 and len(set(seen)) == 1 and b"idempotency-key: r-k1\r\n" in seen[0]
    assert frame.loc[0, ["outcome", "attempts", "comment_id"]].tolist() == ["ok", 3, "c-1"]


def test_a_run_in_a_process_of_its_own(tmp_path) -> None:
    with serving(classifier()) as address:
        with Traffic(address, CALM, tmp_path / "folder" / "record.jsonl", api="classify") as traffic:
            assert traffic.running
            until(lambda: traffic.progress().recorded > 10, "the record grows while the run goes on")
            assert not traffic.frame().empty
            traffic.wait(WAIT)
        assert not traffic.running
        progress = traffic.progress()
        assert (progress.recorded, progress.planned, progress.outcomes) == (len(CALM), len(CALM), {"ok": len(CALM)})
        assert complete(traffic.frame(), CALM)
        first = set(traffic.frame()["comment_id"])
        with Traffic(address, CALM, traffic.record, api="classify") as again:
            again.wait(WAIT)
        assert not first & set(again.frame()["comment_id"]), "a second run posts other comments"


OWNER = """
import sys
from pathlib import Path
from mlops_helpers.serve.plan import Comment, plan
from mlops_helpers.serve.traffic import Traffic
with Traffic(sys.argv[1], plan([Comment("a", 0, "b")], rate=20, seconds=200, seed=1), Path(sys.argv[2]),
             api="classify", timeout=0.5) as traffic:
    print(traffic._process.pid, flush=True)
    traffic.wait()
"""


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_traffic_ends_with_its_owner(tmp_path, sign) -> None:
    with misbehaving(lambda sock: None) as address:
        owner = subprocess.Popen(
            [sys.executable, "-c", OWNER, address, tmp_path / "record"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        with owner:
            child = int(owner.stdout.readline())
            os.kill(owner.pid, sign)
            owner.wait(WAIT)
            until(lambda: ended(child), "the traffic to end")


def test_what_is_not_accepted_is_named(tmp_path) -> None:
    for wrong, message in [
        ({"target": "localhost"}, "target is 'localhost'"),
        ({"target": "localhost:0"}, "target is"),
        ({"api": "soap"}, "api is 'soap'"),
        ({"timeout": 0.0}, "timeout=0.0"),
        ({"concurrency": 0}, "concurrency=0"),
        ({"retries": -1}, "retries=-1"),
        ({"api": "classify", "arrivals": [Arrival(0.0, "read", "10.0.0.1")]}, "takes comments only"),
    ]:
        with pytest.raises(ParameterError, match=message):
            Traffic(**({"target": "localhost:80", "arrivals": CALM, "record": tmp_path / "record"} | wrong))
    idle = Traffic("localhost:80", CALM, tmp_path / "record")
    assert not idle.running
    for call in (idle.wait, idle.progress, idle.frame):
        with pytest.raises(ServiceError, match=r"start"):
            call()


def test_a_record_replaces_nothing_but_a_record(tmp_path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    (tmp_path / "own.jsonl").write_text('{"planned": "my summer"}\n')
    (tmp_path / "link").symlink_to("nowhere-yet")
    for name in ("thesis.txt", "own.jsonl", "link", "."):
        with pytest.raises(WorkspaceError, match=r"is no record of traffic and stays\. Next: name"):
            Traffic("localhost:80", CALM, tmp_path / name).start()
    assert (tmp_path / "thesis.txt").read_text() == "precious"
    assert (tmp_path / "own.jsonl").read_text() == '{"planned": "my summer"}\n'
    assert (tmp_path / "link").is_symlink()
    with pytest.raises(WorkspaceError, match="cannot write the record"):
        Traffic("localhost:80", CALM, tmp_path / "thesis.txt" / "record").start()
