"""What a canary's observer counts in the gateway's log, for whom; and what the record says to go back to."""

import json
import time
from types import SimpleNamespace

import pytest

from mlops_helpers.deploy.canary_evidence import Observer
from mlops_helpers.deploy.canary_plan import Plan, Stage
from mlops_helpers.deploy.rollback import last_good
from mlops_helpers.errors import ParameterError
from mlops_helpers.serve.routing import RoutingTable
from mlops_helpers.serve.segments import SegmentWriter, frame


@pytest.fixture
def recorded(tmp_path):
    """What an observer asks of a platform, and a function that writes to the gateway's log, in many segments."""
    upstreams = {"v1": ["127.0.0.1:1"], "v2": ["127.0.0.1:2"]}
    log = SegmentWriter(tmp_path / "gateway" / "access", segment_bytes=2_000, keep_segments=0)

    def write(name, version, milliseconds, tries=1, status=200):
        record = {"ts": time.time() + 60, "request_id": name, "comment_id": name, "version": version}
        record |= {"tries": tries, "status": status, "ms": milliseconds, "comments": 1, "replica": "127.0.0.1:1"}
        log.write(frame(json.dumps(record).encode()))

    yield SimpleNamespace(folder=tmp_path, filters=upstreams, predictions=lambda version: []), write
    log.close()


def chosen(name, weight):
    table = RoutingTable({"v1": ["a:1"], "v2": ["b:1"]}, {"v1": 1 - weight, "v2": weight})
    return table.version(name.encode())


@pytest.mark.parametrize("slow", ["v1", "v2"])
def test_slow_answers_of_a_window_are_counted_by_version(recorded, slow):
    platform, write = recorded
    observer = Observer(
        platform, "v1", "v2", Plan((Stage(0.5, 10),), window=50, slow_share=0.1, burst_seconds=1e-9), None
    )
    observer.begin(0.5)
    for number in range(120):  # two windows, and a part of one that is not judged yet
        name = f"slow-{number}"
        version = chosen(name, 0.5)
        write(name, version, 50 + number / 100 if version == slow else 5)
        if number % 40 == 0:
            observer.look()
    observer.look()
    latency = observer.evidence["latency"]
    assert (observer.comments, latency.events) == (120, 10)
    assert latency.hits == (10 if slow == "v2" else 0)
    assert (latency.e_value > 20) is (slow == "v2")
    assert observer.evidence["errors"].events == 0


@pytest.mark.parametrize("trouble", [{"tries": 2}, {"status": 503}], ids=str)
def test_answer_that_needed_a_second_try_or_did_not_come_is_an_error(recorded, trouble):
    platform, write = recorded
    observer = Observer(platform, "v1", "v2", Plan((Stage(0.5, 10),), burst_seconds=1e-9), None)
    observer.begin(0.5)
    for number in range(30):
        version = chosen(f"bad-{number}", 0.5)
        write(f"bad-{number}", version, 5, **(trouble if version == "v2" else {}))
        observer.look()
    errors = observer.evidence["errors"]
    assert errors.hits == errors.events == observer.served > 5


def test_stall_that_makes_many_answers_late_is_one_event(recorded):
    platform, write = recorded
    observer = Observer(platform, "v1", "v2", Plan((Stage(0.5, 10),), burst_seconds=30.0), None)
    observer.begin(0.5)
    for number in range(30):
        write(f"stall-{number}", "v1", 5, tries=2)
        observer.look()
    assert observer.evidence["errors"].events == 1


RECORD = [{"event": "switched", "serves": "v1"}, {"event": "canary_stage"}, {"event": "promoted", "serves": "v2"}]


def test_record_knows_what_to_go_back_to():
    assert last_good(RECORD) == "v2"
    assert last_good(RECORD, other_than="v2") == "v1"


@pytest.mark.parametrize(
    ("record", "other_than", "message"),
    [([], "", "missing or empty"), ([{"event": "canary_stage"}], "", "missing"), (RECORD[:1], "v1", "only v1 ever")],
)
def test_nothing_is_guessed_without_a_record(record, other_than, message):
    with pytest.raises(ParameterError, match=message):
        last_good(record, other_than=other_than)
