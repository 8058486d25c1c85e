"""What outlives a run: nothing, however the run ends."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest

LIMIT = 60.0  # seconds; a limit, not a wait


def until(condition, what):
    """Wait for a condition, looking often."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.02)
    pytest.fail(f"not within {LIMIT:g} s: {what}")


def marked(mark):
    """Return the processes that carry the mark in their environment or command line."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and (
                process.environ().get("TEST_MARK") == mark or mark in process.cmdline()
            ):
                found.append(process)
    return found


@pytest.fixture
def mark():
    mark = uuid.uuid4().hex
    yield mark
    for process in marked(mark):
        with contextlib.suppress(psutil.Error):
            process.kill()


#: Starts children in the kernel's session and outside it, says so, and never ends.
BUSY = """
import pathlib, subprocess, sys, time
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
children = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)]
pathlib.Path("started").touch()
while True:
    time.sleep(0.01)
""".strip()


@pytest.fixture
def start(save, cells, tmp_path, mark, monkeypatch):
    """Start a run whose notebook is busy; return the runner's process once it is."""
    runners = []

    def begin(*options):
        path = save("busy", cells.code(BUSY), cells.markdown(""))
        temporary = tmp_path / "tmp"
        temporary.mkdir()
        runner = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "mlops_helpers.cli",
                "run",
                str(path),
                "--out",
                str(tmp_path / "out"),
                *options,
            ],
            env={**os.environ, "TEST_MARK": mark, "TMPDIR": str(temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        runners.append(runner)
        until(lambda: (tmp_path / "started").exists() or runner.poll() is not None, "the notebook started")
        assert runner.poll() is None, runner.communicate()[0]
        return runner

    yield begin
    for runner in runners:
        runner.kill()
        runner.communicate()


@pytest.mark.parametrize("options", [(), ("--plain-kernels",)], ids=["forked", "plain"])
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)],
    ids=["SIGINT", "SIGTERM", "SIGKILL"],
)
def test_nothing_survives_the_runner(start, mark, tmp_path, options, number, status):
    runner = start(*options)
    assert len(marked(mark)) >= 5  # runner, server, kernel, two children
    runner.send_signal(number)
    text, _ = runner.communicate(timeout=LIMIT)
    assert runner.returncode == status, text
    until(lambda: not marked(mark), "everything ended")
    until(lambda: not any(Path(tmp_path / "tmp").iterdir()), "the private folder went")
    assert "Traceback" not in text


def test_nothing_survives_the_kernel_server(start, mark):
    runner = start("--timeout", "600")
    (server,) = [
        p
        for p in marked(mark)
        if any(word.endswith("kernel_server") for word in p.cmdline()) and p.ppid() == runner.pid
    ]
    server.kill()
    text, _ = runner.communicate(timeout=LIMIT)
    assert runner.returncode == 1
    assert "kernel died" in text
    until(lambda: not marked(mark), "everything ended")


def test_what_a_notebook_left_running_ends_with_it(save, cells, tmp_path, mark, monkeypatch):
    from mlops_helpers.teach import notebooks

    monkeypatch.setenv("TEST_MARK", mark)
    source = BUSY.partition("while True")[0]
    report = notebooks.run([save("nb", cells.code(source), cells.markdown(""))], out=tmp_path / "out")
    assert report.passed
    assert marked(mark) == []


#: Leaves three daemons by which nothing shows where they come from; their ids are in the file "daemons".
DAEMONS = """
import os, pathlib, subprocess, sys, time
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
start = f"subprocess.Popen({sleep!r}, stdout=2, start_new_session=True, env={{}})"
inner = f"import subprocess; print({start}.pid, flush=True)"
def daemon():
    clean = {"stdout": subprocess.PIPE, "text": True, "start_new_session": True, "env": {}}
    return int(subprocess.run([sys.executable, "-c", inner], check=True, **clean).stdout)
pids = [daemon(), daemon(), subprocess.Popen(sleep, start_new_session=True, env={}).pid]
assert len({os.getsid(pid) for pid in pids} - {os.getsid(0)}) == 3
pathlib.Path("new").write_text(" ".join(map(str, pids)))
pathlib.Path("new").rename("daemons")
""".strip()


