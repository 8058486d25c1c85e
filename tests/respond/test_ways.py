"""A front asks another way when the first is slow, breaks or is not there, and tells when it did."""

import http.client
import socket
import socketserver
import threading
import time
from contextlib import ExitStack, closing

import pytest

from mlops_helpers.deploy.calls import call
from mlops_helpers.errors import ServiceError
from mlops_helpers.respond.wires import Quality, Wires


class Answering(socketserver.BaseRequestHandler):
    """Answers every request by its body."""

    def handle(self):
        while head := self.request.recv(65_536):
            body = head.partition(b"\r\n\r\n")[2] or b'"nothing"'
            self.request.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nx: y\r\n\r\n%b" % (len(body), body))


@pytest.fixture
def address():
    """A service that answers."""
    socketserver.ThreadingTCPServer.daemon_threads = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def wires():
    with Wires() as one:
        yield one


@pytest.mark.parametrize("quality", [Quality(cut=True), Quality(delay=30.0), Quality(loss=1.0)])
def test_the_second_way_answers_when_the_first_does_not(quality, address, wires):
    began = time.time()
    ways = [wires.lay("one", address), wires.lay("two", address)]
    front, acted = wires.front(ways, hedge=0.1)
    assert call("PUT", front, "/", {"a": 1}) == {"a": 1}
    assert acted(began) == 0
    wires.set("one", quality)
    assert [call("PUT", front, "/", each, seconds=5.0) for each in range(5)] == [0, 1, 2, 3, 4]
    assert acted(began) == 5
    assert acted(time.time()) == 0
    wires.set("one", Quality())
    wires.set("two", Quality(cut=True))
    assert call("GET", front, "/", seconds=5.0) == "nothing"


def test_a_network_that_sends_much_is_told_so_and_no_other_is(address, wires):
    began = time.time()
    front, acted = wires.front([address], per_minute=2.0)
    seen = [status(front, "POST", f"198.51.100.{each}") for each in range(5)]
    assert seen == [200, 200, 429, 429, 429]
    assert acted(began) == 3
    assert status(front, "POST", "198.51.101.1") == status(front, "GET", "198.51.100.1") == 200
    assert [status(front, "POST", "") for _ in range(4)] == [200] * 4, "who names no address is no reader"


def status(front, method, client):
    connection = http.client.HTTPConnection(front, timeout=5.0)
    with closing(connection):
        connection.request(method, "/", headers={"x-forwarded-for": client} if client else {})
        return connection.getresponse().status


def test_nobody_answers_for_those_who_are_not_there(wires):
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        targets = [f"127.0.0.1:{one.getsockname()[1]}" for one in taken]
    front, _ = wires.front(targets, hedge=0.05)
    with pytest.raises(ServiceError):
        call("GET", front, "/", seconds=5.0)
