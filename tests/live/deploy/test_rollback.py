"""The way back on a real platform: fast, harmless twice, honest when the old version is broken; and ways to release."""

import dataclasses
import threading

import pandas as pd
import pytest

from mlops_helpers.deploy.calls import call
from mlops_helpers.deploy.rollback import answers, last_good, rollback
from mlops_helpers.deploy.rollout import blue_green, rolling
from mlops_helpers.deploy.shadow import compare_shadow
from mlops_helpers.errors import MetricsError, ParameterError, ServiceError
from mlops_helpers.model import artifact as artifacts
from mlops_helpers.serve import archive, records
from mlops_helpers.serve.plan import comments_from, plan
from mlops_helpers.serve.traffic import Traffic
from tests.support.platforms import Told, live_platform
from tests.support.waiting import until


@pytest.fixture(scope="module")
def other(model, tmp_path_factory):
    """Another artifact: one that takes nearly everything for spam."""
    strict = dataclasses.replace(model, threshold=0.05)
    return artifacts.export(strict, tmp_path_factory.mktemp("other") / "artifact")


@pytest.fixture(scope="module")
def platform(artifact, other, tmp_path_factory):
    versions = {"v1": artifact, "v2": other, "v0": artifact}
    with live_platform(versions, tmp_path_factory.mktemp("platform"), supervise=False) as running:
        yield running


@pytest.fixture
def told():
    return Told()


@pytest.fixture(autouse=True)
def everything_at_v2(platform):
    platform.set_weights({"v2": 1.0})
    yield
    for service in platform.status():
        if service.state == "paused":
            platform.resume(service.name)
        elif service.state != "ready":
            platform.start(service.name)
    platform.set_weights({"v2": 1.0})
    platform.set_shadow({})


def test_rollback_goes_to_the_old_version_and_a_second_time_changes_nothing(platform, told):
    platform.set_weights({"v1": 0.9, "v2": 0.1})
    first, second = rollback(platform, "v1", tell=told), rollback(platform, "v1", tell=told)
    assert (first.serves, first.changed, first.reason) == ("v1", True, "")
    assert (second.serves, second.changed) == ("v1", False)
    assert platform.weights() == {"v1": 1.0, "v2": 0.0, "v0": 0.0}
    assert told.events == ["rolled_back", "rollback_not_needed"]
    assert told[0]["before"] == {"v1": 0.9, "v2": 0.1}
    assert first.seconds > 0


def test_readers_lose_nothing_in_many_rollbacks(platform, comments, tmp_path):
    arrivals = plan(comments_from(comments.frame), rate=20, seconds=300, seed=4, reads_per_comment=0.5)
    log = platform.folder / "gateway" / "access"
    with Traffic(platform.blog, arrivals, tmp_path / "traffic.jsonl", timeout=60) as traffic:
        for _ in range(10):
            platform.set_weights({"v1": 0.5, "v2": 0.5})
            count = sum(1 for _ in records.records(log))
            until(lambda count=count: sum(1 for _ in records.records(log)) > count + 2, "some comments of both")
            assert rollback(platform, "v1").changed
        traffic.stop()
    frame = traffic.frame()
    assert set(frame["outcome"]) <= {"ok", "stopped"}
    accepted = set(frame.loc[frame["kind"].eq("comment") & frame["outcome"].eq("ok"), "comment_id"])
    assert len(accepted) > 20
    assert accepted <= set(archive.comments(platform.folder / "blog")["comment_id"])


def test_no_comment_goes_to_the_new_version_once_it_is_rolled_back(platform):
    log = platform.folder / "gateway" / "access"
    platform.set_weights({"v1": 0.5, "v2": 0.5})
    rollback(platform, "v1")
    for number in range(40):
        call("POST", platform.gateway, "/v1/classify", {"id": f"after-{number}", "text": "hello"})

    def after():
        return [record for record in records.records(log) if (record["comment_id"] or "").startswith("after-")]

    until(lambda: len(after()) == 40)
    assert {record["version"] for record in after()} == {"v1"}


@pytest.mark.parametrize("harm", ["stop", "pause", "kill"])
def test_broken_target_is_reported_and_the_fallback_engaged(platform, told, harm):
    getattr(platform, harm)("filter-v1-0")
    done = rollback(platform, "v1", fallbacks=["v0"], tell=told)
    assert (done.wanted, done.serves, done.changed) == ("v1", "v0", True)
    assert "v1 at 127.0.0.1:" in done.reason
    assert "does not answer" in done.reason
    assert told.events == ["rollback_target_broken", "rolled_back"]
    assert platform.weights()["v0"] == 1.0
    again = rollback(platform, "v1", fallbacks=["v0"])
    assert (again.serves, again.changed) == ("v0", False)


def test_nothing_is_changed_when_no_version_answers_and_the_error_says_so(platform, told):
    platform.stop("filter-v1-0")
    with pytest.raises(ServiceError, match=r"nothing was changed: v1 at .* does not answer .*Next: repair"):
        rollback(platform, "v1", tell=told)
    assert platform.weights()["v2"] == 1.0
    assert told[-1]["event"] == "rollback_failed"


def test_rollback_needs_one_replica_that_answers(platform):
    platform.scale("v1", 2)
    platform.stop("filter-v1-0")
    assert answers(platform, "v1") == ""
    assert rollback(platform, "v1").serves == "v1"
    platform.start("filter-v1-0")
    platform.scale("v1", 1)