def alive(pid):
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process adopt orphans")


@linux
@pytest.mark.parametrize("plain", [False, True], ids=["forked", "plain"])
def test_daemons_end_with_their_notebook_while_others_run(save, cells, tmp_path, plain):
    from mlops_helpers.teach import notebooks

    leaves = save("leaves", cells.code(DAEMONS))
    watches = save(
        "watches",
        cells.code("import pathlib, subprocess, sys, time, psutil\nlimit = time.monotonic() + 60"),
        cells.code(
            "mine = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=-1, start_new_session=True, env={})"
        ),
        cells.code(
            "daemons = pathlib.Path('daemons')\n"
            "while not daemons.exists(): time.sleep(0.02)\n"
            "pids = [int(pid) for pid in daemons.read_text().split()]\n"
            "while any(map(psutil.pid_exists, pids)) and time.monotonic() < limit: time.sleep(0.02)"
        ),
        cells.code("assert time.monotonic() < limit\nassert mine.poll() is None\nmine.communicate(b'x')"),
        cells.code("print(mine.returncode)"),
    )
    report = notebooks.run([leaves, watches], out=tmp_path / "out", jobs=2, plain_kernels=plain)
    assert report.passed, [result.explain() for result in report.results]
    assert report.kernels.startswith("plain" if plain else "forked")


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["SIGINT", "SIGKILL"])
def test_daemons_do_not_survive_the_runner(save, cells, tmp_path, number):
    path = save("nb", cells.code(DAEMONS), cells.code("while True: time.sleep(1)"))
    runner = subprocess.Popen(
        [sys.executable, "-m", "mlops_helpers.cli", "run", str(path), "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    until(lambda: (tmp_path / "daemons").exists() or runner.poll() is not None, "the daemons started")
    pids = [int(pid) for pid in (tmp_path / "daemons").read_text().split()]
    assert all(map(alive, pids))
    runner.send_signal(number)
    runner.communicate(timeout=LIMIT)
    until(lambda: not any(map(alive, pids)), "the daemons ended")


def test_refresh_leaves_no_folder_when_it_is_killed(save, cells, tmp_path):
    source = "import os, pathlib, time\npathlib.Path('workspace').write_text(os.environ['OPSLAB_WORKSPACE'])"
    path = save("sub/nb", cells.code(source), cells.code("while True: time.sleep(1)"))
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    runner = subprocess.Popen(
        [sys.executable, "-m", "mlops_helpers.cli", "refresh", str(path)], env={**os.environ, "TMPDIR": str(temporary)}
    )
    said = path.with_name("workspace")
    until(lambda: (said.exists() and said.read_text()) or runner.poll() is not None, "the notebook started")
    assert Path(said.read_text()).is_relative_to(temporary)
    runner.kill()
    runner.wait(LIMIT)
    until(lambda: not any(temporary.iterdir()), "the private folder went")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["SIGINT", "SIGKILL"])
def test_nothing_survives_when_the_libraries_hang(save, cells, tmp_path, mark, number):
    (tmp_path / "hangs.py").write_text("import pathlib, time\npathlib.Path('loading').touch()\ntime.sleep(600)")
    path = save("sub/nb", cells.code("import hangs"), cells.markdown(""))
    runner = subprocess.Popen(
        [sys.executable, "-m", "mlops_helpers.cli", "run", str(path), "--out", str(tmp_path / "out")],
        env={**os.environ, "TEST_MARK": mark, "PYTHONPATH": str(tmp_path), "TMPDIR": str(tmp_path)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until(lambda: (tmp_path / "loading").exists() or runner.poll() is not None, "the libraries load")
    runner.send_signal(number)
    text, _ = runner.communicate(timeout=LIMIT)
    assert runner.returncode == (130 if number == signal.SIGINT else -9), text
    until(lambda: not marked(mark), "everything ended")


def test_closing_a_host_that_never_started_touches_nothing(tmp_path, monkeypatch):
    from mlops_helpers.teach.kernels import KernelHost

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").touch()
    KernelHost([]).close()
    assert (tmp_path / "mine").exists()
