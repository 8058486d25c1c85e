"""The client reuses connections, bounds every wait, and says which way an answer failed to come."""

import asyncio
import socket
import threading
from contextlib import closing, contextmanager

import pytest
from prometheus_client import CollectorRegistry

from mlops_helpers.serve.asgi import App, Limits, Request, Response
from mlops_helpers.serve.client import Pool, RequestFailed, encode_request
from mlops_helpers.serve.server import serving


async def echo(request: Request) -> Response:
    return Response(200, request.body)


@pytest.fixture(scope="module")
def port():
    with serving(App({"/echo": {"POST": echo}}, Limits(), registry=CollectorRegistry())) as address:
        yield int(address.rpartition(":")[2])


@contextmanager
def scripted(*answers: bytes | None):
    """A server that answers the n-th request it reads with these bytes, or never for None; then closes."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        seen = []

        def work() -> None:
            for number, answer in enumerate(answers):
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                with closing(sock):
                    sock.settimeout(20)
                    while answer is not None or number == len(answers) - 1:
                        if not (data := sock.recv(65536)):
                            break
                        seen.append(data)
                        if answer is not None:
                            sock.sendall(answer)
                            break

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield listener.getsockname()[1], seen
    thread.join(20)


def test_answers_belong_to_their_requests_and_connections_are_reused(port) -> None:
    async def work() -> None:
        pool = Pool("127.0.0.1", port, size=4)
        requests = [encode_request("POST", "/echo", b"%d" % n) for n in range(200)]
        replies = await asyncio.gather(*(pool.send(request, 20) for request in requests))
        assert [reply.body for reply in replies] == [b"%d" % n for n in range(200)]
        assert len(pool._open) <= 4
        pool.close()

    asyncio.run(work())


def failure(port: int, timeout: float = 20.0, size: int = 1) -> str:
    async def work() -> None:
        await Pool("127.0.0.1", port, size=size).send(encode_request("POST", "/echo", b"x"), timeout)

    with pytest.raises(RequestFailed) as caught:
        asyncio.run(work())
    assert str(port) in str(caught.value)
    return caught.value.reason


def test_the_reason_is_named() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        free = listener.getsockname()[1]
        assert failure(free, timeout=0.2) == "timeout"  # the backlog accepts, nobody answers
    assert failure(free) == "refused"
    with scripted(b"") as (where, _):
        assert failure(where) == "reset"
    with scripted(b"220 mail.example ESMTP\r\n") as (where, _):
        assert failure(where) == "malformed"
    with scripted(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12") as (where, _):
        assert failure(where) == "reset"


def test_a_connection_that_was_closed_while_idle_costs_nobody_an_answer() -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    with scripted(answer, answer) as (where, seen):

        async def work() -> None:
            pool = Pool("127.0.0.1", where)
            for _ in range(2):  # the server closes after each answer without saying so
                assert (await pool.send(encode_request("GET", "/"), 20)).body == b"ok"
            pool.close()

        asyncio.run(work())
        assert len(seen) == 2


def test_a_request_of_which_an_answer_began_is_not_sent_again() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (b"ok", b"o"):
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n" + answer)
        writer.close()

    async def work() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            pool = Pool(*server.sockets[0].getsockname())
            await pool.send(encode_request("GET", "/"), 20)
            with pytest.raises(RequestFailed, match="reset"):
                await pool.send(encode_request("GET", "/"), 20)
            pool.close()

    seen: list[bytes] = []
    asyncio.run(work())
    assert len(seen) == 2


def test_a_late_answer_is_never_given_to_another_request() -> None:
    async def work() -> None:
        pool = Pool("127.0.0.1", port, size=1)
        with pytest.raises(RequestFailed, match="timeout"):
            await pool.send(encode_request("POST", "/late", b"first"), 0.1)
        assert (await pool.send(encode_request("POST", "/now", b"second"), 20)).body == b"second"
        pool.close()

    async def late(request: Request) -> Response:
        await asyncio.sleep(0.3)
        return Response(200, request.body)

    app = App({"/late": {"POST": late}, "/now": {"POST": echo}}, Limits(), registry=CollectorRegistry())
    with serving(app) as address:
        port = int(address.rpartition(":")[2])
        asyncio.run(work())


def test_a_cancelled_request_frees_its_place(port) -> None:
    async def work() -> None:
        pool = Pool("127.0.0.1", port, size=1)
        first = asyncio.create_task(pool.send(encode_request("POST", "/echo", b"1"), 20))
        second = asyncio.create_task(pool.send(encode_request("POST", "/echo", b"2"), 20))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).body == b"2"
        pool.close()

    asyncio.run(work())
