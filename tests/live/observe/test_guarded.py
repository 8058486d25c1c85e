"""Foreign programs end with whoever started them, and what they print is kept, bounded, in files of their own."""

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from mlops_helpers.errors import ParameterError, ServiceError
from mlops_helpers.observe import guarded
from mlops_helpers.observe.guarded import Guarded, Reserved
from tests.support.leaks import ended
from tests.support.monitoring import running
from tests.support.waiting import DEADLINE_SECONDS, until

WRITES_PID = "import os, pathlib, time; pathlib.Path('pid').write_text(str(os.getpid())); "


@pytest.fixture
def start(tmp_path: Path):
    """Start a Python program, guarded; return it with its process id."""
    started = []

    def starts(code: str, **options: float) -> tuple[Guarded, int]:
        program = Guarded([sys.executable, "-u", "-c", WRITES_PID + code], tmp_path / "output", cwd=tmp_path, **options)
        started.append(program)
        pid = tmp_path / "pid"
        program.wait_ready(lambda: pid.exists() and bool(pid.read_text()), DEADLINE_SECONDS)
        return program, int(pid.read_text())

    yield starts
    for program in started:
        program.stop()


def test_a_program_is_ended_and_what_it_started_as_well(start) -> None:
    program, pid = start("import subprocess, sys; print(subprocess.Popen(['sleep', '60']).pid); time.sleep(60)")
    until(lambda: program.output.exists() and program.output.read_text().endswith("\n"))
    program.stop()
    program.stop()
    assert not program.running and ended(pid)
    until(lambda: ended(int(program.output.read_text())))


def test_a_program_that_takes_its_time_is_killed(start) -> None:
    code = "import signal; signal.signal(15, signal.SIG_IGN); print('deaf'); time.sleep(60)"
    program, pid = start(code, stop_seconds=0.1)
    until(lambda: "deaf" in program.last_words())
    program.stop()
    assert ended(pid)


def test_what_a_program_prints_is_bounded(start, monkeypatch) -> None:
    monkeypatch.setattr(guarded, "OUTPUT_BYTES", 10_000)
    program, _ = start("[print('x' * 99) for _ in range(250)]; print('last')")
    until(lambda: not program.running)
    before = program.output.with_name("output.1")
    assert program.last_words().endswith("x\nlast")
    assert program.output.stat().st_size <= 10_000 and 9_000 < before.stat().st_size <= 10_000


def test_a_file_that_is_there_is_no_output(tmp_path: Path) -> None:
    (tmp_path / "output.1").write_text("whose?")
    with pytest.raises(ParameterError, match=r"output.1, which is there.*Next: another name"):
        Guarded([sys.executable, "-c", "print(1)"], tmp_path / "output", cwd=tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["whose?"]


def test_the_error_of_a_program_that_ends_carries_its_last_words(tmp_path: Path) -> None:
    code = "print('no such port'); raise SystemExit(3)"
    for command, words in (
        ([sys.executable, "-c", code], r"exit code 3 before it was ready(.|\n)*no such port"),
        (["not-installed"], r"not-installed ended(.|\n)*No such file"),
    ):
        program = Guarded(command, tmp_path / Path(command[0]).name, cwd=tmp_path)
        with pytest.raises(ServiceError, match=words):
            program.wait_ready(lambda: False, DEADLINE_SECONDS)


PARENT = """
import sys, time
from pathlib import Path
import psutil
from mlops_helpers.observe.guarded import Guarded
folder = Path(sys.argv[1])
program = Guarded([sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"],
                  folder / "output", cwd=folder)
program.wait_ready(lambda: (folder / "output").exists() and bool((folder / "output").read_text()), 60)
print(psutil.Process().children()[0].pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("victim", ["parent", "guard"])
def test_killing_whoever_watches_a_program_ends_it(tmp_path: Path, victim: str) -> None:
    if victim == "guard" and sys.platform != "linux":
        pytest.skip("only Linux tells a program that its parent was killed")
    with running(PARENT, tmp_path) as parent:
        guard = int(parent.stdout.readline())
        pid = int((tmp_path / "output").read_text())
        assert not ended(pid)
        os.kill(parent.pid if victim == "parent" else guard, signal.SIGKILL)
        until(lambda: ended(pid))
    until(lambda: ended(guard))


def test_a_reserved_port_is_for_one() -> None:
    reserved = Reserved()
    with (
        pytest.raises(ServiceError, match="port 0 lets the system choose"),
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        Reserved(taken.getsockname()[1])
    with socket.socket() as listening:  # what the program does
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", reserved.port))
        listening.listen()
    reserved.free()
