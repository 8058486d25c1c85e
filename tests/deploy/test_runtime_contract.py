"""What holds on every runtime: one platform for each, with comments that arrive all the time."""

import contextlib
import dataclasses

import pytest
from arriving import comments_arrive
from docker_things import image, things

from mlops_helpers.deploy.calls import call
from mlops_helpers.deploy.platform import Platform
from mlops_helpers.deploy.runtime import Limits
from mlops_helpers.errors import ParameterError, ServiceError
from mlops_helpers.model import artifact as artifacts
from mlops_helpers.serve.records import records

KINDS = [
    "process",
    pytest.param("docker", marks=pytest.mark.engine("docker")),
    pytest.param("swarm", marks=pytest.mark.engine("swarm")),
]
LIMITS = Limits(memory_mb=256, cpus=2, pids=64, files=256)
COMMENT = {"id": "c1", "text": "Check out my NEW channel!!! http://www.example.com/x?y=1"}


@pytest.fixture(scope="module")
def artifact(model, tmp_path_factory):
    return artifacts.export(model, tmp_path_factory.mktemp("model") / "artifact")


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def platform(kind, artifact, tmp_path_factory):
    folder = tmp_path_factory.mktemp("platform")
    settings = {"comments_per_minute": 10**6, "replicas": 2, "limits": LIMITS, "runtime": kind}
    with Platform({"v1": artifact}, folder=folder, **settings) as running:
        yield running


@pytest.fixture
def traffic(platform):
    """Comments that arrive all the time; in the end none of them has failed."""
    with comments_arrive(platform.gateway) as answered:
        yield answered


def filters(platform):
    return [one for one in platform.status() if one.name.startswith("filter-")]


def test_everything_answers_and_is_told(platform, kind, artifact, traffic, until):
    names = [one.name for one in platform.status()]
    assert sorted(names) == ["blog", "filter-v1-0", "filter-v1-1", "gateway"]
    assert {one.state for one in platform.status()} == {"ready"}
    assert all(one.memory > 1e6 and one.pid and not one.restarts and not one.exit_reason for one in platform.status())
    assert {one.version for one in filters(platform)} == {"v1"}
    assert [one.address for one in filters(platform)] == platform.filters["v1"]
    for address in platform.filters["v1"]:
        assert call("GET", address, "/version")["artifact_sha256"] == artifact.sha256
    until(lambda: all(len([*records(log)]) > 1 for log in platform.predictions("v1")))
    assert len(platform.predictions("v1")) == 2
    runtime = platform.runtime
    for usage in runtime.stats("filter-v1"):
        assert 1e6 < usage.memory < LIMITS.memory
        assert usage.cpu_seconds > 0
        assert 1 <= usage.pids <= LIMITS.pids
    said = runtime.logs("filter-v1")
    assert all(any(line.startswith(f"{name} | ") and "ready" in line for line in said) for name in names[2:])
    assert all(platform.admin_token not in line for line in said)


def test_it_says_which_protections_hold(platform, kind):
    found = {one.name: one for one in platform.runtime.protections(LIMITS)}
    assert found["files"].holds
    confined = {"network", "files of others", "capabilities", "user"}
    assert {name for name in confined if found[name].holds} == (set() if kind == "process" else confined)
    for one in found.values():
        assert one.how.startswith("not in force") != one.holds


def test_a_killed_replica_is_replaced_while_comments_arrive(platform, traffic, until):
    before = {one.name: one for one in filters(platform)}["filter-v1-0"]
    platform.kill("filter-v1-0")
    platform.wait_ready("filter-v1-0")
    after = {one.name: one for one in filters(platform)}["filter-v1-0"]
    assert (after.state, after.restarts, after.exit_reason) == ("ready", 1, "signal 9 (Killed)")
    assert after.pid != before.pid
    count = len(traffic)
    until(lambda: len(traffic) > count + 5)
    until(lambda: {one.address for one in filters(platform)} == set(platform.filters["v1"]))


