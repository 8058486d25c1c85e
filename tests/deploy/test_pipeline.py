"""Running a pipeline: what is run again, what is not, and what is believed of what a killed run left."""

import json
import multiprocessing
import os
import signal
import threading

import pytest

from mlops_helpers.deploy import pipeline_store
from mlops_helpers.deploy.gates import Gate, Target
from mlops_helpers.deploy.pipeline import run
from mlops_helpers.deploy.pipeline_store import Store
from mlops_helpers.deploy.release_record import ReleaseRecord
from mlops_helpers.deploy.stages import parse
from mlops_helpers.errors import GateRefused, PipelineError, TamperedArtifactError

FORK = multiprocessing.get_context("fork")
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


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


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


def test_a_source_goes_through_all_stages_in_order(world):
    done = world.run()
    assert (done.outcome, done.stopped_by) == ("deployed", "")
    assert list(done.stages) == NAMES
    assert done.stages["tests"].facts == {"seen": ["code.txt", "tests/a.txt"]}
    assert world.production.released == ["package(code+train(code+data(comments+more comments)))"]
    assert "saw ['code.txt']" in done.stages["train"].log
    assert sorted(done.stages["train"].inputs) == ["code.txt", "data/"]
    assert done.stages["train"].inputs["data/"] == done.stages["data"].sha256
    events = [entry["event"] for entry in world.store.record.entries(done.release)]
    assert events == ["started", *["stage"] * 6, "switched", "stage", "deployed"]
    assert not (world.store.folder / "work").exists()


def test_an_unchanged_source_runs_no_stage_but_those_of_the_moment(world):
    first = world.run()
    again = world.run()
    assert world.asked == ["production"]
    assert again.release == first.release
    assert [one.reused for one in again.stages.values()] == [True] * 6 + [False]
    assert len(world.store.record.frame()) == 1


@pytest.mark.parametrize(
    ("name", "content", "asked"),
    [
        ("tests/a.txt", "another test", ["tests", "production"]),
        ("data/one.txt", "others", ["data", "train", "judge", "package", "production"]),
        ("README", "nobody declares it", ["production"]),
        ("code.txt", "code two", ["tests", "train", "judge", "package", "production"]),
    ],
)
def test_only_what_depends_on_a_change_runs_again(world, name, content, asked):
    first = world.run().release
    world.write(name, content)
    done = world.run()
    assert world.asked == asked
    assert done.release != first


def test_the_same_bytes_again_are_known_from_long_ago(world):
    world.run()
    world.write("code.txt", "code two")
    world.run()
    world.write("code.txt", "code")
    done = world.run()
    assert (done.release, world.asked) == ("release-3", ["production"])


def test_settings_target_and_code_decide_as_files_do(world):
    world.run()
    world.run(parse(TEXT.replace("least: 3", "least: 4")))
    assert world.asked == ["judge", "production"]
    world.run(target=Target(world.production, runtime="docker"))
    assert world.asked == ["data", "train", "package", "production"]
    gate = world.gates["look"]
    world.gates["look"] = Gate(lambda job: gate.check(job))
    world.run()
    assert world.asked == ["tests", "moment", "production"]


def test_a_refusal_stops_there_says_why_and_is_asked_again(world):
    world.refuse = {"judge"}
    done = world.run()
    assert (done.outcome, done.stopped_by, done.reason) == ("blocked", "judge", "judge says no")
    assert list(done.stages) == NAMES[:4]
    assert "refused: judge says no" in done.stages["judge"].log
    assert world.production.released == []
    assert world.store.record.entries()[-1]["reason"] == "judge says no"
    world.refuse = set()
    again = world.run()
    assert (again.outcome, again.release, world.asked) == ("deployed", done.release, NAMES[3:])


def test_a_failure_that_is_no_verdict_leaves_nothing_behind(world):
    world.gates["judge"] = Gate(lambda job: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        world.run()
    assert not (world.store.folder / "work").exists()
    assert [path.name.partition("-")[0] for path in sorted((world.store.folder / "stages").iterdir())] == [
        "data",
        "tests",
        "train",
    ]


def test_three_ways_to_end_the_same_pipeline(world):
    assert world.run(end="integration").outcome == "ready"
    assert world.asked == NAMES[:4]
    ready = world.run(end="delivery")
    assert (ready.outcome, world.asked) == ("ready", ["package", "moment"])
    assert world.production.released == []
    done = world.run(end="deployment")
    assert (done.outcome, done.release, world.asked) == ("deployed", ready.release, ["production"])


def test_a_stage_that_is_left_out_is_not_asked(world):
    world.refuse = {"judge"}
    pipeline = parse(TEXT.replace("integration: judge", "integration: train")).without("judge")
    done = world.run(pipeline)
    assert done.outcome == "deployed"
    with pytest.raises(PipelineError, match="no stage is called 'nothing'"):
        pipeline.without("nothing")
    with pytest.raises(PipelineError, match="deployment ends with production"):
        pipeline.without("production")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stages: {a: {gate: look, needs: [b]}}\nends: {x: a}", "no stage that a needs is called 'b'; there are: a"),
        ("stages: {a: {needs: [c]}, b: {needs: [a]}, c: {needs: [b]}}\nends: {x: a}", "a needs c needs b needs a"),
        ("stages: {a: {needs: [a]}}\nends: {x: a}", "in a circle: a needs a"),
        ("stages: {a: {}}\nends: {x: b}", "no stage to end with is called 'b'"),
        ("stages: {a: {file: [b]}}\nends: {x: a}", "no key of stage a is called 'file'; there are: gate, files"),
        ("stages: {a: {files: b}}\nends: {x: a}", "files is 'b'; accepted: a list"),
        ("stages: {a: {}, a: {}}\nends: {x: a}", "twice"),
        ("stages: [a]\nends: {x: a}", "mappings"),
        ("stages: {a: {}}", "stages and ends"),
        ("a: [", "cannot be read"),
    ],
)
def test_bad_stages_are_refused_with_the_reason(text, said):
    with pytest.raises(PipelineError, match=said):
        parse(text)


