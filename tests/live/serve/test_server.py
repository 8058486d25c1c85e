"""A server bounds what slow, huge and many clients can do, and drains before it ends."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress

import pytest
from prometheus_client import CollectorRegistry

from mlops_helpers.errors import ServiceError
from mlops_helpers.serve import server
from mlops_helpers.serve.asgi import App, Limits, Request, Response
from mlops_helpers.serve.client import Pool, encode_request
from mlops_helpers.serve.server import listening_socket, serving
from tests.support.waiting import until_async


async def echo(request: Request) -> Response:
    return Response(200, request.body, b"application/octet-stream")


async def broken(request: Request) -> Response:
    raise ZeroDivisionError


def app(limits: Limits = Limits(), **routes) -> App:  # noqa: B008
    handlers = {f"/{name}": {"POST": handler} for name, handler in routes.items()}
    return App({"/echo": {"POST": echo}, "/broken": {"POST": broken}, **handlers}, limits, registry=CollectorRegistry())


def connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def rest_of(sock: socket.socket) -> bytes:
    received = b""
    with suppress(ConnectionError):
        while chunk := sock.recv(65536):
            received += chunk
    return received


def answer_to(address: str, *pieces: bytes) -> bytes:
    """Send bytes as they are and return all that comes until the other side closes."""
    with closing(connect(address)) as sock:
        with suppress(ConnectionError):
            for piece in pieces:
                sock.sendall(piece)
        return rest_of(sock)


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: x", "connection: close", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def status(received: bytes) -> int:
    return int(received.split(b" ", 2)[1]) if received else 0


@pytest.fixture(scope="module")
def address():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "_SWEEP_SECONDS", 0.05)
        limits = Limits(body_bytes=1000, header_bytes=2000, receive_seconds=0.3, answer_seconds=0.3)
        with serving(app(limits)) as where:
            yield where


def test_unknown_paths_and_methods_say_what_there_is(address) -> None:
    received = answer_to(address, post("/nowhere", b""))
    assert status(received) == 404 and b"/echo" in received
    received = answer_to(address, b"GET /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert status(received) == 405 and b"allow: POST" in received


def test_a_defect_is_an_answer_and_a_line_in_the_log_not_the_end(address, caplog) -> None:
    assert status(answer_to(address, post("/broken", b""))) == 500
    assert "ZeroDivisionError" in caplog.text
    assert status(answer_to(address, post("/echo", b"still here"))) == 200


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([post("/echo", b"a" * 1001)], 413),
        ([post("/echo", b"", "transfer-encoding: chunked").replace(b"content-length: 0\r\n", b"")]
         + [b"200\r\n" + b"a" * 0x200 + b"\r\n"] * 4 + [b"0\r\n\r\n"], 413),
        ([post("/echo", b"", "x: " + "y" * 900_000)], 431),
        ([b"GET /" + b"a" * 5000], 431),
        ([b"\x00\xff\x16\x03 nonsense\r\n\r\n"], 400),
        ([b"POST /echo HTTP/1.1\r\ncontent-length: -1\r\n\r\n"], 400),
        ([b"POST /echo HTTP/1.1\r\ncontent-length: 99999999999999999999999\r\n\r\n"], 400),
        ([b"POST /%ff%00 HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"], 404),
    ],
)  # fmt: skip
def test_what_is_too_much_or_no_http_is_refused(address, pieces, expected) -> None:
    assert status(answer_to(address, *pieces)) == expected
    assert status(answer_to(address, post("/echo", b"still here"))) == 200


@pytest.mark.parametrize("start", [b"", b"POST /ec", b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12"])
def test_a_request_that_never_ends_is_given_up(address, start) -> None:
    assert status(answer_to(address, start)) in {0, 408}  # returns at all: the server closed the connection


def test_bytes_that_trickle_do_not_keep_a_request_alive(address) -> None:
    with closing(connect(address)) as sock:
        deadline = time.monotonic() + 20
        with pytest.raises(ConnectionError):
            while time.monotonic() < deadline:
                sock.sendall(b"a")
                sock.settimeout(0.05)
                with suppress(TimeoutError):
                    if sock.recv(1024) == b"":
                        raise ConnectionResetError


def test_too_many_connections_are_closed_at_once() -> None:
    with serving(app(Limits(connections=5))) as where:
        held = [connect(where) for _ in range(5)]
        try:
            for sock in held:  # each answers, so the server has seen it
                sock.sendall(post("/echo", b"hi").replace(b"connection: close\r\n", b""))
                assert sock.recv(1000)
            assert status(answer_to(where, b"")) == 503
        finally:
            for sock in held:
                sock.close()


def test_more_than_the_accepted_concurrency_is_shed_but_health_answers() -> None:
    release = threading.Event()

    async def slow(request: Request) -> Response:
        await asyncio.get_running_loop().run_in_executor(None, release.wait, 20)
        return Response(200, b"{}")

    async def health(request: Request) -> Response:
        return Response(200, b"{}")

    service = app(Limits(concurrency=3), slow=slow)
    service.routes["/healthz"] = {"GET": health}

    async def work() -> None:
        pool = Pool(*where.split(":"), size=20)
        request = encode_request("POST", "/slow")
        under_way = [asyncio.create_task(pool.send(request, 20)) for _ in range(3)]
        await until_async(lambda: service.under_way() == 3)
        shed = await pool.send(request, 20)
        assert (shed.status, shed.headers[b"retry-after"]) == (503, b"1")
        assert (await pool.send(encode_request("GET", "/healthz"), 20)).status == 200
        release.set()
        assert [reply.status for reply in await asyncio.gather(*under_way)] == [200, 200, 200]
        pool.close()

    with serving(service) as where:
        asyncio.run(work())


def test_an_address_in_use_is_named() -> None:
    with closing(listening_socket("127.0.0.1")) as taken, pytest.raises(ServiceError, match="cannot listen on"):
        listening_socket("127.0.0.1", taken.getsockname()[1])


SERVICE = """
import asyncio, sys
from prometheus_client import CollectorRegistry
from mlops_helpers.serve.asgi import App, Limits, Response
from mlops_helpers.serve.server import listening_socket, run
release = asyncio.Event()
async def slow(request):
    print("begun", flush=True)
    await release.wait()
    return Response(200, b"done")
