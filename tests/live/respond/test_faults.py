"""Faults are put back: at the end, by an exception, by Ctrl-C, and when who made them is killed."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from mlops_helpers.errors import DrillError, ServiceError
from mlops_helpers.respond import control, faults, undo
from mlops_helpers.respond.watchdog import Watchdog
from tests.support.leaks import ended, frozen, held
from tests.support.waiting import until

MAKER = """
import os, signal, sys, time
from mlops_helpers.respond.undo import process_entry
from mlops_helpers.respond.watchdog import Watchdog
with Watchdog() as dog:
    pid = int(sys.argv[1])
    dog.promise({"do": "remove_platform", "folder": sys.argv[2]})
    dog.promise(process_entry("go_on", pid))
    os.kill(pid, signal.SIGSTOP)
    print(dog.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def sleeper():
    """A process that does nothing."""
    child = subprocess.Popen([sys.executable, "-I", "-c", "import time; time.sleep(600)"])
    yield child
    child.kill()
    child.wait()


@pytest.fixture(scope="module")
def dog():
    with Watchdog() as watchdog:
        yield watchdog


@pytest.fixture
def stage(dog, sleeper):
    """A stage of one process; its platform knows how to send it signals."""

    def send(number):
        return lambda name: os.kill(sleeper.pid, number)

    platform = SimpleNamespace(pause=send(signal.SIGSTOP), resume=send(signal.SIGCONT), kill=lambda name: None)
    return SimpleNamespace(watchdog=dog, platform=platform, pid=lambda name: sleeper.pid)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_watchdog_undoes_what_a_maker_left(number, sleeper, tmp_path):
    platform, beside = tmp_path / "platform", tmp_path / "beside"
    for folder in (platform, beside):
        folder.mkdir()
    command = [sys.executable, "-c", MAKER, str(sleeper.pid), str(platform)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as maker:
        watchdog = int(maker.stdout.readline())
        until(lambda: frozen(sleeper.pid))
        maker.send_signal(number)
        maker.wait(60)
    until(lambda: not frozen(sleeper.pid) and not platform.exists())
    until(lambda: ended(watchdog))
    assert beside.is_dir()


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_fault_ends_with_its_block(error, stage, sleeper):
    with (
        pytest.raises(error) if error else contextlib.nullcontext(),
        faults.injected(stage, faults.fault("process_frozen", name="any")),
    ):
        until(lambda: frozen(sleeper.pid))
        assert stage.watchdog.open
        if error:
            raise error
    until(lambda: not frozen(sleeper.pid))
    assert not stage.watchdog.open


def test_faults_stack_and_the_helpers_of_all_end(stage, sleeper):
    before = held().children
    slowed = faults.fault("process_slowed", name="any", busy=0.5, period=0.1)
    starved = faults.fault("cpu_pressure", name="any", hogs=1)
    full = faults.fault("disk_full", name="any")
    processors, limit = os.sched_getaffinity(sleeper.pid), resource.prlimit(sleeper.pid, resource.RLIMIT_FSIZE)
    with faults.injected(stage, slowed, starved, full, faults.fault("memory_pressure", megabytes=1)):
        assert len(held().children - before) == 3
        assert len(os.sched_getaffinity(sleeper.pid)) == 1
        assert resource.prlimit(sleeper.pid, resource.RLIMIT_FSIZE)[0] == 0
        until(lambda: frozen(sleeper.pid))
    assert held().children == before
    assert os.sched_getaffinity(sleeper.pid) == processors
    assert resource.prlimit(sleeper.pid, resource.RLIMIT_FSIZE) == limit
    until(lambda: not frozen(sleeper.pid))


def test_fault_that_fails_leaves_those_before_it_undone(stage, sleeper):
    freeze, wrong = faults.fault("process_frozen", name="any"), faults.fault("cpu_pressure", name="any", hogs=99)
    with pytest.raises(DrillError, match="1 to 32"), faults.injected(stage, freeze, wrong):
        pass
    until(lambda: not frozen(sleeper.pid))


def test_undoing_is_harmless_when_the_process_has_ended(sleeper):
    entries = [
        undo.process_entry("go_on", sleeper.pid),
        undo.process_entry("end", sleeper.pid),
        undo.process_entry("unpin", sleeper.pid, processors=[0]),
        undo.process_entry("unlimit", sleeper.pid, limit=resource.RLIMIT_FSIZE, soft=0, hard=0),
        {"do": "tell", "address": "127.0.0.1:9", "path": "/admin/weights", "body": {}, "token": ""},
        {"do": "remove_platform", "folder": "/nowhere/at/all"},
    ]
    sleeper.kill()
    sleeper.wait()
    for entry in entries * 2:
        undo.undo(entry)


def test_process_that_got_the_number_of_another_is_left_alone(sleeper):
    signalled, entry = [], undo.process_entry("end", sleeper.pid)
    with pytest.MonkeyPatch.context() as patch:  # only here: the fixture ends its process by the same function
        patch.setattr(undo.os, "kill", lambda *what: signalled.append(what))
        undo.undo(entry | {"created": 1.0})
        assert signalled == []
        undo.undo(entry)
    assert signalled == [(sleeper.pid, signal.SIGKILL)]


def test_promise_needs_a_watchdog_and_is_kept_once(dog, sleeper):
    with pytest.raises(ServiceError, match="not started"):
        Watchdog().promise(undo.process_entry("go_on", sleeper.pid))
    number = dog.promise(undo.process_entry("end", sleeper.pid))
    dog.keep(number)
    until(lambda: ended(sleeper.pid))
    assert not dog.open
    dog.keep(number)
    with Watchdog() as killed:
        psutil.Process(killed.pid).kill()
        psutil.Process(killed.pid).wait(60)
        with pytest.raises(ServiceError, match="watchdog has ended"):
            killed.promise({"do": "remove_platform", "folder": "/nowhere"})


def test_control_tells_when_the_machine_stalls_and_touches_no_file(tmp_path, monkeypatch):
    (tmp_path / "control").write_text("somebody's")
    with control.Control(tmp_path) as watching:
        monkeypatch.setattr(control.os, "fsync", lambda descriptor: time.sleep(0.6))
        until(lambda: watching.stalled(0, time.time()) > 0.3)
        assert watching.stalled(time.time() + 100, time.time() + 200) == 0
    assert [path.read_text() for path in tmp_path.glob("*")] == ["somebody's"]