def test_probe_before_a_rollback_is_no_readers_comment(platform):
    answers(platform, "v1")
    frame = records.read(platform.predictions("v1"))
    assert frame.loc[frame["comment_id"] == "rollback-probe", "shadow"].all()


@pytest.mark.parametrize(("to", "fallbacks"), [("v9", ()), ("v1", ("v9",)), ("", ())])
def test_unknown_version_is_refused(platform, to, fallbacks):
    with pytest.raises(ParameterError, match=r"no version '(v9)?' to go back to; there are: v1, v2, v0"):
        rollback(platform, to, fallbacks=fallbacks)
    assert platform.weights()["v2"] == 1.0


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"v1": -0.5, "v2": 1.5}, "weights of v1: -0.5; accepted: a number from 0 to 1"),
        ({"v1": 0.6, "v2": 0.6}, "the weights add up to 1.2; accepted: 1"),
        ({"v1": 0.5}, "the weights add up to 0.5; accepted: 1"),
        ({"v9": 1.0}, "weights name the version 'v9'; accepted: v1, v2, v0"),
    ],
    ids=str,
)
def test_weights_that_make_no_sense_are_refused_and_change_nothing(platform, weights, message):
    with pytest.raises(ServiceError, match=message):
        platform.set_weights(weights)
    assert platform.weights()["v2"] == 1.0


def test_blue_green_moves_everybody_and_back(platform, artifact, told):
    platform.scale("v2", 2)
    done = blue_green(platform, "green", artifact, tell=told)
    assert (done.old, done.new) == ("v2", "green")
    assert len(platform.filters["green"]) == 2  # as large as blue
    assert platform.weights()["green"] == 1.0
    assert told.events == ["green_started", "switched"]
    assert rollback(platform, last_good([{"serves": "v2"}, *told], other_than="green")).serves == "v2"
    platform.remove_version("green")
    platform.scale("v2", 1)


@pytest.mark.parametrize("wrong", ["it does not start", "it does not please"])
def test_green_that_is_not_good_enough_is_gone_and_blue_serves(platform, artifact, wrong):
    def check(version):
        assert platform.weights()[version] == 0.0
        raise ServiceError("not good enough")

    broken = dataclasses.replace(artifact, sha256="0" * 64) if wrong == "it does not start" else artifact
    with pytest.raises(ServiceError, match=r"ended with exit code 1|not good enough"):
        blue_green(platform, "green", broken, check=check)
    assert list(platform.filters) == ["v1", "v2", "v0"]
    assert platform.weights()["v2"] == 1.0


def test_blue_green_is_refused_while_two_versions_serve(platform, artifact):
    platform.set_weights({"v1": 0.5, "v2": 0.5})
    with pytest.raises(ParameterError, match="v1 and v2 serve; accepted: one version"):
        blue_green(platform, "green", artifact)


def test_rolling_replaces_the_artifact_under_the_same_name(platform, artifact, other, told):
    done = rolling(platform, "v0", other, tell=told)
    assert (done.old, done.new) == (artifact.sha256, other.sha256)
    assert told[-1]["event"] == "rolled_out"
    with pytest.raises(ServiceError, match="rolled back to v0"):
        rolling(platform, "v0", dataclasses.replace(artifact, sha256="0" * 64), tell=told)
    assert told[-1]["event"] == "rolled_back"
    with pytest.raises(ParameterError, match="no version 'v9'"):
        rolling(platform, "v9", artifact)
    assert rolling(platform, "v0", artifact).old == other.sha256


def test_shadow_is_compared_comment_by_comment(platform, comments):
    platform.set_weights({"v1": 1.0})
    platform.set_shadow({"v2": 1.0})
    texts = {f"shadow-{k}": row for k, row in enumerate(comments.frame.head(60).itertuples())}
    for name, row in texts.items():
        call("POST", platform.gateway, "/v1/classify", {"id": name, "text": row.text})
    logs = platform.predictions("v1"), platform.predictions("v2")

    def copied():
        frame = records.read(logs[1])
        return frame.loc[frame["shadow"], "comment_id"].str.startswith("shadow-").sum() == 60

    until(copied)
    labels = pd.DataFrame({"comment_id": list(texts), "label": [row.label for row in texts.values()]})
    shadow = compare_shadow(*logs, labels)
    assert shadow.comments == 60
    assert shadow.less_held == 0 < shadow.more_held == shadow.differently == len(shadow.disagreements)
    assert shadow.score_shift == 0.0  # the same model, another threshold
    assert shadow.evidence.events == shadow.differently
    assert shadow.evidence.hits == shadow.differently - shadow.disagreements["label"].sum()
    assert f"60 comments, {shadow.differently} judged differently" in str(shadow)
    assert compare_shadow(*logs).evidence.events == 0


def test_shadow_without_copies_names_the_next_step(platform):
    with pytest.raises(MetricsError, match=r"Next: platform.set_shadow"):
        compare_shadow(platform.predictions("v1"), platform.predictions("v0"))


def test_rollbacks_at_the_same_time_agree(platform):
    done = []
    threads = [threading.Thread(target=lambda: done.append(rollback(platform, "v1"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {one.serves for one in done} == {"v1"}
    assert platform.weights()["v1"] == 1.0
