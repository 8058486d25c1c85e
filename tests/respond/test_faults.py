"""Faults are put back: at the end, by an exception, by Ctrl-C, and when who made them is killed."""

import contextlib
import os
import resource
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from types import SimpleNamespace

import psutil
import pytest
from holding import held

from mlops_helpers.errors import DrillError, ParameterError, ServiceError
from mlops_helpers.respond import control, faults, undo, wires
from mlops_helpers.respond.watchdog import Watchdog

pytestmark = pytest.mark.drill  # live services, judged by how fast they answer

MAKER = """
import os, signal, sys, time
from mlops_helpers.respond.undo import process_entry
from mlops_helpers.respond.watchdog import Watchdog
with Watchdog() as dog:
    pid = int(sys.argv[1])
    dog.promise({"do": "remove", "path": sys.argv[2]})
    dog.promise(process_entry("go_on", pid))
    os.kill(pid, signal.SIGSTOP)
    print(dog.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def dog():
    with Watchdog() as one:
        yield one


@pytest.fixture
def stage(dog, sleeper):
    """A stage of one process; its platform knows how to send it signals."""

    def send(number):
        return lambda name: os.kill(sleeper.pid, number)

    platform = SimpleNamespace(pause=send(signal.SIGSTOP), resume=send(signal.SIGCONT), kill=lambda name: None)
    return SimpleNamespace(watchdog=dog, platform=platform, pid=lambda name: sleeper.pid)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_the_watchdog_undoes_what_a_maker_left(number, sleeper, frozen, until, tmp_path):
    ballast = tmp_path / "ballast"
    ballast.write_bytes(b"x")
    command = [sys.executable, "-c", MAKER, str(sleeper.pid), str(ballast)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as maker:
        watchdog = int(maker.stdout.readline())
        until(lambda: frozen(sleeper.pid))
        maker.send_signal(number)
        maker.wait(60)
    until(lambda: not frozen(sleeper.pid) and not ballast.exists())
    until(lambda: not psutil.pid_exists(watchdog) or psutil.Process(watchdog).status() == psutil.STATUS_ZOMBIE)


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_a_fault_ends_with_its_block(error, stage, sleeper, frozen, until):
    with (
        pytest.raises(error) if error else contextlib.nullcontext(),
        faults.injected(stage, faults.fault("process_frozen", name="any")),
    ):
        until(lambda: frozen(sleeper.pid))
        if error:
            raise error
    until(lambda: not frozen(sleeper.pid))
    assert not stage.watchdog.open


def test_faults_stack_and_the_helpers_of_all_end(stage, sleeper, frozen, until):
    before = held().children
    slowed = faults.fault("process_slowed", name="any", busy=0.5, period=0.1)
    starved = faults.fault("cpu_pressure", name="any", hogs=1)
    processors = os.sched_getaffinity(sleeper.pid)
    with faults.injected(stage, slowed, starved, faults.fault("memory_pressure", megabytes=1)):
        assert len(held().children - before) == 3
        assert len(os.sched_getaffinity(sleeper.pid)) == 1
        until(lambda: frozen(sleeper.pid))
    assert held().children == before
    assert os.sched_getaffinity(sleeper.pid) == processors
    until(lambda: not frozen(sleeper.pid))


def test_a_fault_that_fails_leaves_those_before_it_undone(stage, sleeper, frozen, until):
    frozen_one, wrong = faults.fault("process_frozen", name="any"), faults.fault("cpu_pressure", name="any", hogs=99)
    with pytest.raises(DrillError, match="1 to 32"), faults.injected(stage, frozen_one, wrong):
        pass
    until(lambda: not frozen(sleeper.pid))


def test_a_full_disk_is_empty_again(stage, sleeper):
    limit = resource.prlimit(sleeper.pid, resource.RLIMIT_FSIZE)
    with faults.injected(stage, faults.fault("disk_full", name="any")):
        assert resource.prlimit(sleeper.pid, resource.RLIMIT_FSIZE)[0] == 0
    assert resource.prlimit(sleeper.pid, resource.RLIMIT_FSIZE) == limit


def test_undoing_is_harmless_when_the_process_has_gone(sleeper):
    entries = [
        undo.process_entry("go_on", sleeper.pid),
        undo.process_entry("end", sleeper.pid),
        undo.process_entry("unpin", sleeper.pid, processors=[0]),
        undo.process_entry("unlimit", sleeper.pid, limit=resource.RLIMIT_FSIZE, soft=0, hard=0),
        {"do": "tell", "address": "127.0.0.1:9", "path": "/admin/weights", "body": {}, "token": ""},
        {"do": "remove", "path": "/nowhere/at/all"},
    ]
    sleeper.kill()
    sleeper.wait()
    for entry in entries * 2:
        undo.undo(entry)


def test_a_number_that_was_given_to_another_process_is_left_alone(sleeper):
    undo.undo({"do": "end", "pid": sleeper.pid, "created": 1.0})
    assert sleeper.poll() is None


def test_without_a_watchdog_nothing_is_promised(sleeper):
    with pytest.raises(ServiceError, match="not started"):
        Watchdog().promise({"do": "remove", "path": "x"})
    with Watchdog() as dog:
        psutil.Process(dog.pid).kill()
        psutil.Process(dog.pid).wait(60)
        with pytest.raises(ServiceError, match="watchdog has ended"):
            dog.promise({"do": "remove", "path": "/nowhere"})


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("earthquake", {}, "process_frozen"),
        ("process_frozen", {}, "lacks name"),
        ("process_frozen", {"name": 3}, "a str"),
        ("process_frozen", {"name": "x", "for": 3}, "no argument 'for'"),
        ("load_spike", {"factor": "much"}, "a float"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(name, arguments, said):
    with pytest.raises(DrillError, match=said):
        faults.fault(name, **arguments)


@pytest.mark.parametrize("values", [{"delay": -1}, {"loss": 1.5}, {"rewrite": ("long", "longer")}])
def test_a_wire_that_cannot_be_is_refused(values):
    with pytest.raises(ParameterError, match="accepted"):
        wires.Quality(**values)


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while heard := self.request.recv(1000):
            self.request.sendall(heard)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


@pytest.fixture
def wire():
    """A wire called "w" to somebody who repeats what is said."""
    with Server(("127.0.0.1", 0), Echo) as server, wires.Wires() as laid:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        laid.lay("w", f"127.0.0.1:{server.server_address[1]}")
        yield laid
        server.shutdown()


def say(laid, text, seconds=30.0):
    host, _, port = laid.addresses["w"].partition(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as one:
        one.sendall(text)
        return one.recv(1000)


def test_a_wire_is_slow_and_then_as_it_was(wire):
    wire.set("w", wires.Quality(delay=0.1))
    began = time.monotonic()
    assert say(wire, b"hello") == b"hello"
    assert time.monotonic() - began >= 0.2
    wire.set("w", wires.Quality())
    assert say(wire, b"hello") == b"hello"


def test_a_wire_is_cut_and_then_goes_on_where_it_was(wire):
    wire.set("w", wires.Quality(cut=True))
    with pytest.raises(TimeoutError):
        say(wire, b"hello", seconds=0.3)
    threading.Timer(0.2, wire.set, ("w", wires.Quality())).start()
    assert say(wire, b"hello") == b"hello"


def test_a_wire_loses_and_changes_what_passes(wire):
    wire.set("w", wires.Quality(rewrite=("text", "body")))
    assert say(wire, b'{"text": 1}') == b'{"body": 1}'
    wire.set("w", wires.Quality(loss=1.0))
    with suppress(ConnectionResetError):
        assert say(wire, b"hello") == b""
    with pytest.raises(ParameterError, match="there are: w"):
        wire.set("x", wires.Quality())


def test_a_control_tells_when_the_machine_stalls(tmp_path, until):
    with control.Control(tmp_path) as one:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(control.os, "fsync", lambda descriptor: time.sleep(0.6))
            until(lambda: one.stalled(0, time.time()) > 0.3)
        assert one.stalled(time.time() + 100, time.time() + 200) == 0
    assert not list(tmp_path.iterdir())


def test_every_fault_says_what_it_is():
    known = faults.catalogue()
    assert len(known) >= 20
    for name, kind in known.items():
        assert kind.__doc__ and not kind.__doc__.startswith(kind.__name__ + "("), f"{name} has no words of its own"


def test_a_promise_is_kept_once(dog, tmp_path):
    path = tmp_path / "ballast"
    path.write_bytes(b"x")
    with ExitStack() as stack:
        faults.Undoing(SimpleNamespace(watchdog=dog), stack).entry({"do": "remove", "path": str(path)})
        assert dog.open
    assert not path.exists() and not dog.open
    dog.keep(1)