async def end(request):
    release.set()
    return Response(200, b"")
async def quick(request):
    return Response(200, b"quick")
async def stop():
    print("stopped", flush=True)
sock = listening_socket("127.0.0.1")
routes = {"/slow": {"POST": slow}, "/quick": {"POST": quick}, "/end": {"POST": end}}
app = App(routes, Limits(drain_seconds=0.5), registry=CollectorRegistry(), stop=stop)
run(app, sock, lambda: print(sock.getsockname()[1], flush=True))
"""


def test_sigterm_finishes_what_is_under_way_and_sends_others_away() -> None:
    process = subprocess.Popen([sys.executable, "-c", SERVICE], stdout=subprocess.PIPE, text=True)
    try:
        where = f"127.0.0.1:{int(process.stdout.readline())}"
        with closing(connect(where)) as slow, closing(connect(where)) as idle:
            slow.sendall(post("/slow", b"").replace(b"connection: close\r\n", b""))
            idle.sendall(post("/quick", b"").replace(b"connection: close\r\n", b""))
            assert b"connection: close" not in idle.recv(1000)
            assert process.stdout.readline() == "begun\n"
            os.kill(process.pid, signal.SIGTERM)
            received = b""
            while b"connection: close" not in received:  # draining is seen by the next answer, which still comes
                idle.sendall(post("/quick", b"").replace(b"connection: close\r\n", b""))
                received = idle.recv(1000)
                assert status(received) == 200
            with closing(connect(where)) as last:  # still accepted
                last.sendall(post("/end", b""))
            assert rest_of(slow).endswith(b"done")
        assert process.stdout.readline() == "stopped\n"
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_metrics_count_routes_not_paths_that_somebody_makes_up(address) -> None:
    for path in ("/a", "/b"):
        answer_to(address, post(path, b""))
    text = answer_to(address, b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").decode()
    assert 'http_requests_total{code="404",handler="other"}' in text and '"/a"' not in text
    assert json.dumps("/echo") in text
