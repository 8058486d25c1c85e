"""Planted bugs: each is put into a copy of the project, where the tests of its room must find it.

``python .ci/mutants.py [NAME ...]`` exits with 1 when a bug survives, or when its text is not there any more:
then point it at the code that does now what it broke. A bug counts as found when a test fails that passes without it.
``--old FOLDER --old-python PYTHON`` plants the same bugs into another checkout, to see what its tests find.
"""

import argparse
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
SECONDS = 900.0  # for the tests of one bug
_LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "build", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info")
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+::[^\n]*?)(?: - .*)?$", re.MULTILINE)
_RUNNER = """
import importlib, json, os, sys, time
for name in '''pytest hypothesis schemathesis nbval.plugin nbformat jsonschema pandas pyarrow.compute scipy.stats psutil
        docker sklearn.linear_model sklearn.feature_extraction.text prometheus_client starlette.applications'''.split():
    importlib.import_module(name)
for line in sys.stdin:
    output, *tests = json.loads(line)
    pid, limit = os.fork(), time.monotonic() + float(sys.argv[1])
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        os.dup2(1, 2)
        os._exit(sys.modules["pytest"].main(["-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests]))
    while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
        time.sleep(0.1)
        if time.monotonic() > limit:
            os.kill(pid, 9)
    print(os.waitstatus_to_exitcode(ended[1]), flush=True)
"""


@dataclass(frozen=True)
class Mutant:
    """A bug: the text ``before``, once in a file of the package, becomes ``after``.

    ``tests`` are folders below tests/, or files without ``test_`` and ``.py``; by default those of the room.
    """

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...] = ()

    @property
    def room(self) -> str:
        """Return the room of the package, or ``base``."""
        return self.file.partition("/")[0] if "/" in self.file else "base"

    def paths(self, root: Path) -> list[str]:
        """Return the tests that there are; without any of its own, those of its room. Old suites know no tiers."""
        named = self.tests or (f"unit/{self.room}", f"live/{self.room}")
        if not (root / "tests" / "unit").exists():
            named = tuple(dict.fromkeys(path.partition("/")[2] for path in named))
        places = [root / "tests" / path for path in named]
        files = [place if place.is_dir() else place.with_name(f"test_{place.name}.py") for place in places]
        return [str(file.relative_to(root)) for file in files if file.exists()] or [f"tests/{self.room}"]


def _mutant(name: str, file: str, tests: str, before: str, after: str) -> Mutant:
    return Mutant(name, file, before, after, tuple(tests.split()))


