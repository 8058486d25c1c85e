"""Canaries on a real platform: what is counted for whom, how each one ends, and that readers notice nothing."""

import pandas as pd
import pytest

from mlops_helpers.deploy.calls import call
from mlops_helpers.deploy.canary import release_canary
from mlops_helpers.deploy.canary_evidence import Observer
from mlops_helpers.deploy.canary_plan import Plan, Stage
from mlops_helpers.deploy.rollback import rollback
from mlops_helpers.errors import ParameterError, ServiceError
from mlops_helpers.serve import records
from mlops_helpers.serve.plan import comments_from, plan
from mlops_helpers.serve.traffic import Traffic
from tests.support.platforms import Told, live_platform
from tests.support.waiting import until

SMALL = Plan((Stage(0.3, 60), Stage(0.6, 60)), window=60, slow_share=0.05, stage_seconds=60)


@pytest.fixture(scope="module")
def platform(artifact, tmp_path_factory):
    versions = {"v1": artifact, "v2": artifact}
    with live_platform(versions, tmp_path_factory.mktemp("platform"), supervise=False) as running:
        yield running


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def traffic(platform, comments, tmp_path):
    """Comments that arrive all the time; in the end none of them has failed."""
    arrivals = plan(comments_from(comments.frame), rate=60, seconds=200, seed=3)
    with Traffic(platform.gateway, arrivals, tmp_path / "traffic.jsonl", api="classify", timeout=60) as running:
        yield running
        running.stop()
    frame = running.frame()
    assert set(frame["outcome"]) <= {"ok", "stopped"}
    assert (frame["outcome"] == "ok").sum() > 20


@pytest.fixture(autouse=True)
def everything_at_v1(platform):
    yield
    for version in ("v1", "v2"):
        platform.start(f"filter-{version}-0")
    rollback(platform, "v1")


def send(platform, names):
    for name in names:
        call("POST", platform.gateway, "/v1/classify", {"id": name, "text": "hello"})


def look_until(observer, count):
    """Look until so many comments were counted; the access log is written soon, not at once."""

    def seen():
        observer.look()
        return observer.comments >= count

    until(seen)


def test_equal_version_is_promoted(platform, traffic, told):
    verdict = release_canary(platform, "v2", "v1", SMALL, tell=told, every=0.05)
    assert (verdict.outcome, verdict.back) == ("promoted", None), verdict
    assert platform.weights() == {"v1": 0.0, "v2": 1.0}
    assert told.events == ["canary_started", "canary_stage", "canary_stage", "canary_promoted"]
    assert [step["weight"] for step in told if step["event"] == "canary_stage"] == [0.3, 0.6]
    assert told[-1]["serves"] == "v2"
    assert {look.stage for look in verdict.looks} == {1, 2}
    assert 10 <= verdict.served <= 119
    assert set(verdict.looks[-1].evidence) == {"errors", "latency"}


def test_canary_that_is_down_is_aborted_and_readers_notice_nothing(platform, traffic, told):
    platform.stop("filter-v2-0")
    plan_of_many = Plan((Stage(0.2, 100_000),), burst_seconds=0.01)
    verdict = release_canary(platform, "v2", "v1", plan_of_many, tell=told, every=0.02)
    assert verdict.outcome == "aborted"
    assert verdict.reason.startswith("errors: ")
    assert "expected if it is not worse" in verdict.reason
    assert platform.weights() == {"v1": 1.0, "v2": 0.0}
    assert told.events == ["canary_started", "canary_stage", "rolled_back", "canary_aborted"]
    assert verdict.looks[-1].evidence["errors"] >= verdict.limit == 40
    assert verdict.served < 1000  # of 100,000 in that stage


def test_canary_that_judges_badly_is_aborted_by_late_labels(platform, traffic):
    def labels():
        """Moderators find every verdict of v2 wrong, and all others right."""
        frame = records.read(platform.predictions("v1") + platform.predictions("v2"))
        frame = frame[frame["comment_id"].notna() & ~frame["shadow"]]
        return frame.assign(label=frame["spam"].astype(bool) ^ (frame["version"] == "v2"))[["comment_id", "label"]]

    verdict = release_canary(platform, "v2", "v1", Plan((Stage(0.3, 100_000),)), labels=labels, every=0.05)
    assert verdict.outcome == "aborted"
    assert verdict.reason.startswith("quality: ")
    assert verdict.limit == 60
    assert platform.weights() == {"v1": 1.0, "v2": 0.0}