def test_bad_runs_are_refused_before_anything_happens(world):
    with pytest.raises(PipelineError, match="train has gate 'magic'; there are: look, make"):
        world.run(parse(TEXT.replace("train: {gate: make", "train: {gate: magic")))
    with pytest.raises(PipelineError, match="no end is called 'party'; accepted: integration, delivery, deployment"):
        world.run(end="party")
    with pytest.raises(PipelineError, match="needs a production"):
        world.run(target=Target())
    assert world.store.record.entries() == []


def test_a_missing_input_is_refused_by_name(world):
    (world.source / "code.txt").unlink()
    with pytest.raises(PipelineError, match=r"stage tests takes code[.]txt"):
        world.run()
    (world.source / "data/one.txt").unlink()
    (world.source / "data/two.txt").unlink()
    world.write("code.txt", "code")
    assert world.run().outcome == "deployed"  # a pattern may match nothing


@pytest.mark.parametrize("name", ["output/made.txt", "result.json", "output/more.txt"])
def test_a_tampered_result_is_refused(world, name):
    done = world.run()
    path = done.stages["train"].folder / name
    path.write_text((path.read_text() if path.exists() else "") + " ")
    with pytest.raises(TamperedArtifactError, match=r"what stage train made.*Next"):
        world.run()
    assert len(world.production.released) == 1


def test_a_result_that_the_record_does_not_name_is_not_believed(world):
    done = world.run(end="delivery")
    forged = Store(world.folder / "forged")
    (done.stages["train"].folder / "output/made.txt").write_text("forged")
    done.stages["train"].folder.parent.rename(forged.folder / "stages")
    world.store = forged
    world.run()
    assert world.production.released == ["package(code+train(code+data(comments+more comments)))"]


def test_nothing_is_released_on_a_changed_record(world):
    world.run(end="delivery")
    path = world.store.record.path
    path.write_text(path.read_text().replace('"verdict": "passed"', '"verdict": "refused"', 1))
    world.store = Store(world.store.folder)
    with pytest.raises(PipelineError, match="the record was changed"):
        world.run()
    assert world.production.released == []


def test_two_at_once_do_not_mix(world):
    inside, go_on = threading.Event(), threading.Event()

    def waiting(job):
        inside.set()
        assert go_on.wait(60)
        return {}

    others = World(world.folder / "other")
    others.store = Store(world.store.folder)
    world.gates["judge"] = Gate(waiting)
    thread = threading.Thread(target=world.run)
    thread.start()
    try:
        assert inside.wait(60)
        with pytest.raises(PipelineError, match=rf"another pipeline runs .*process {os.getpid()}.*Next"):
            others.run()
    finally:
        go_on.set()
        thread.join(60)
    assert others.production.released == []
    assert len(world.production.released) == 1
    assert others.run().release == "release-2" or others.asked  # now it may


PLACES = [(name, when) for name in NAMES[:-1] for when in ("begin", "middle", "end")]
PLACES += [("production", "begin"), ("production", "end")]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: "-".join(place))
def test_killed_at_a_stage_it_continues_and_deploys_what_was_judged(world, place):
    world.killed.at = place
    killed(world.run)
    before = len(world.production.released)
    assert before == (place == ("production", "end"))
    world.killed.at = None
    done = world.run()
    assert (done.outcome, done.release) == ("deployed", "release-1")
    stage = NAMES.index(place[0])
    assert not set(world.asked) & set(NAMES[:stage])  # what had passed is not run again
    assert set(world.production.released) == {"package(code+train(code+data(comments+more comments)))"}
    assert [one["event"] for one in world.store.record.entries()].count("deployed") == 1
    assert not (world.store.folder / "work").exists()


@pytest.mark.parametrize("write", range(1, 11))
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_around_each_write_to_the_record_it_continues(world, monkeypatch, write, when):
    writes = 0

    def append(self, event, release, **facts):
        nonlocal writes
        writes += 1
        if writes == write and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        entry = real(self, event, release, **facts)
        if writes == write:
            os.kill(os.getpid(), signal.SIGKILL)
        return entry

    real = ReleaseRecord.append
    with monkeypatch.context() as patched:
        patched.setattr(ReleaseRecord, "append", append)
        killed(world.run)
    done = world.run()
    assert (done.outcome, done.release) == ("deployed", "release-1")
    assert set(world.production.released) == {"package(code+train(code+data(comments+more comments)))"}
    assert [one["event"] for one in world.store.record.entries()].count("deployed") == 1


def test_killed_while_a_result_is_sealed_it_is_made_again(world, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(pipeline_store, "tree_hash", lambda folder: os.kill(os.getpid(), signal.SIGKILL))
        killed(world.run)
    assert world.run().outcome == "deployed"


def killed(call):
    """Call in a process that gets killed meanwhile."""
    process = FORK.Process(target=call)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
