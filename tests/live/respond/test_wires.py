"""Wires are slow, cut or lossy, and as they were; a front asks another way when the first does not answer."""

import http.client
import socket
import socketserver
import threading
import time
from contextlib import closing, suppress

import pytest

from mlops_helpers.deploy.calls import call
from mlops_helpers.errors import ParameterError
from mlops_helpers.respond.wires import Quality, Wires


class Answering(socketserver.BaseRequestHandler):
    """Answers every request by its body."""

    def handle(self):
        while head := self.request.recv(65_536):
            body = head.partition(b"\r\n\r\n")[2] or b'"nothing"'
            self.request.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nx: y\r\n\r\n%b" % (len(body), body))


class Echo(socketserver.BaseRequestHandler):
    """Repeats what it hears."""

    def handle(self):
        while heard := self.request.recv(1000):
            self.request.sendall(heard)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


def listening(handler):
    with Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def address():
    """A service that answers."""
    yield from listening(Answering)


@pytest.fixture(scope="module")
def wire(wires):
    """Wires of which "w" goes to somebody who repeats what is said."""
    for echo in listening(Echo):
        wires.lay("w", echo)
        yield wires


@pytest.fixture(scope="module")
def wires():
    with Wires() as laid:
        yield laid


def say(wires, text, seconds=30.0):
    host, _, port = wires.addresses["w"].partition(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        connection.sendall(text)
        return connection.recv(1000)


def test_slow_wire_is_as_it_was_later(wire):
    wire.set("w", Quality(delay=0.1))
    began = time.monotonic()
    assert say(wire, b"hello") == b"hello"
    assert time.monotonic() - began >= 0.2
    wire.set("w", Quality())
    assert say(wire, b"hello") == b"hello"


def test_cut_wire_goes_on_where_it_was(wire):
    wire.set("w", Quality(cut=True))
    host, _, port = wire.addresses["w"].partition(":")
    with socket.create_connection((host, int(port)), timeout=0.2) as connection:
        connection.sendall(b"hello")
        with pytest.raises(TimeoutError):
            connection.recv(1000)
        wire.set("w", Quality())
        connection.settimeout(30.0)
        assert connection.recv(1000) == b"hello"


def test_wire_loses_and_changes_what_passes(wire):
    wire.set("w", Quality(rewrite=("text", "body")))
    assert say(wire, b'{"text": 1}') == b'{"body": 1}'
    wire.set("w", Quality(loss=1.0))
    with suppress(ConnectionResetError):
        assert say(wire, b"hello") == b""
    with pytest.raises(ParameterError, match="there is no wire 'x'"):
        wire.set("x", Quality())


@pytest.mark.parametrize("quality", [Quality(cut=True), Quality(loss=1.0)])
def test_second_way_answers_when_the_first_does_not(quality, address, wires):
    began = time.time()
    ways = [wires.lay("one", address), wires.lay("two", address)]
    front, acted = wires.front(ways, hedge=0.1)
    assert call("PUT", front, "/", {"a": 1}) == {"a": 1}
    before = acted(began)  # a busy machine may need the second way at once
    wires.set("one", quality)
    assert [call("PUT", front, "/", number, seconds=5.0) for number in range(5)] == [0, 1, 2, 3, 4]
    assert acted(began) >= before + 5
    assert acted(time.time()) == 0
    wires.set("one", Quality())
    wires.set("two", Quality(cut=True))
    assert call("GET", front, "/", seconds=5.0) == "nothing"


def test_network_that_sends_much_is_refused_and_no_other(address, wires):
    began = time.time()
    front, acted = wires.front([address], per_minute=2.0)
    assert [status(front, "POST", f"198.51.100.{host}") for host in range(5)] == [200, 200, 429, 429, 429]
    assert acted(began) == 3
    assert status(front, "POST", "198.51.101.1") == status(front, "GET", "198.51.100.1") == 200
    assert [status(front, "POST", "") for _ in range(4)] == [200] * 4, "who names no address is no reader"


def status(front, method, client):
    with closing(http.client.HTTPConnection(front, timeout=5.0)) as connection:
        connection.request(method, "/", headers={"x-forwarded-for": client} if client else {})
        return connection.getresponse().status
