"""Planted bugs: each is put into a copy of the project, where the tests of its room must find it.

``python -m benchmarks.mutants [NAME ...]`` exits with 1 when a bug survives, or when its text is not there any more:
then point it at the code that does now what it broke. A bug counts as found when a test fails that passes without it.
``--old FOLDER --old-python PYTHON`` plants the same bugs into another checkout, to see what its tests find.
"""

import argparse
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


@dataclass(frozen=True)
class Mutant:
    """A bug: the text ``before``, once in a file of the package, becomes ``after``. ``tests`` are below tests/."""

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
        """Return the tests that there are; without any of its own, the unit and live tests of its room."""
        own = [f"tests/{path}" for path in self.tests if (root / "tests" / path).exists()]
        rooms = (f"tests/unit/{self.room}", f"tests/live/{self.room}", f"tests/{self.room}")
        return own or [path for path in rooms if (root / path).exists()]


def _mutant(name: str, file: str, before: str, after: str, tests: str = "") -> Mutant:
    return Mutant(name, file, before, after, tuple(tests.split()))


# fmt: off
MUTANTS = (
    _mutant("half a file keeps its name", "workspace.py", "        yield stage / path.name\n        (stage / path.name).replace(path)", "        yield path", "unit/test_workspace.py live/test_workspace.py test_workspace.py"),
    _mutant("a failed replacement loses the folder", "workspace.py", "                old.rename(path)\n", "                pass\n", "unit/test_workspace.py live/test_workspace.py test_workspace.py"),
    _mutant("a lock that is not taken", "workspace.py", "        fcntl.flock(lock, fcntl.LOCK_EX)\n", "", "unit/test_workspace.py live/test_workspace.py test_workspace.py unit/respond/test_scenarios.py respond/test_scenarios.py"),

    _mutant("an artifact's hash is not verified", "model/sealed.py", 'if found != named["sha256"]:', "if False:"),
    _mutant("the registry's hash is ignored", "model/sealed.py", "if expected_sha256 is not None and found != expected_sha256:", "if False:"),
    _mutant("a strict threshold", "model/artifact.py", "return self.score(text) >= self.threshold", "return self.score(text) > self.threshold"),
    _mutant("a term that occurs twice counts once", "model/scorer.py", "count = more + 1", "count = more", "unit/model/test_scorer.py model/test_scorer.py"),
    _mutant("near-duplicates on both sides", "model/training.py", "next(splitter.split(frame, groups=groups))", "next(splitter.split(frame, groups=np.arange(len(frame))))"),
    _mutant("ham blocked is spam caught", "model/evaluation.py", "ham_blocked=_proportion(fp, fp + tn)", "ham_blocked=_proportion(fp, fp + tp)"),

    _mutant("a missing fsync of the event log", "serve/segments.py", 'os.O_APPEND | getattr(os, "O_DSYNC", os.O_SYNC)', "os.O_APPEND", "unit/serve live/serve/test_reliability.py serve/test_eventlog.py"),
    _mutant("a swallowed write error", "serve/eventlog.py", "            self.failed = error\n            self._accepting = False\n", "            pass\n", "unit/serve/test_eventlog.py serve/test_eventlog.py"),
    _mutant("a torn record is kept", "serve/segments.py", "            file.truncate(end)\n", "", "unit/serve/test_eventlog.py serve/test_eventlog.py"),
    _mutant("a commit that is not synced", "serve/groupcommit.py", "PRAGMA synchronous = FULL", "PRAGMA synchronous = OFF", "unit/serve live/serve serve/test_store.py serve/test_blog.py serve/test_reliability.py"),
    _mutant("one bad write undoes another's", "serve/groupcommit.py", 'execute("ROLLBACK TO one")', 'execute("ROLLBACK")', "unit/serve/test_store.py serve/test_store.py"),
    _mutant("an idempotency key stores twice", "serve/store.py", "            if found:\n", "            if False:\n", "unit/serve/test_store.py unit/serve/test_blog.py serve/test_store.py serve/test_blog.py"),
    _mutant("a verdict changes a moderator's decision", "serve/store.py", "state = iif(state = 'pending' OR reason = 'unclassified', ?, state)", "state = ?", "unit/serve/test_store.py unit/serve/test_blog.py serve/test_store.py serve/test_blog.py"),
    _mutant("an unescaped page", "serve/pages.py", "autoescape=True", "autoescape=False", "unit/serve/test_blog.py unit/serve/test_pages.py serve/test_pages.py serve/test_blog.py"),
    _mutant("a weight that is ignored", "serve/routing.py", "entry[2] / -math.log(point(entry[1], key))", "1 / -math.log(point(entry[1], key))", "unit/serve/test_routing.py serve/test_routing.py"),
    _mutant("retries without end", "serve/forwarding.py", "if not reason or tries == 2 or", "if not reason or", "unit/serve/test_gateway.py unit/serve/test_upstreams.py serve/test_gateway.py serve/test_upstreams.py"),
    _mutant("an ejected replica gets requests", "serve/upstreams.py", 'if replica.state == "ready" and replica is not other_than', "if replica is not other_than", "unit/serve/test_upstreams.py unit/serve/test_gateway.py serve/test_upstreams.py serve/test_gateway.py"),
    _mutant("drain is forgotten", "serve/server.py", "        self.app.draining = True\n        seconds = self.app.limits.drain_seconds if sig == signal.SIGTERM else 0\n", "        seconds = 0\n", "unit/serve/test_server.py live/serve/test_server.py live/serve/test_reliability.py serve/test_server.py"),
    _mutant("a token check dropped", "serve/gateway_admin.py", 'if not hmac.compare_digest(request.header(b"authorization") or b"", self._expected):', "if False:", "unit/serve/test_gateway.py live/serve serve/test_gateway.py"),
    _mutant("the filter's token check dropped", "serve/filter.py", "if not hmac.compare_digest(", "if False and not hmac.compare_digest(", "unit/serve/test_filter.py serve/test_filter.py"),
    _mutant("the rate limit never refills", "serve/ratelimit.py", "left + (now - since) * self._per_second", "left", "unit/serve/test_blog.py unit/serve serve"),

    _mutant("burn rate OR instead of AND", "observe/windows.py", "fires = burns & long_burns &", "fires = (burns | long_burns) &"),
    _mutant("a window one step too long", "observe/windows.py", "width = max(1, math.ceil(seconds / self.step - 1e-9))", "width = max(1, math.ceil(seconds / self.step - 1e-9)) + 1"),
    _mutant("a counter's reset is ignored", "observe/questions.py", "grown = last - first + lost", "grown = last - first", "unit/observe/test_metric_store.py unit/observe observe/test_metric_store.py"),
    _mutant("a wrong unit of the burn rate", "observe/burnrate.py", "_decimal(self.spent) * _decimal(self.period)", "_decimal(self.spent) * _decimal(self.period) / 60", "unit/observe/test_burnrate.py observe/test_burnrate.py"),
    _mutant("a rule that cannot fire is accepted", "observe/burnrate.py", "if share > MOST:", "if False:", "unit/observe/test_burnrate.py observe/test_burnrate.py"),
    _mutant("a late label counts as right", "observe/drift_signals.py", ".mask(np.isnan(truth))", "", "unit/observe/test_drift_signals.py observe/test_drift_signals.py"),
    _mutant("pages that were not taken are lost", "observe/paging.py", "            failed = time.monotonic()\n", "            failed = time.monotonic()\n            self.undelivered.clear()\n"),
    _mutant("a mean lead time", "observe/delivery_metrics.py", "change_lead_time=lead.median()", "change_lead_time=lead.mean()", "unit/observe/test_delivery_metrics.py observe/test_delivery_metrics.py"),
    _mutant("a spent budget ships", "observe/policy.py", "if remaining > 0:", "if remaining >= 0:", "unit/observe/test_policy.py observe/test_policy.py"),

    _mutant("evidence from one look too early", "deploy/sequential.py", "return tests / alpha", "return 1 / alpha", "unit/deploy/test_sequential.py unit/deploy deploy/test_sequential.py deploy/test_canary.py"),
    _mutant("the likelihood ratio's cost dropped", "deploy/sequential.py", "np.log(ratios) - np.asarray(events, float)[..., None] * cost", "np.log(ratios)", "unit/deploy/test_sequential.py deploy/test_sequential.py"),
    _mutant("a late label at today's weight", "deploy/canary_evidence.py", "self._unlabelled.pop(name), self._weight", "self._unlabelled.pop(name), 0.5", "unit/deploy/test_canary_evidence.py live/deploy/test_canary.py deploy/test_canary.py"),
    _mutant("a skipped gate: quality", "deploy/gates_model.py", "    if wrong:\n        raise GateRefused(\n            f\"the model is not", "    if False:\n        raise GateRefused(\n            f\"the model is not", "unit/deploy live/deploy/test_problems.py deploy/test_gates.py deploy/test_problems.py"),
    _mutant("a skipped gate: secrets", "deploy/gates_security.py", "*_secrets(job.source), ", "", "unit/deploy/test_gates.py live/deploy/test_problems.py deploy/test_gates.py deploy/test_problems.py"),
    _mutant("non-inferiority without a margin", "deploy/noninferiority.py", "return self.low > -margin", "return self.difference > -margin", "unit/deploy/test_gates.py unit/deploy deploy/test_gates.py"),
    _mutant("a changed record is believed", "deploy/release_record.py", "            if not genuine:\n", "            if False:\n", "unit/deploy/test_release_record.py deploy/test_release_record.py"),
    _mutant("a stage's seal is not compared", "deploy/pipeline_store.py", 'if self.seal(folder) != recorded[-1]["seal"]:', "if False:", "unit/deploy/test_pipeline.py live/deploy/test_releases.py live/deploy/test_pipeline_kills.py deploy/test_pipeline.py deploy/test_pipeline_releases.py"),
    _mutant("back to a version that is broken", "deploy/rollback.py", "        complaint = answers(platform, version)\n", '        complaint = ""\n', "unit/deploy/test_rollback.py live/deploy/test_rollback.py deploy/test_rollback.py"),
    _mutant("a crash loop without end", "deploy/process.py", "if quick > len(DELAYS):", "if False:", "live/deploy/test_process.py deploy/test_process.py"),
    _mutant("a service that is killed, not drained", "deploy/process.py", "self._child.send_signal(signal.SIGTERM)", "self._child.send_signal(signal.SIGKILL)", "live/deploy/test_process.py live/deploy/test_platform.py deploy/test_process.py deploy/test_platform.py"),

    _mutant("a drill that nobody helped passes", "respond/score.py", "if facts.expected and facts.mitigated is None:", "if False:", "unit/respond"),
    _mutant("lost comments cost nothing", "respond/score.py", "    if facts.lost:\n", "    if False:\n", "unit/respond"),
    _mutant("a fix that did nothing is proved", "respond/drill.py", "if passed and not any(", "if False and not any(", "unit/respond live/respond/test_drill.py respond/test_guards.py"),
    _mutant("a recovery need not last", "respond/judge.py", "if len(kept) and end - kept[0] >= sustained else None", "if len(kept) else None", "unit/respond respond/test_drill.py"),
    _mutant("a fault is not put back", "respond/watchdog.py", "            undo(entries[number])\n", "            pass\n", "live/respond/test_faults.py respond/test_faults.py"),
    _mutant("a number of another process is killed", "respond/undo.py", "def _send(pid: int, created: float, number: int) -> None:\n    if alive(pid, created):", "def _send(pid: int, created: float, number: int) -> None:\n    if True:", "live/respond/test_faults.py respond/test_faults.py"),
    _mutant("a runbook acts without its phrase", "respond/runbook.py", "if not dry_run and confirmation != self.phrase:", "if False:", "unit/respond/test_runbook.py respond/test_runbook.py"),
    _mutant("a void drill is as promised", "respond/trials.py", "return self.outcome == self.job.expected", 'return self.outcome in (self.job.expected, "void")', "unit/respond/test_trials.py respond/test_trials.py"),

    _mutant("the sandbox has the network", "teach/grading_bubblewrap.py", '"pid", "net", "uts"', '"pid", "uts"', "engines/bwrap/test_attacks.py teach/test_grading_attacks.py"),
    _mutant("the notebook's folder is written over", "teach/outfolder.py", "        if any(place.is_relative_to(folder) for place in (Path(os.path.realpath(path)), _shown(path))):\n", "        if False:\n", "unit/teach/test_outfolder.py live/teach/test_run.py"),
    _mutant("a folder of others is graded into", "teach/grading_store.py", "if out.is_dir() and not mark.is_file() and", "if False and", "unit/teach live/teach/test_grading_class.py"),
    _mutant("a mismatch is not reported", "teach/comparison.py", "            reason = _difference(reference, fresh)\n", '            reason = ""\n', "unit/teach/test_comparison.py live/teach/test_nbval.py teach/test_comparison.py"),
    _mutant("a text is taken for a number", "teach/parameters.py", "strict=True, allow_inf_nan=False", "strict=False, allow_inf_nan=False", "unit/teach/test_parameters.py teach/test_parameters.py"),
    _mutant("a late day too few", "teach/grading_late.py", "math.ceil(late_seconds / self.period)", "math.floor(late_seconds / self.period)", "unit/teach live/teach/test_grading_class.py teach/test_grading_class.py"),
    _mutant("a solution is handed out", "teach/labs_regions.py", "lines[region.begin : region.end + 1] = fresh", "lines[region.begin : region.begin] = fresh", "unit/teach/test_labs.py teach/test_labs.py"),
)
# fmt: on


