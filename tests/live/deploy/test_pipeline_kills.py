"""Pipelines and records whose processes are killed or are many: what is believed of what they left."""

import multiprocessing
import os
import signal

import pytest

from mlops_helpers.deploy import pipeline_store
from mlops_helpers.deploy.release_record import ReleaseRecord
from tests.support.pipeline_world import NAMES, RELEASED, World

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


PLACES = [("tests", "begin"), ("data", "middle"), *(("train", when) for when in ("begin", "middle", "end"))]
PLACES += [("judge", "begin"), ("package", "end"), ("moment", "middle"), ("production", "begin"), ("production", "end")]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: "-".join(place))
def test_run_killed_at_a_stage_continues_and_deploys_what_was_judged(world, place):
    world.killed.at = place
    killed(world.run)
    before = len(world.production.released)
    assert before == (place == ("production", "end"))
    world.killed.at = None
    done = world.run()
    assert (done.outcome, done.release) == ("deployed", "release-1")
    stage = NAMES.index(place[0])
    assert not set(world.asked) & set(NAMES[:stage])  # what had passed is not run again
    assert set(world.production.released) == {RELEASED}
    assert [one["event"] for one in world.store.record.entries()].count("deployed") == 1
    assert not world.work()


@pytest.mark.parametrize(("when", "write"), [*(("after", write) for write in range(1, 11)), ("before", 10)])
def test_run_killed_around_a_write_to_the_record_continues(world, monkeypatch, write, when):
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
    assert set(world.production.released) == {RELEASED}
    assert [one["event"] for one in world.store.record.entries()].count("deployed") == 1


def test_result_of_a_run_killed_while_sealing_is_made_again(world, monkeypatch):
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


def test_record_takes_the_entries_of_several_processes(tmp_path):
    record = ReleaseRecord(tmp_path)

    def work(name):
        mine = ReleaseRecord(record.folder)
        for _ in range(10):
            mine.append("canary_stage", name)

    workers = [FORK.Process(target=work, args=(f"release-{n}",)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert len(record.entries()) == 40
