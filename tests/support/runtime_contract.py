"""What holds on every runtime: one platform for each, with comments that arrive all the time.

The test files of the runtimes derive a class of it, ``class TestDocker(RuntimeContract): kind = "docker"``.
"""

import contextlib
import dataclasses
import socket

import pytest

from mlops_helpers.deploy.calls import call
from mlops_helpers.deploy.runtime import Limits
from mlops_helpers.errors import ParameterError, ServiceError
from mlops_helpers.serve.records import records
from tests.support.docker_state import image, things
from tests.support.platforms import comments_arrive, live_platform
from tests.support.waiting import until

LIMITS = Limits(memory_mb=256, cpus=2, pids=64, files=256)
CONFINED = {"network", "files of others", "capabilities", "user"}


def filters(platform):
    return [replica for replica in platform.status() if replica.name.startswith("filter-")]


def replica(platform, name):
    return next(replica for replica in platform.status() if replica.name == name)


class RuntimeContract:
    kind: str

    @pytest.fixture(scope="class")
    @classmethod
    def platform(cls, artifact, tmp_path_factory):
        settings = {"replicas": 2, "limits": LIMITS, "runtime": cls.kind}
        with live_platform({"v1": artifact}, tmp_path_factory.mktemp("platform"), **settings) as running:
            yield running

    @pytest.fixture
    def traffic(self, platform):
        with comments_arrive(platform.gateway) as answered:
            yield answered

    def broken(self, platform, artifact, stack) -> dict:
        """Return the settings of an update that cannot start; ``stack`` ends what it takes."""
        return {"artifact": dataclasses.replace(artifact, sha256="0" * 64)}

    def test_every_service_answers_and_reports_its_state(self, platform, artifact, traffic):
        status = platform.status()
        names = sorted(service.name for service in status)
        assert names == ["blog", "filter-v1-0", "filter-v1-1", "gateway"]
        assert {service.state for service in status} == {"ready"}
        assert all(one.memory > 1e6 and one.pid and not one.restarts and not one.exit_reason for one in status)
        assert {one.version for one in filters(platform)} == {"v1"}
        assert [one.address for one in filters(platform)] == platform.filters["v1"]
        for address in platform.filters["v1"]:
            assert call("GET", address, "/version")["artifact_sha256"] == artifact.sha256
        until(lambda: all(len([*records(log)]) > 1 for log in platform.predictions("v1")))
        assert len(platform.predictions("v1")) == 2
        for usage in platform.runtime.stats("filter-v1"):
            assert 1e6 < usage.memory < LIMITS.memory
            assert usage.cpu_seconds > 0
            assert 1 <= usage.pids <= LIMITS.pids
        logged = platform.runtime.logs("filter-v1")
        for name in ("filter-v1-0", "filter-v1-1"):
            assert any(line.startswith(f"{name} | ") and "ready" in line for line in logged)
        assert all(platform.admin_token not in line for line in logged)

    def test_protections_that_do_not_hold_are_reported(self, platform):
        protections = {protection.name: protection for protection in platform.runtime.protections(LIMITS)}
        assert protections["files"].holds
        held = {name for name in CONFINED if protections[name].holds}
        assert held == (set() if self.kind == "process" else CONFINED)
        for protection in protections.values():
            assert protection.how.startswith("not in force") != protection.holds

    def test_killed_replica_is_replaced_while_comments_arrive(self, platform, traffic):
        before = replica(platform, "filter-v1-0")
        until(lambda: len(traffic) > 5)
        platform.kill("filter-v1-0")
        platform.wait_ready("filter-v1-0")
        after = replica(platform, "filter-v1-0")
        assert (after.state, after.restarts, after.exit_reason) == ("ready", 1, "signal 9 (Killed)")
        assert after.pid != before.pid
        count = len(traffic)
        until(lambda: len(traffic) > count + 5)
        until(lambda: {one.address for one in filters(platform)} == set(platform.filters["v1"]))

    def test_paused_replica_hangs_until_it_is_resumed(self, platform):
        platform.pause("filter-v1-1")
        paused = replica(platform, "filter-v1-1")
        assert paused.state == "paused"
        with pytest.raises(ServiceError, match="TimeoutError"):
            call("GET", paused.address, "/readyz", seconds=0.05)
        platform.resume("filter-v1-1")
        platform.wait_ready("filter-v1-1")
        assert call("GET", paused.address, "/readyz")["status"] == "ready"

    def test_stopped_replica_refuses_until_it_is_started_but_a_swarm_keeps_its_own(self, platform):
        if self.kind == "swarm":
            with pytest.raises(ServiceError, match=r"a swarm keeps filter-v1-0\..*Next: scale"):
                platform.stop("filter-v1-0")
            return
        address = replica(platform, "filter-v1-0").address
        platform.stop("filter-v1-0")
        host, port = address.split(":")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), timeout=10)
        assert {one.state for one in filters(platform)} == {"stopped", "ready"}
        platform.start("filter-v1-0")
        assert call("GET", address, "/readyz")["status"] == "ready"

    def test_version_comes_and_goes_and_one_that_cannot_start_changes_nothing(self, platform, artifact, traffic):
        unusable = dataclasses.replace(artifact, sha256="0" * 64)
        with pytest.raises(ServiceError, match=r"filter-v2-0 ended with exit code 1 before(.|\n)*expected is 0"):
            platform.add_version("v2", unusable)
        assert {one.version for one in filters(platform)} == {"v1"}
        assert platform.weights() == {"v1": 1.0}
        platform.add_version("v2", artifact)
        assert platform.weights() == {"v1": 1.0, "v2": 0.0}
        with pytest.raises(ParameterError, match="there is a version v2"):
            platform.add_version("v2", artifact)
        platform.set_weights({"v1": 0, "v2": 1})
        until(lambda: traffic[-1]["version"] == "v2")
        with pytest.raises(ServiceError, match="422"):
            platform.remove_version("v2")  # readers depend on it
        assert len(platform.predictions("v2")) == 1
        platform.set_weights({"v1": 1})
        platform.set_shadow({"v2": 1.0})
        until(lambda: any(record["shadow"] for log in platform.predictions("v2") for record in records(log)))
        platform.set_shadow({})
        platform.remove_version("v2")
        assert {one.version for one in filters(platform)} == set(platform.filters) == {"v1"}
        assert len(platform.predictions("v2")) == 1  # kept
        with pytest.raises(ParameterError, match=r"there are: .*filter-v1-0"):
            platform.kill("filter-v2-0")
        with pytest.raises(ParameterError, match="no version 'v2'; there are: v1"):
            platform.remove_version("v2")

    def test_replicas_are_scaled_out_and_in_while_comments_arrive(self, platform, traffic):
        with pytest.raises(ParameterError, match=r"replicas is 0; accepted: 1 or more\. To end it: stop"):
            platform.scale("v1", 0)
        for replicas in (3, 1):
            platform.scale("v1", replicas)
            until(lambda replicas=replicas: len(platform.filters["v1"]) == replicas)
            scaled = filters(platform)
            assert ({one.state for one in scaled}, len(scaled)) == ({"ready"}, replicas)
            assert {one.address for one in scaled} == set(platform.filters["v1"])

    def test_broken_update_is_rolled_back_and_a_good_one_is_not_with_no_comment_lost(self, platform, artifact, traffic):
        before = {one.address for one in filters(platform)}
        with contextlib.ExitStack() as stack:
            broken = self.broken(platform, artifact, stack)
            with pytest.raises(ServiceError, match=r"filter-v1 was rolled back to v1: (.|\n)*(no model|expected is 0)"):
                platform.update("v1", **broken)
        assert {one.state for one in filters(platform)} == {"ready"}
        assert {one.address for one in filters(platform)} == set(platform.filters["v1"]) == before
        platform.update("v1", artifact)
        after = filters(platform)
        assert [one.state for one in after] == ["ready"]
        assert {one.address for one in after} == set(platform.filters["v1"])
        assert self.kind == "swarm" or not before & set(platform.filters["v1"])  # a swarm takes addresses again
        count = len(traffic)
        until(lambda: len(traffic) > count + 5)


class ContainerContract(RuntimeContract):
    def broken(self, platform, artifact, stack):
        exits = 'ENTRYPOINT ["/bin/sh", "-c", "echo no model; exit 3"]'
        return {"image": stack.enter_context(image(platform._filters._image, exits))}

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def things_before(cls, tmp_path_factory):
        return things(tmp_path_factory.getbasetemp())

    def test_nothing_is_left_of_a_platform(self, platform, things_before, tmp_path_factory):
        assert things(tmp_path_factory.getbasetemp()) != things_before
        platform.down()
        platform.down()  # nothing more happens
        assert things(tmp_path_factory.getbasetemp()) == things_before