# fmt: off
MUTANTS = (
    _mutant("half a file keeps its name", "workspace.py", "unit/workspace live/workspace",
            "        yield stage / path.name\n        (stage / path.name).replace(path)", "        yield path"),
    _mutant("a lock that is not taken", "workspace.py", "unit/workspace live/workspace unit/respond/scenarios",
            "        fcntl.flock(lock, fcntl.LOCK_EX)\n", ""),

    _mutant("an artifact's hash is not verified", "model/sealed.py", "",
            'if found != named["sha256"]:', "if False:"),
    _mutant("the registry's hash is ignored", "model/sealed.py", "",
            "if expected_sha256 is not None and found != expected_sha256:", "if False:"),
    _mutant("a strict threshold", "model/artifact.py", "",
            "return self.score(text) >= self.threshold", "return self.score(text) > self.threshold"),
    _mutant("a term that occurs twice counts once", "model/scorer.py", "unit/model/scorer",
            "count = more + 1", "count = more"),
    _mutant("near-duplicates on both sides", "model/training.py", "",
            "next(splitter.split(frame, groups=groups))", "next(splitter.split(frame, groups=np.arange(len(frame))))"),
    _mutant("ham blocked is spam caught", "model/evaluation.py", "",
            "ham_blocked=_proportion(fp, fp + tn)", "ham_blocked=_proportion(fp, fp + tp)"),

    _mutant("a missing fsync of the event log", "serve/segments.py", "unit/serve",
            '| getattr(os, "O_DSYNC", os.O_SYNC)', ""),
    _mutant("a swallowed write error", "serve/eventlog.py", "unit/serve/eventlog",
            "            self.failed = error\n            self._accepting = False\n", "            pass\n"),
    _mutant("a torn record is kept", "serve/segments.py", "unit/serve/eventlog unit/serve/records",
            "            file.truncate(end)\n", ""),
    _mutant("one bad write undoes another's", "serve/groupcommit.py", "unit/serve/store",
            'execute("ROLLBACK TO one")', 'execute("ROLLBACK")'),
    _mutant("an idempotency key stores twice", "serve/store.py", "unit/serve/store unit/serve/blog",
            "            if found:\n", "            if False:\n"),
    _mutant("a verdict changes a moderator's decision", "serve/store.py", "unit/serve/store unit/serve/blog",
            "state = iif(state = 'pending' OR reason = 'unclassified', ?, state)", "state = ?"),
    _mutant("an unescaped page", "serve/pages.py", "unit/serve/blog",
            "autoescape=True", "autoescape=False"),
    _mutant("a weight that is ignored", "serve/routing.py", "unit/serve/routing",
            "entry[2] / -math.log(point(entry[1], key))", "1 / -math.log(point(entry[1], key))"),
    _mutant("retries without end", "serve/forwarding.py", "unit/serve/gateway unit/serve/upstreams",
            "if not reason or tries == 2 or", "if not reason or"),
    _mutant("an ejected replica gets requests", "serve/upstreams.py", "unit/serve/upstreams unit/serve/gateway",
            'if replica.state == "ready" and replica', "if replica"),
    _mutant("drain is forgotten", "serve/server.py", "live/serve/server",
            "        self.app.draining = True\n        seconds", "        seconds"),
    _mutant("a token check dropped", "serve/gateway_admin.py", "unit/serve/gateway live/serve",
            'compare_digest(request.header(b"authorization") or b"", self._expected)', 'compare_digest(b"", b"")'),

    _mutant("burn rate OR instead of AND", "observe/windows.py", "",
            "fires = burns & long_burns &", "fires = (burns | long_burns) &"),
    _mutant("a window one step too long", "observe/windows.py", "",
            "math.ceil(seconds / self.step - 1e-9)", "math.ceil(seconds / self.step - 1e-9) + 1"),
    _mutant("a counter's reset is ignored", "observe/questions.py", "unit/observe/metric_store",
            "grown = last - first + lost", "grown = last - first"),
    _mutant("a wrong unit of the burn rate", "observe/burnrate.py", "unit/observe/burnrate",
            "* _decimal(self.period), _decimal(self.long)", "* _decimal(self.period), _decimal(self.long * 60)"),
    _mutant("a late label counts as right", "observe/drift_signals.py", "unit/observe/drift_signals",
            ".mask(np.isnan(truth))", ""),
    _mutant("pages that were not taken are lost", "observe/paging.py", "",
            "failed = time.monotonic()", "failed = self.undelivered.clear() or time.monotonic()"),

    _mutant("the likelihood ratio's cost dropped", "deploy/sequential.py", "unit/deploy/sequential",
            "- np.asarray(events, float)[..., None] * cost", ""),
    _mutant("a late label at today's weight", "deploy/canary_evidence.py", "unit/deploy live/deploy/canary",
            "self._unlabelled.pop(name), self._weight", "self._unlabelled.pop(name), 0.5"),
    _mutant("a skipped gate: quality", "deploy/gates_model.py", "unit/deploy live/deploy/problems",
            "    if wrong:\n        raise GateRefused(\n", "    if False:\n        raise GateRefused(\n"),
    _mutant("a skipped gate: secrets", "deploy/gates_security.py", "unit/deploy/gates live/deploy/problems",
            "*_secrets(job.source), ", ""),
    _mutant("non-inferiority without a margin", "deploy/noninferiority.py", "unit/deploy",
            "return self.low > -margin", "return self.difference > -margin"),
    _mutant("a changed record is believed", "deploy/release_record.py", "unit/deploy/release_record",
            "            if not genuine:\n", "            if False:\n"),
    _mutant("a stage's seal is not compared", "deploy/pipeline_store.py", "unit/deploy live/deploy/pipeline_kills",
            'if self.seal(folder) != recorded[-1]["seal"]:', "if False:"),
    _mutant("back to a version that is broken", "deploy/rollback.py", "live/deploy/rollback",
            "        complaint = answers(platform, version)\n", '        complaint = ""\n'),
    _mutant("a service that is killed, not drained", "deploy/process.py", "live/deploy/process live/deploy/platform",
            "self._child.send_signal(signal.SIGTERM)", "self._child.send_signal(signal.SIGKILL)"),

    _mutant("a drill that nobody helped passes", "respond/score.py", "unit/respond",
            "if facts.expected and facts.mitigated is None:", "if False:"),
    _mutant("a fix that did nothing is proved", "respond/drill.py", "unit/respond live/respond/drill",
            "if passed and not any(", "if False and not any("),
    _mutant("a recovery need not last", "respond/judge.py", "unit/respond",
            "if len(kept) and end - kept[0] >= sustained", "if len(kept)"),
    _mutant("a fault is not put back", "respond/watchdog.py", "live/respond/faults",
            "            undo(entries[number])\n", "            pass\n"),
    _mutant("a number of another process is killed", "respond/undo.py", "live/respond/faults",
            "number: int) -> None:\n    if alive(pid, created):", "number: int) -> None:\n    if True:"),
    _mutant("a runbook acts without its phrase", "respond/runbook.py", "unit/respond/runbook",
            "if not dry_run and confirmation != self.phrase:", "if False:"),
    _mutant("a void drill is as promised", "respond/trials.py", "unit/respond/trials",
            "return self.outcome == self.job.expected", 'return self.outcome in (self.job.expected, "void")'),

    _mutant("submissions can read the lab", "teach/grading_bubblewrap.py", "engines/bwrap unit/teach",
            "if hidden.resolve().is_relative_to(folder.resolve()):", "if False:"),
    _mutant("the notebook's folder is written over", "teach/outfolder.py", "unit/teach/outfolder live/teach/run",
            "if any(place.is_relative_to(folder) for place in (Path(", "if any(False for place in (Path("),
    _mutant("a folder of others is graded into", "teach/grading_store.py", "unit/teach live/teach/grading_class",
            "if out.is_dir() and not mark.is_file() and", "if False and"),
    _mutant("a mismatch is not reported", "teach/comparison.py", "unit/teach/comparison live/teach/nbval",
            "            reason = _difference(reference, fresh)\n", '            reason = ""\n'),
    _mutant("a text is taken for a number", "teach/parameters.py", "unit/teach/parameters",
            "strict=True, allow_inf_nan=False", "strict=False, allow_inf_nan=False"),
    _mutant("a late day too few", "teach/grading_late.py", "unit/teach live/teach/grading_class",
            "math.ceil(late_seconds / self.period)", "math.floor(late_seconds / self.period)"),
    _mutant("a solution is handed out", "teach/labs_regions.py", "unit/teach/labs",
            "lines[region.begin : region.end + 1] = fresh", "lines[region.begin : region.begin] = fresh"),
)
# fmt: on