def copied(project: Path, to: Path) -> Path:
    """Copy a checkout without what was built, with a link to its environment, and prove that it is what is imported."""
    shutil.copytree(project, to, ignore=_LEFT_OUT, symlinks=True)
    (to / ".venv").symlink_to(project / ".venv")
    return to


def prove(root: Path, python: str) -> None:
    """Break the copy's package and see that an import, a module and the command all notice."""
    file = root / "mlops_helpers" / "__init__.py"
    whole = file.read_bytes()
    file.write_text("raise RuntimeError('of the copy')\n", "utf-8")
    script = str(Path(python).with_name("opslab"))
    for command in ([python, "-c", "import mlops_helpers"], [python, "-P", "-m", "mlops_helpers.cli"], [script]):
        done = subprocess.run(command, cwd="/", env=environment(root), capture_output=True, text=True)
        if "of the copy" not in done.stderr:
            sys.exit(f"{' '.join(command)} does not import the copy in {root}: {done.stderr[-500:]}")
    file.write_bytes(whole)


def environment(root: Path) -> dict[str, str]:
    """Return the variables with which the copy comes first in every Python, and nothing compiled is left."""
    own = {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", "OPSLAB_CACHE": str(root / "build" / "cache")}
    return {**os.environ, **own}


def failing(root: Path, python: str, tests: list[str]) -> tuple[str, str]:
    """Run tests up to the first that fails; return it (empty: none does) and what else went wrong."""
    command = [python, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(command, cwd=root, env=environment(root), capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return "", f"no end within {SECONDS:g} s"
    test = _FAILED.search(done.stdout)
    if test:
        return test[1], ""
    return "", "" if done.returncode == 0 else f"no test ran: {done.stdout[-300:]}"


def verdict(mutant: Mutant, root: Path, python: str) -> tuple[str, str]:
    """Plant a bug; return whether it was ``killed``, ``SURVIVED`` or is an ``ERROR``, and by which test or why."""
    file, tests = root / "mlops_helpers" / mutant.file, mutant.paths(root)
    whole = file.read_text("utf-8") if file.exists() else ""
    if whole.count(mutant.before) != 1:
        return "ERROR", f"its text is {whole.count(mutant.before)} times in {mutant.file}: point it at today's code"
    file.write_text(whole.replace(mutant.before, mutant.after), "utf-8")
    try:
        test, problem = failing(root, python, tests)
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
    with tempfile.TemporaryDirectory(prefix="opslab-mutants-") as scratch:
        free: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(min(args.at_once, len(chosen))):
            free.put(copied(args.old, Path(scratch, str(number))))
            prove(Path(scratch, str(number)), args.old_python)

        def work(mutant: Mutant) -> None:
            root, began = free.get(), time.monotonic()
            state, by = verdict(mutant, root, args.old_python)
            free.put(root)
            nonlocal found_by
            states.append(state)
            found_by |= {by} if state == "killed" else set()
            print(f"{state:9}{mutant.room:9}{time.monotonic() - began:5.0f} s  {mutant.name:42} {by}", flush=True)

        with ThreadPoolExecutor(args.at_once) as pool:
            list(pool.map(work, chosen))
        without, problem = failing(free.get(), args.old_python, sorted(found_by)) if found_by else ("", "")
    if without or problem:
        print(f"ERROR: a test that found a bug fails without one, too: {without}{problem}")
        return 1
    print(", ".join(f"{states.count(state)} {state}" for state in ("killed", "SURVIVED", "ERROR")))
    return 0 if states.count("killed") == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
