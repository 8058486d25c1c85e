"""What outlives a run: nothing, however the run ends."""

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
import pytest

from mlops_helpers.teach import notebooks
from mlops_helpers.teach.kernels import KernelHost
from tests.support.leaks import ended, marked_processes
from tests.support.tiny_notebooks import code, save
from tests.support.waiting import DEADLINE_SECONDS, until

#: Starts children in the kernel's session and outside it.
CHILDREN = """
import os, pathlib, subprocess, sys, time
sleep = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
children = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)]
""".strip()
#: Starts three daemons by which nothing shows where they come from.
DAEMONS = """
start = f"subprocess.Popen({sleep!r}, stdout=2, start_new_session=True, env={{}})"
inner = f"import subprocess; print({start}.pid, flush=True)"
def daemon():
    clean = {"stdout": subprocess.PIPE, "text": True, "start_new_session": True, "env": {}}
    return int(subprocess.run([sys.executable, "-S", "-c", inner], check=True, **clean).stdout)
daemons = [daemon(), daemon(), subprocess.Popen(sleep, start_new_session=True, env={}).pid]
assert len({os.getsid(pid) for pid in daemons} - {os.getsid(0)}) == 3
""".strip()
#: Writes the ids of all into the file "pids", which appears whole.
PIDS_FILE = """
pids = [os.getpid(), os.getppid(), *(child.pid for child in children), *globals().get("daemons", [])]
pathlib.Path("new").write_text(" ".join(map(str, pids)))
pathlib.Path("new").rename("pids")
""".strip()
ENDLESS = "while True: time.sleep(0.01)"


class Runner:
    """A run from the command line in a process of its own, with a temporary folder and a mark of its own."""

    def __init__(self, folder: Path, command: str, path: Path, *options: str, **env: str) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.mark = uuid.uuid4().hex
        arguments = [command, str(path), *options]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlops_helpers.cli", *arguments],
            env={**os.environ, "TEST_MARK": self.mark, "TMPDIR": str(self.temporary), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def reached(self, sign: Path) -> str:
        """Wait for a file that the notebook writes; return what is in it."""
        until(lambda: sign.exists() or self.process.poll() is not None, f"{sign.name} was written")
        assert self.process.poll() is None, self.process.communicate()[0]
        return sign.read_text()

    def end(self, number: int) -> str:
        """Send a signal and return what the runner printed, when all that it started has ended."""
        self.process.send_signal(number)
        text, _ = self.process.communicate(timeout=DEADLINE_SECONDS)
        until(lambda: not self.running(), "everything ended")
        return text

    def running(self) -> list[psutil.Process]:
        return [process for process in marked_processes() if self.mark in _environment(process)]


def _environment(process: psutil.Process) -> str:
    try:
        return process.environ().get("TEST_MARK", "")
    except psutil.Error:
        return ""


@pytest.fixture
def start(tmp_path):
    """Start a run; it is killed at the end of the test, if it still runs."""
    runners = []

    def begin(command: str, path: Path, *options: str, **env: str) -> Runner:
        runners.append(Runner(tmp_path, command, path, *options, **env))
        return runners[-1]

    yield begin
    for runner in runners:
        runner.process.kill()
        runner.process.communicate()


@pytest.mark.parametrize(
    ("number", "status", "options"),
    [
        (signal.SIGINT, 130, []),
        (signal.SIGTERM, 143, ["--plain-kernels"]),
        (signal.SIGKILL, -9, []),
        (signal.SIGKILL, -9, ["--plain-kernels"]),
    ],
    ids=["SIGINT-forked", "SIGTERM-plain", "SIGKILL-forked", "SIGKILL-plain"],
)
def test_nothing_survives_the_runner(start, tmp_path, number, status, options):
    path = save(tmp_path / "nb.ipynb", code(CHILDREN), code(DAEMONS), code(PIDS_FILE), code(ENDLESS))
    runner = start("run", path, "--out", str(tmp_path / "out"), *options)
    pids = list(map(int, runner.reached(tmp_path / "pids").split()))
    assert not any(map(ended, pids))
    text = runner.end(number)
    assert runner.process.returncode == status, text
    assert "Traceback" not in text
    until(lambda: all(map(ended, pids)), "kernel, children and daemons ended")
    until(lambda: not any(runner.temporary.iterdir()), "the private folder went")


def test_nothing_survives_the_kernel_server(start, tmp_path):
    path = save(tmp_path / "nb.ipynb", code(CHILDREN), code(PIDS_FILE), code(ENDLESS))
    runner = start("run", path, "--out", str(tmp_path / "out"), "--timeout", "600")
    kernel, server, *_ = map(int, runner.reached(tmp_path / "pids").split())
    os.kill(server, signal.SIGKILL)
    text, _ = runner.process.communicate(timeout=DEADLINE_SECONDS)
    assert runner.process.returncode == 1
    assert "kernel died" in text
    until(lambda: ended(kernel) and not runner.running(), "everything ended")


def test_refresh_leaves_no_folder_when_it_is_killed(start, tmp_path):
    tell = "import os, pathlib, time\npathlib.Path('new').write_text(os.environ['OPSLAB_WORKSPACE'])"
    path = save(tmp_path / "nb.ipynb", code(f"{tell}\npathlib.Path('new').rename('workspace')"), code(ENDLESS))
    runner = start("refresh", path)
    assert Path(runner.reached(tmp_path / "workspace")).is_relative_to(runner.temporary)
    runner.end(signal.SIGKILL)
    until(lambda: not any(runner.temporary.iterdir()), "the private folder went")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_nothing_survives_when_the_libraries_hang(start, tmp_path, number, status):
    site = tmp_path / "site"
    site.mkdir()
    (site / "hangs.py").write_text(f"import pathlib, time\npathlib.Path({str(site / 'loading')!r}).touch()\n{ENDLESS}")
    path = save(tmp_path / "sub/nb.ipynb", code("import hangs"))
    runner = start("run", path, "--out", str(tmp_path / "out"), PYTHONPATH=str(site))
    runner.reached(site / "loading")
    text = runner.end(number)
    assert runner.process.returncode == status, text


@pytest.mark.parametrize("plain", [False, True], ids=["forked", "plain"])
def test_what_a_notebook_started_ends_with_it_while_others_run(tmp_path, plain):
    save(tmp_path / "leaves.ipynb", code(CHILDREN), code(DAEMONS), code(PIDS_FILE))
    mine = "[sys.executable, '-S', '-c', 'input()'], stdin=-1, start_new_session=True, env={}"
    save(
        tmp_path / "watches.ipynb",
        code("import pathlib, subprocess, sys, time, psutil\nlimit = time.monotonic() + 60"),
        code(f"mine = subprocess.Popen({mine})"),
        code("while not pathlib.Path('pids').exists(): time.sleep(0.01)"),
        code("kernel, server, *pids = map(int, pathlib.Path('pids').read_text().split())"),
        code("while any(map(psutil.pid_exists, pids)) and time.monotonic() < limit: time.sleep(0.01)"),
        code("assert time.monotonic() < limit\nassert mine.poll() is None\nmine.communicate(b'x')"),
    )
    report = notebooks.run([tmp_path], out=tmp_path / "out", jobs=2, plain_kernels=plain)
    assert report.passed, [result.explain() for result in report.results]
    assert report.kernels.startswith("plain" if plain else "forked")


def test_host_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    host = KernelHost([])
    host.close()  # it never started: there is nothing to remove
    (tmp_path / "mine").touch()
    host = KernelHost([])
    host.start()
    assert len(list(tmp_path.iterdir())) == 2
    host.close()
    host.close()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