def test_missing_labels_end_a_canary_without_a_verdict(platform, traffic, told):
    none = pd.DataFrame({"comment_id": [], "label": []})
    waiting = Plan((Stage(0.3, 10, labels=5),), stage_seconds=0.5)
    verdict = release_canary(platform, "v2", "v1", waiting, labels=lambda: none, tell=told, every=0.05)
    assert verdict.outcome == "inconclusive"
    assert "0 of 5 labels in 0.5 s; nothing speaks against the canary. Next: " in verdict.reason
    assert platform.weights() == {"v1": 1.0, "v2": 0.0}
    assert told.events[-2:] == ["rolled_back", "canary_inconclusive"]


def test_no_traffic_is_no_promotion(platform):
    verdict = release_canary(platform, "v2", "v1", Plan((Stage(0.3, 10),), stage_seconds=0.2), every=0.05)
    assert verdict.outcome == "inconclusive"
    assert "saw 0 of 10 comments" in verdict.reason


@pytest.mark.parametrize("error", [KeyboardInterrupt, ServiceError])
def test_interrupted_canary_is_taken_back(platform, error):
    def labels():
        assert platform.weights()["v2"] == 0.3
        raise error("while it looked")

    with pytest.raises(error, match="while it looked"):
        release_canary(platform, "v2", "v1", Plan((Stage(0.3, 10),)), labels=labels, every=0.01)
    assert platform.weights() == {"v1": 1.0, "v2": 0.0}


@pytest.mark.parametrize(
    ("canary", "control", "stage", "said"),
    [
        ("v9", "v1", Stage(0.1, 10), "no version 'v9'; there are: v1, v2"),
        ("v2", "v9", Stage(0.1, 10), "no version 'v9'; there are: v1, v2"),
        ("v1", "v1", Stage(0.1, 10), "control that is not the canary"),
        ("v1", "v2", Stage(0.1, 10), "all comments at a control"),
        ("v2", "v1", Stage(0.1, 10, labels=1), "waits for labels, and there are none"),
    ],
)
def test_impossible_canary_is_refused(platform, canary, control, stage, said):
    with pytest.raises(ParameterError, match=said):
        release_canary(platform, canary, control, Plan((stage,)))
    assert platform.weights() == {"v1": 1.0, "v2": 0.0}


def observed(platform, weight, labels=None, **settings):
    observer = Observer(platform, "v1", "v2", Plan((Stage(weight, 10),), **settings), labels)
    platform.set_weights({"v1": 1 - weight, "v2": weight})
    observer.begin(weight)
    return observer


def test_batch_whose_comments_belong_to_both_versions_is_no_error(platform):
    observer = observed(platform, 0.5)
    for batch in range(10):
        names = [f"batch-{batch}-{place}" for place in range(7)]
        call("POST", platform.gateway, "/v1/classify", {"comments": [{"id": n, "text": "hello"} for n in names]})
    look_until(observer, 70)
    assert observer.comments == 70
    assert 10 < observer.served < 60
    assert observer.evidence["errors"].events == 0


def test_comment_counts_for_the_version_that_was_chosen_whoever_answered(platform):
    platform.stop("filter-v2-0")
    observer = observed(platform, 0.5, burst_seconds=1e-6)
    send(platform, [f"away-{number}" for number in range(40)])
    look_until(observer, 40)
    errors = observer.evidence["errors"]
    assert errors.hits == errors.events == observer.served
    assert 5 < observer.served < 35


def test_failing_old_version_speaks_for_the_canary(platform):
    platform.stop("filter-v1-0")
    observer = observed(platform, 0.5, burst_seconds=1e-6)
    send(platform, [f"old-{number}" for number in range(40)])
    look_until(observer, 40)
    assert observer.evidence["errors"].hits == 0 < observer.evidence["errors"].events
    assert observer.evidence["errors"].e_value == 1.0


def test_late_label_counts_at_the_weight_at_which_its_comment_came(platform):
    known = []
    observer = observed(platform, 0.25, lambda: pd.DataFrame(known, columns=["comment_id", "label"]))
    early = [f"early-{number}" for number in range(30)]
    send(platform, early)
    look_until(observer, 30)
    platform.set_weights({"v1": 0.2, "v2": 0.8})
    observer.begin(0.8)
    wrong = not records.read(platform.predictions("v1"))["spam"].iloc[-1]
    known += [(name, wrong) for name in early]
    for _ in range(2):  # a label is counted once
        observer.look()
        assert observer.evidence["quality"].events == observer.labels == 30
    assert observer.evidence["quality"].expected == pytest.approx(30 * 0.25)


def test_comment_from_before_a_stage_or_a_second_time_is_not_of_it(platform):
    send(platform, ["before"])
    observer = observed(platform, 0.5)
    send(platform, ["twice", "twice", "once"])
    look_until(observer, 2)
    until(lambda: sum(1 for _ in records.records(platform.folder / "gateway" / "access")) >= 4)
    observer.look()
    assert observer.comments == 2
