"""One supervised process: here a small service of its own, so that nothing but the supervision is tested."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading

import pytest

from mlops_helpers.deploy import process
from mlops_helpers.deploy.process import Service
from mlops_helpers.errors import ServiceError
from tests.support.leaks import ended, frozen, held
from tests.support.waiting import until

SECONDS = 30  # a deadline, never a wait

ECHO = """
import os, socket, sys, threading
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
def watch():
    os.read(int(options["--lifeline"]), 1)
    os._exit(0)
threading.Thread(target=watch, daemon=True).start()
sock = socket.socket(fileno=int(options["--fd"]))
print('{"ready": true}', flush=True)
while True:
    connection, _ = sock.accept()
    asked = connection.recv(100)
    if asked == b"die":
        os._exit(3)
    if asked == b"print":
        print("x" * 1_500_000 + "\\nlast words", flush=True)
    connection.sendall(str(os.getpid()).encode())
    connection.close()
"""


def ask(service, what=b"pid"):
    host, port = service.address.split(":")
    with socket.create_connection((host, int(port)), timeout=SECONDS) as connection:
        connection.sendall(what)
        return connection.recv(100).decode()


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "echo.py"
    path.write_text(ECHO)
    return path


@pytest.fixture
def make(tmp_path, script):
    made = []

    def service(code=None, **options):
        path = script
        if code is not None:
            path = tmp_path / f"service{len(made)}.py"
            path.write_text(textwrap.dedent(code))
        one = Service(f"one-{len(made)}", [sys.executable, str(path)], log=tmp_path / "one.log", **options)
        made.append(one)
        return one

    yield service
    for one in made:
        one.stop(0, free_port=True)


@pytest.fixture
def ready(make):
    service = make()
    service.start()
    service.wait_ready(SECONDS)
    return service


def test_service_answers_on_its_address_until_it_is_stopped(ready):
    assert ready.state == "ready"
    assert ask(ready) == str(ready.pid)
    pid = ready.pid
    ready.start()  # it runs already
    assert ready.pid == pid
    ready.stop()
    assert (ready.state, ready.pid, ended(pid)) == ("stopped", None, True)
    with pytest.raises(ConnectionRefusedError):
        ask(ready)
    ready.stop()  # nothing more happens
    address = ready.address
    ready.start()
    ready.wait_ready(SECONDS)
    assert ready.address == address
    assert ask(ready) == str(ready.pid)
    assert ready.restarts == 0  # nobody died


def test_stopped_service_keeps_its_port_from_others(ready, tmp_path):
    port = int(ready.address.split(":")[1])
    with pytest.raises(ServiceError, match=r"cannot take .* Next: port 0"):
        Service("other", ["true"], log=tmp_path / "other.log", port=port)
    ready.stop()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    ready.stop(free_port=True)
    Service("other", ["true"], log=tmp_path / "other.log", port=port).stop(free_port=True)


def test_killed_service_is_replaced_on_the_same_address_and_no_connection_is_refused(ready):
    refused, answers, done = [], set(), threading.Event()

    def callers():
        while not done.is_set():
            try:
                answers.add(ask(ready))
            except ConnectionResetError:  # it was being answered when the process died
                pass
            except OSError as error:
                refused.append(error)

    thread = threading.Thread(target=callers)
    thread.start()
    try:
        for kill in range(1, 9):  # more often than a crash loop may
            before = until(lambda: ready.state == "ready" and ready.pid)
            ready.kill()
            until(lambda before=before: ready.state == "ready" and ready.pid != before)
            assert ready.restarts == kill
            until(lambda: str(ready.pid) in answers)
    finally:
        done.set()
        thread.join()
    assert refused == []


def test_service_killed_while_it_says_that_it_is_ready_is_not_ready(make, tmp_path):
    go = tmp_path / "go"
    service = make(f"""
        import os, time
        while not os.path.exists({str(go)!r}):
            time.sleep(0.001)
        print('{{"ready": true}}', flush=True)
        time.sleep(60)
    """)
    service.start()
    states = []
    until(lambda: service.state == "starting" and service.pid)
    with service._changed:  # the thread that reads the line has to wait here
        go.touch()
        until(lambda: "ready" in (service.log.read_text() if service.log.exists() else ""))
        go.unlink()
        service._on_change = lambda: states.append(service.state)
        service.kill()
    until(lambda: service.restarts == 1)
    assert "ready" not in states


def test_service_that_died_unasked_is_restarted(ready):
    os.kill(ready.pid, signal.SIGSEGV)
    until(lambda: ready.restarts == 1 and ready.state == "ready")
    ask(ready, b"die")
    until(lambda: ready.restarts == 2 and ready.state == "ready")
    assert ask(ready) == str(ready.pid)


def test_paused_service_answers_nothing_until_it_is_resumed_and_can_be_stopped(ready):
    ready.pause()
    until(lambda: frozen(ready.pid))
    assert ready.state == "paused"
    host, port = ready.address.split(":")
    with socket.create_connection((host, int(port)), timeout=SECONDS) as connection:  # the system accepts
        connection.sendall(b"pid")
        connection.settimeout(0.05)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        ready.resume()
        connection.settimeout(SECONDS)
        assert connection.recv(100).decode() == str(ready.pid)
    assert ready.state == "ready"
    ready.pause()
    pid = ready.pid
    ready.stop()
    assert ended(pid)


def test_connection_while_nobody_answers_is_answered_by_the_next_process(ready, monkeypatch):
    monkeypatch.setattr(process, "DELAYS", (0.3,))
    before = ready.pid
    os.kill(before, signal.SIGKILL)
    until(lambda: ended(before))
    assert ask(ready) not in ("", str(before))
    assert ready.restarts == 1


def test_paused_service_drains_when_it_is_stopped(make, tmp_path):
    service = make("""
        import signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        print('{"ready": true}', flush=True)
        signal.sigwait({signal.SIGTERM})
        print("drained", flush=True)""")
    service.start()
    service.wait_ready(SECONDS)
    service.pause()
    service.stop()
    assert (tmp_path / "one.log").read_text().endswith("drained\n")


def test_crash_loop_is_slowed_down_and_given_up_with_its_last_words(make, monkeypatch):
    monkeypatch.setattr(process, "DELAYS", (0.0, 0.01, 0.02))
    service = make("print('{\"ready\": true}', flush=True); raise SystemExit('no disk')")
    service.start()
    until(lambda: service.state == "failed")
    assert service.restarts == 3
    assert "ended with exit code 1, 4 times in a row" in service.error
    assert "no disk" in service.error
    with pytest.raises(ConnectionRefusedError):
        ask(service)
    for call in (service.kill, service.pause, service.resume):
        with pytest.raises(ServiceError, match="is failed"):
            call()
    with pytest.raises(ServiceError, match="no disk"):
        service.wait_ready(SECONDS)


def test_service_that_never_was_ready_is_not_restarted(make):
    service = make("import sys; print('half a word', end=''); sys.exit(7)")
    service.start()
    with pytest.raises(ServiceError, match=r"one-0 ended with exit code 7 before it was ready(.|\n)*half a word"):
        service.wait_ready(SECONDS)
    assert service.restarts == 0


def test_unsupervised_service_is_not_restarted(make):
    service = make(supervise=False)
    service.start()
    service.wait_ready(SECONDS)
    service.kill()
    until(lambda: service.state == "failed")
    assert "signal 9 (Killed) and is not supervised" in service.error
    service.start()
    service.wait_ready(SECONDS)


def test_service_not_ready_in_time_or_not_startable_says_so(make, monkeypatch, tmp_path):
    service = make("import time; print('thinking', flush=True); time.sleep(60)")
    service.start()
    until((tmp_path / "one.log").exists)
    with pytest.raises(ServiceError, match=r"not ready within 0.05 s(.|\n)*thinking"):
        service.wait_ready(0.05)
    nothing = Service("nothing", [str(tmp_path / "missing")], log=tmp_path / "nothing.log")
    nothing.start()
    with pytest.raises(ServiceError, match="nothing cannot be started"):
        nothing.wait_ready(SECONDS)
    nothing.stop(free_port=True)


def test_service_that_does_not_end_is_killed(make):
    service = make("""
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print('{"ready": true}', flush=True)
        time.sleep(60)""")
    service.start()
    service.wait_ready(SECONDS)
    pid = service.pid
    service.stop(0.05)
    assert ended(pid)


def test_log_of_a_service_is_kept_within_bounds(ready, tmp_path):
    for _ in range(4):
        ask(ready, b"print")
    log = tmp_path / "one.log"
    until(lambda: log.read_text().endswith("last words\n"))
    sizes = {path.name: path.stat().st_size for path in tmp_path.glob("one.log*")}
    assert set(sizes) == {"one.log", "one.log.1"}
    assert all(size <= 1_000_000 for size in sizes.values())


def test_every_change_of_state_is_reported(make):
    seen = []
    service = make(on_change=lambda: seen.append(service.state))
    service.start()
    service.wait_ready(SECONDS)
    service.kill()
    until(lambda: service.restarts == 1 and service.state == "ready")
    service.stop()
    assert seen[0] == "starting"
    assert {"ready", "restarting", "stopped"} <= set(seen)
    assert seen[-1] == "stopped"


def test_services_end_when_their_parent_is_killed(script, tmp_path):
    code = f"""
        import sys, time
        from pathlib import Path
        from mlops_helpers.deploy.process import Service
        services = [Service(f"s{{n}}", [sys.executable, {str(script)!r}], log=Path({str(tmp_path)!r}) / f"s{{n}}.log")
                    for n in range(3)]
        for service in services:
            service.start()
        for service in services:
            service.wait_ready({SECONDS})
        print(*(service.pid for service in services), flush=True)
        time.sleep(60)"""
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True) as parent:
        try:
            pids = [int(word) for word in parent.stdout.readline().split()]
            assert len(pids) == 3
            assert not any(map(ended, pids))
        finally:
            parent.kill()
    until(lambda: all(map(ended, pids)))


def test_service_leaves_no_descriptor_no_thread_and_no_process(make):
    before = held()
    for _ in range(3):
        service = make()
        service.start()
        service.wait_ready(SECONDS)
        service.kill()
        until(lambda service=service: service.restarts == 1 and service.state == "ready")
        service.stop(free_port=True)
    assert held() == before
