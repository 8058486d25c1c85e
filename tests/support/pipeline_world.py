"""A pipeline with gates that count how often they are asked, and that can be killed anywhere."""

import json
import os
import signal

from mlops_helpers.deploy.gates import Gate, Target
from mlops_helpers.deploy.pipeline import run
from mlops_helpers.deploy.pipeline_store import Store
from mlops_helpers.deploy.stages import parse
from mlops_helpers.errors import GateRefused

TEXT = """
stages:
  tests: {gate: look, files: [code.txt, tests]}
  data: {gate: make, files: ["data/*.txt"]}
  train: {gate: make, files: [code.txt], needs: [data]}
  judge: {gate: judge, needs: [train], with: {least: 3}}
  package: {gate: make, files: [code.txt], needs: [train]}
  moment: {gate: look, files: [release.txt], needs: [judge]}
  production: {needs: [package]}
ends: {integration: judge, delivery: moment, deployment: production}
"""
RELEASED = "package(code+train(code+data(comments+more comments)))"
NAMES = ["tests", "data", "train", "judge", "package", "moment", "production"]


class Production:
    """What was released, in a file that outlives a killed process."""

    def __init__(self, folder):
        self.file = folder / "released.jsonl"

    def serving(self):
        return None

    def release(self, content, tell):
        tell("switched", serves=content)
        with self.file.open("a") as file:
            file.write(json.dumps(content) + "\n")
        return True

    @property
    def released(self):
        return [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []


class Killed:
    """Where a run is to be killed: (``stage``, ``begin``, ``middle`` or ``end``)."""

    at = None

    def here(self, *place):
        if self.at == place:
            os.kill(os.getpid(), signal.SIGKILL)


class World:
    """A source, a store, a production and gates that count how often they are asked."""

    def __init__(self, folder):
        self.source, self.folder = folder / "source", folder
        for name, content in {
            "code.txt": "code",
            "release.txt": "feature",
            "tests/a.txt": "a test",
            "data/one.txt": "comments",
            "data/two.txt": "more comments",
        }.items():
            self.write(name, content)
        self.store, self.production = Store(folder / "store"), Production(folder)
        self.asked, self.killed, self.refuse = [], Killed(), set()
        self.gates = {
            "look": Gate(self._look),
            "make": Gate(self._make, depends=lambda target: target.runtime),
            "judge": Gate(self._judge),
            "production": Gate(self._release, always=True),
        }

    def write(self, name, content):
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def work(self):
        """Return where a stage is at work, or was when its run was killed."""
        return list(self.store.folder.glob(".work-*"))

    def run(self, pipeline=None, **more):
        self.asked.clear()
        target = more.pop("target", Target(self.production))
        return run(
            pipeline or parse(TEXT), self.source, target, store=self.store, gates=self.gates, say=self._say, **more
        )

    def _say(self, text):
        if text.endswith("..."):
            self.stage = text.removesuffix(" ...")

    def _ask(self, job, make):
        self.asked.append(self.stage)
        self.killed.here(self.stage, "begin")
        seen = sorted(path.relative_to(job.source).as_posix() for path in job.source.rglob("*") if path.is_file())
        parts = [(job.source / name).read_text() for name in seen]
        parts += [(folder / "made.txt").read_text() for name, folder in job.needs.items() if name != "judge"]
        if make:
            (job.output / "made.txt").write_text("half")
        self.killed.here(self.stage, "middle")
        if self.stage in self.refuse:
            raise GateRefused(f"{self.stage} says no")
        if make:
            (job.output / "made.txt").write_text(f"{self.stage}({'+'.join(parts)})")
        job.say(f"saw {seen}")
        self.killed.here(self.stage, "end")
        return {"seen": seen}

    def _look(self, job):
        return self._ask(job, make=False)

    def _make(self, job):
        return self._ask(job, make=True)

    def _judge(self, job):
        found = self._ask(job, make=False)
        if len((job.needs["train"] / "made.txt").read_text()) < job.setting("least", 1):
            raise GateRefused("too short")
        return found

    def _release(self, job):
        self.asked.append(self.stage)
        self.killed.here("production", "begin")
        content = (job.needs["package"] / "made.txt").read_text()
        job.target.production.release(content, job.tell)
        self.killed.here("production", "end")
        return {"committed_at": "2026-01-12T09:00:00Z", "rework": False}