class Copy:
    """A copy of a checkout without what was built, and a process that runs its tests. It has loaded other people's
    packages, and is forked for each run: what is loaded of this package is always what the copy holds then.
    """

    def __init__(self, project: Path, root: Path, python: str) -> None:
        shutil.copytree(project, root, ignore=_LEFT_OUT, symlinks=True)
        (root / ".venv").symlink_to(project / ".venv")
        self.root, self.output = root, root / "output"
        own = {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", "OPSLAB_CACHE": str(root / "build" / "cache")}
        self.environment = {**os.environ, **own}
        if root.name == "0":
            self._prove(python)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        command = [python, "-c", _RUNNER, str(SECONDS)]
        self._runner = subprocess.Popen(command, cwd=root, env=self.environment, **pipes)  # type: ignore[call-overload]

    def _prove(self, python: str) -> None:
        """Break the copy's package, and see that an import, a module and the command all notice."""
        file = self.root / "mlops_helpers" / "__init__.py"
        whole = file.read_bytes()
        file.write_text("raise RuntimeError('of the copy')\n", "utf-8")
        script = str(Path(python).with_name("opslab"))
        for command in ([python, "-c", "import mlops_helpers"], [python, "-P", "-m", "mlops_helpers.cli"], [script]):
            done = subprocess.run(command, cwd="/", env=self.environment, capture_output=True, text=True)
            if "of the copy" not in done.stderr:
                sys.exit(f"{' '.join(command)} does not import the copy in {self.root}: {done.stderr[-500:]}")
        file.write_bytes(whole)

    def failing(self, tests: list[str]) -> tuple[str, str]:
        """Run tests up to the first that fails; return it (empty: none does) and what else went wrong."""
        self._runner.stdin.write(json.dumps([str(self.output), *tests]) + "\n")
        self._runner.stdin.flush()
        code = self._runner.stdout.readline().strip()
        printed = self.output.read_text("utf-8", "replace")
        if test := _FAILED.search(printed):
            return test[1], ""
        return "", "" if code == "0" else f"no test ran, code {code}: {printed[-300:]}"

    def close(self) -> None:
        """End the process."""
        self._runner.stdin.close()
        self._runner.wait()


def verdict(mutant: Mutant, copy: Copy) -> tuple[str, str]:
    """Plant a bug; return whether it was ``killed``, ``SURVIVED`` or is an ``ERROR``, and by which test or why."""
    file, tests = copy.root / "mlops_helpers" / mutant.file, mutant.paths(copy.root)
    whole = file.read_text("utf-8") if file.exists() else ""
    if whole.count(mutant.before) != 1:
        return "ERROR", f"its text is {whole.count(mutant.before)} times in {mutant.file}: point it at today's code"
    file.write_text(whole.replace(mutant.before, mutant.after), "utf-8")
    try:
        test, problem = copy.failing(tests)
    finally:
        file.write_text(whole, "utf-8")
    return ("ERROR", problem) if problem else ("killed", test) if test else ("SURVIVED", " ".join(tests))


def main() -> int:
    """Try the bugs that are named, or all; print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a bug's name, or a room (default: all)")
    parser.add_argument("--old", type=Path, default=PROJECT, help="another checkout (default: this one)")
    parser.add_argument("--old-python", default=sys.executable, help="its interpreter")
    parser.add_argument("--at-once", type=int, default=2, help="bugs at the same time (default: %(default)s)")
    args = parser.parse_args()
    chosen = [one for one in MUTANTS if not args.names or {one.name, one.room} & {*args.names}]
    if unknown := set(args.names) - {one.name for one in MUTANTS} - {one.room for one in MUTANTS}:
        parser.error(f"there is no bug or room {', '.join(sorted(unknown))}")
    states: list[str] = []
    found_by: set[str] = set()
    build = PROJECT / "build"  # not in /tmp, of which a submission has one of its own
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mutants-", dir=build) as scratch:
        count = min(args.at_once, len(chosen))
        copies = [Copy(args.old.resolve(), Path(scratch, str(number)), args.old_python) for number in range(count)]
        free: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for copy in copies:
            free.put(copy)

        def work(mutant: Mutant) -> None:
            copy, began = free.get(), time.monotonic()
            state, by = verdict(mutant, copy)
            free.put(copy)
            states.append(state)
            found_by.update({by} if state == "killed" else ())
            print(f"{state:9}{mutant.room:9}{time.monotonic() - began:5.0f} s  {mutant.name:42} {by}", flush=True)

        with ThreadPoolExecutor(args.at_once) as pool:
            list(pool.map(work, chosen))
        without, problem = copies[0].failing(sorted(found_by)) if found_by else ("", "")
        for copy in copies:
            copy.close()
    if without or problem:
        print(f"ERROR: a test that found a bug fails without one, too: {without}{problem}")
        return 1
    print(", ".join(f"{states.count(state)} {state}" for state in ("killed", "SURVIVED", "ERROR")))
    return 0 if states.count("killed") == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
