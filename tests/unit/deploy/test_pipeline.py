"""Running a pipeline: what is run again, what is not, and what is believed of what a killed run left."""

import os
import threading

import pytest

from mlops_helpers.deploy.gates import Gate, Target
from mlops_helpers.deploy.pipeline_store import Store
from mlops_helpers.deploy.stages import parse
from mlops_helpers.errors import PipelineError, TamperedArtifactError
from tests.support.pipeline_world import NAMES, RELEASED, TEXT, World


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_source_goes_through_all_stages_in_order(world):
    done = world.run()
    assert (done.outcome, done.stopped_by) == ("deployed", "")
    assert list(done.stages) == NAMES
    assert done.stages["tests"].facts == {"seen": ["code.txt", "tests/a.txt"]}
    assert world.production.released == [RELEASED]
    assert "saw ['code.txt']" in done.stages["train"].log
    assert sorted(done.stages["train"].inputs) == ["code.txt", "data/"]
    assert done.stages["train"].inputs["data/"] == done.stages["data"].sha256
    events = [entry["event"] for entry in world.store.record.entries(done.release)]
    assert events == ["started", *["stage"] * 6, "switched", "stage", "deployed"]
    assert not world.work()


def test_unchanged_source_runs_no_stage_but_those_of_the_moment(world):
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
def test_stages_that_depend_on_a_change_run_again_and_no_others(world, name, content, asked):
    first = world.run().release
    world.write(name, content)
    done = world.run()
    assert world.asked == asked
    assert done.release != first


def test_same_bytes_are_known_from_long_ago(world):
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


def test_refusal_stops_the_run_says_why_and_is_asked_again(world):
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


def test_failure_that_is_no_verdict_leaves_nothing_behind(world):
    world.gates["judge"] = Gate(lambda job: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        world.run()
    assert not world.work()
    assert [path.name.partition("-")[0] for path in sorted((world.store.folder / "stages").iterdir())] == [
        "data",
        "tests",
        "train",
    ]


def test_pipeline_has_three_ways_to_end(world):
    assert world.run(end="integration").outcome == "ready"
    assert world.asked == NAMES[:4]
    ready = world.run(end="delivery")
    assert (ready.outcome, world.asked) == ("ready", ["package", "moment"])
    assert world.production.released == []
    done = world.run(end="deployment")
    assert (done.outcome, done.release, world.asked) == ("deployed", ready.release, ["production"])


def test_stage_that_is_left_out_is_not_asked(world):
    world.refuse = {"judge"}
    pipeline = parse(TEXT.replace("integration: judge", "integration: train")).without("judge")
    done = world.run(pipeline)
    assert done.outcome == "deployed"
    with pytest.raises(PipelineError, match="no stage is called 'nothing'"):
        pipeline.without("nothing")
    with pytest.raises(PipelineError, match="deployment ends with production"):
        pipeline.without("production")


@pytest.mark.parametrize(
    ("text", "message"),
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
def test_bad_stages_are_refused_with_the_reason(text, message):
    with pytest.raises(PipelineError, match=message):
        parse(text)


def test_bad_runs_are_refused_before_anything_happens(world):
    with pytest.raises(PipelineError, match="train has gate 'magic'; there are: look, make"):
        world.run(parse(TEXT.replace("train: {gate: make", "train: {gate: magic")))
    with pytest.raises(PipelineError, match="no end is called 'party'; accepted: integration, delivery, deployment"):
        world.run(end="party")
    with pytest.raises(PipelineError, match="needs a production"):
        world.run(target=Target())
    assert world.store.record.entries() == []


def test_missing_input_is_refused_by_name(world):
    (world.source / "code.txt").unlink()
    with pytest.raises(PipelineError, match=r"stage tests takes code[.]txt"):
        world.run()
    (world.source / "data/one.txt").unlink()
    (world.source / "data/two.txt").unlink()
    world.write("code.txt", "code")
    assert world.run().outcome == "deployed"  # a pattern may match nothing


@pytest.mark.parametrize("name", ["output/made.txt", "result.json", "output/more.txt"])
def test_tampered_result_is_refused(world, name):
    done = world.run()
    path = done.stages["train"].folder / name
    path.write_text((path.read_text() if path.exists() else "") + " ")
    with pytest.raises(TamperedArtifactError, match=r"what stage train made.*Next"):
        world.run()
    assert len(world.production.released) == 1


def test_result_that_the_record_does_not_name_is_not_believed(world):
    done = world.run(end="delivery")
    forged = Store(world.folder / "forged")
    (done.stages["train"].folder / "output/made.txt").write_text("forged")
    done.stages["train"].folder.parent.rename(forged.folder / "stages")
    world.store = forged
    world.run()
    assert world.production.released == [RELEASED]


def test_nothing_is_released_on_a_changed_record(world):
    world.run(end="delivery")
    path = world.store.record.path
    path.write_text(path.read_text().replace('"verdict": "passed"', '"verdict": "refused"', 1))
    world.store = Store(world.store.folder)
    with pytest.raises(PipelineError, match="the record was changed"):
        world.run()
    assert world.production.released == []


def test_two_runs_at_once_do_not_mix(world):
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