def test_a_paused_replica_hangs_until_it_is_resumed(platform):
    platform.pause("filter-v1-1")
    (paused,) = (one for one in filters(platform) if one.name == "filter-v1-1")
    assert paused.state == "paused"
    with pytest.raises(ServiceError, match="TimeoutError"):
        call("GET", paused.address, "/readyz", seconds=0.05)
    platform.resume("filter-v1-1")
    platform.wait_ready("filter-v1-1")
    assert call("GET", paused.address, "/readyz")["status"] == "ready"


def test_a_stopped_replica_stays_away_until_it_is_started_but_a_swarm_keeps_its_own(platform, kind):
    if kind == "swarm":
        with pytest.raises(ServiceError, match=r"a swarm keeps filter-v1-0\..*Next: scale"):
            platform.stop("filter-v1-0")
        return
    (address,) = (one.address for one in filters(platform) if one.name == "filter-v1-0")
    platform.stop("filter-v1-0")
    with pytest.raises(ServiceError):
        call("GET", address, "/readyz", seconds=1)
    assert {one.state for one in filters(platform)} == {"stopped", "ready"}
    platform.start("filter-v1-0")
    assert call("GET", address, "/readyz")["status"] == "ready"


def test_a_version_comes_and_goes_and_one_that_cannot_start_changes_nothing(platform, artifact, traffic, until):
    broken = dataclasses.replace(artifact, sha256="0" * 64)
    with pytest.raises(ServiceError, match=r"filter-v2-0 ended with exit code 1 before(.|\n)*expected is 0"):
        platform.add_version("v2", broken)
    assert {one.version for one in filters(platform)} == {"v1"}
    platform.add_version("v2", artifact)
    with pytest.raises(ParameterError, match="there is a version v2"):
        platform.add_version("v2", artifact)
    platform.set_weights({"v1": 0, "v2": 1})
    until(lambda: traffic[-1]["version"] == "v2")
    assert len(platform.predictions("v2")) == 1
    platform.set_weights({"v1": 1})
    platform.remove_version("v2")
    assert {one.version for one in filters(platform)} == {"v1"}
    assert len(platform.predictions("v2")) == 1  # kept
    with pytest.raises(ParameterError, match=r"there are: .*filter-v1-0"):
        platform.kill("filter-v2-0")


def test_it_is_scaled_out_and_in_while_comments_arrive(platform, kind, traffic, until):
    with pytest.raises(ParameterError, match=r"replicas is 0; accepted: 1 or more\. To end it: stop"):
        platform.scale("v1", 0)
    for replicas in (4, 1):
        platform.scale("v1", replicas)
        until(lambda replicas=replicas: len(platform.filters["v1"]) == replicas)
        found = filters(platform)
        assert ({one.state for one in found}, len(found)) == ({"ready"}, replicas)
        assert {one.address for one in found} == set(platform.filters["v1"])


def test_a_broken_update_is_rolled_back_and_a_good_one_is_not_with_no_comment_lost(
    platform, kind, artifact, traffic, until
):
    before = {one.address for one in filters(platform)}
    with contextlib.ExitStack() as stack:
        if kind == "process":
            broken = {"artifact": dataclasses.replace(artifact, sha256="0" * 64)}
        else:
            base = platform._filters._image
            exits = 'ENTRYPOINT ["/bin/sh", "-c", "echo no model; exit 3"]'
            broken = {"image": stack.enter_context(image(base, exits))}
        with pytest.raises(ServiceError, match=r"filter-v1 was rolled back to v1: (.|\n)*(no model|expected is 0)"):
            platform.update("v1", **broken)
    assert {one.state for one in filters(platform)} == {"ready"}
    assert {one.address for one in filters(platform)} == before
    assert set(platform.filters["v1"]) == before
    platform.update("v1", artifact)
    after = filters(platform)
    assert [one.state for one in after] == ["ready"]
    assert {one.address for one in after} == set(platform.filters["v1"])
    assert kind == "swarm" or not before & set(platform.filters["v1"])  # a swarm's addresses are taken again
    count = len(traffic)
    until(lambda: len(traffic) > count + 5)


def test_nothing_is_left_of_a_platform(platform, kind, tmp_path):
    platform.down()
    platform.down()  # nothing more happens
    left = [one for one in things(str(tmp_path)) if "process" not in one]
    assert left == ["('swarm', 'inactive')"]
