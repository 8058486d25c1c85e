"""A fix is proved by a replay with the same fault, or refuted: its guards are real, end, and know nothing of faults."""

import contextlib
import dataclasses
import resource
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from mlops_helpers.errors import DrillError, GateRefused, ServiceError
from mlops_helpers.respond import drill, guards, guards_gates, guards_process, scenario, stage, steady
from mlops_helpers.respond.guards import guard
from mlops_helpers.respond.postmortem_review import judge_replay
from mlops_helpers.respond.world import world


@pytest.fixture
def noted():
    """What guards noted, as they call it."""
    return []


@pytest.fixture
def note(noted):
    return lambda kind, **facts: noted.append((kind, facts["guard"], facts["did"]))


@pytest.fixture
def platform():
    """A platform that remembers what it was told, and whose only service is in a state."""
    told = []
    one = SimpleNamespace(name="blog", state="ready", address="127.0.0.1:9", pid=None)
    found = SimpleNamespace(told=told, one=one, status=lambda: [one], filters={"v1": ["127.0.0.1:9"]})
    found.gateway, found.admin_token = "127.0.0.1:9", "a token"

    def start(name):
        told.append(("start", name))
        one.state = "ready"

    found.start, found.kill = start, lambda name: told.append(("kill", name))
    found.wait_ready = lambda name: None
    return found


@pytest.fixture
def plain(platform, tmp_path):
    """A stage that was not started: gates and what looks at states need no more."""
    made = stage.Stage(tmp_path, seed=0, time_lapse=360.0, notify=lambda pages: None)
    made.platform = platform
    return made


def on(plain, note, name, **arguments):
    return guards.switched_on(plain, note, [(name, guard(name, **arguments))])


def test_every_guard_of_the_catalogue_is_used_by_a_scenario_and_none_knows_faults():
    every = [scenario.load(name) for name in scenario.names()]
    used = {name for one in every for fix in one.fixes.values() for name, _ in fix.guards}
    assert used == set(guards.catalogue())
    assert sum(bool(one.fixes) for one in every) >= 12
    proved = {one.area for one in every for fix in one.fixes.values() if fix.expect == "prevented"}
    assert proved == {one.area for one in every}
    assert sum(fix.expect == "refuted" for one in every for fix in one.fixes.values()) >= 2
    for path in Path(guards.__file__).parent.glob("*.py"):
        other = {"gua": "faults", "fau": "guards"}.get(path.name[:3])
        assert not (other and f"respond.{other}" in path.read_text("utf-8")), path.name


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("hope", {}, "there is no guard 'hope'; accepted: automatic_rollback, "),
        ("supervise", {}, "supervise lacks service"),
        ("supervise", {"service": 3}, "accepted: a str"),
        ("replicas", {"number": 2}, "accepted: count, hedge"),
        ("replicas", {"count": 2.5}, "accepted: a int"),
    ],
)
def test_what_is_no_guard_is_refused(name, arguments, said):
    with pytest.raises(DrillError, match=said):
        guard(name, **arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("replicas", {"count": 1}, "accepted: 2 to 4"),
        ("replicas", {"hedge": 5.0}, "0 to 1 second"),
        ("liveness_probe", {"service": "blog", "patience": 0.0}, "0.02 to 10"),
        ("liveness_probe", {"service": "blog", "misses": 0}, "1 to 10"),
        ("gate_on_quality", {"least": 1.5}, "above 0 to 1"),
        ("gate_on_quality", {"comments": 5}, "50 to 1000"),
        ("second_way", {"hedge": 0.0}, "0.01 to 1"),
        ("limit_networks", {"per_minute": 0.0}, "above 0"),
        ("automatic_rollback", {"differs": 1.0}, "between 0 and 1"),
        ("watch_the_watch", {"seconds": 0.1}, "0.5 to 3600"),
    ],
)
def test_a_value_out_of_range_is_refused_before_anything_is_changed(name, arguments, said, plain, note, platform):
    with pytest.raises(DrillError, match=said), on(plain, note, name, **arguments):
        pass
    assert platform.told == []
    assert plain.gates == []


@pytest.mark.parametrize("name", ["supervise", "liveness_probe", "keep_room"])
def test_a_service_that_is_not_there_is_refused(name, plain, note):
    with pytest.raises(ServiceError, match="there are: blog"), on(plain, note, name, service="printer"):
        pass


@pytest.mark.parametrize("model", ["strict", "lax", "inverted", "deaf"])
def test_the_gate_refuses_each_bad_model_and_says_what_it_measured(model, plain, note, noted):
    with on(plain, note, "gate_on_quality"), pytest.raises(GateRefused, match=r"v2 publishes .* of honest comments"):
        plain.release("v2", world().model(model))
    assert [(kind, name) for kind, name, _ in noted] == [("guarded", "gate_on_quality")]


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_a_gate_ends_with_its_block(error, plain, note, noted):
    with pytest.raises(error) if error else contextlib.nullcontext(), on(plain, note, "gate_on_hash"):
        with pytest.raises(GateRefused, match="registered"):
            plain.swap("blog", world().model("strict"))
        if error:
            raise error
    with pytest.raises(ServiceError):  # it gets as far as the filter, where nobody is
        plain.swap("blog", world().model("strict"))
    assert len(noted) == 1


def test_a_gate_lets_pass_what_is_good(plain, note, noted, platform):
    platform.add_version = lambda version, artifact: platform.told.append(("add", version))
    good = world().model("good")
    with on(plain, note, "gate_on_quality"), on(plain, note, "gate_on_hash"):
        for change in (lambda: plain.release("v2", good), lambda: plain.swap("blog", good)):
            with pytest.raises(ServiceError, match=r"127\.0\.0\.1:9"):
                change()
    assert platform.told == [("add", "v2")]
    assert noted == []


def test_addresses_are_tried_before_the_gateway_gets_them(plain, note, noted):
    with on(plain, note, "gate_on_configuration", seconds=0.05), pytest.raises(GateRefused, match="nobody is ready"):
        plain.tell_gateway("upstreams", {"v1": ["127.0.0.1:9"]})
    assert len(noted) == 1


def test_what_has_ended_is_started_again_and_what_hangs_is_killed(plain, note, noted, platform, until):
    platform.one.state = "stopped"
    with on(plain, note, "supervise", service="blog"):
        until(lambda: noted)
    assert platform.told[0] == ("start", "blog")
    with on(plain, note, "liveness_probe", service="blog", patience=0.05):
        until(lambda: ("kill", "blog") in platform.told)
    assert not [one for one in threading.enumerate() if one.name == "a guard"]


def test_a_service_without_room_gets_the_reserve(plain, note, noted, platform, sleeper, until):
    platform.one.pid = sleeper.pid
    hard = resource.prlimit(sleeper.pid, resource.RLIMIT_FSIZE)[1]
    with on(plain, note, "keep_room", service="blog"):
        resource.prlimit(sleeper.pid, resource.RLIMIT_FSIZE, (0, hard))
        until(lambda: noted)
    assert resource.prlimit(sleeper.pid, resource.RLIMIT_FSIZE) == (hard, hard)


@pytest.mark.parametrize(
    "fixes",
    [
        {"one": ["process_stopped"]},
        [{"name": "one"}],
        [{"name": "one", "guards": []}],
        [{"name": "one", "guards": [{"service": "blog"}]}],
        [{"name": "one", "guards": [{"guard": "Hope!"}]}],
        [{"name": "one", "guards": [{"guard": "replicas"}], "expect": "luck"}],
        [{"name": "one", "guards": [{"guard": "replicas"}], "expect": "refuted"}],
    ],
)
def test_a_fix_that_breaks_the_schema_is_refused(fixes):
    with pytest.raises(DrillError, match=r"fixes.*schema\.json"):
        scenario.parse(changed(fixes))


@pytest.mark.parametrize(
    ("fixes", "said"),
    [
        ([{"name": "one", "guards": [{"guard": "hope"}]}], "there is no guard 'hope'"),
        ([{"name": "one", "guards": [{"guard": "replicas", "count": "two"}]}], "accepted: a int"),
        ([{"name": "one", "guards": [{"guard": "replicas"}]}] * 2, "a name of its own"),
    ],
)
def test_a_fix_that_there_is_not_is_refused(fixes, said):
    with pytest.raises(DrillError, match=said):
        scenario.parse(changed(fixes))


def changed(fixes):
    told = {
        "id": "one", "title": "A title", "story": "Readers write that it is gone.", "area": "data", "difficulty": 1,
        "steady_state": {"availability": 0.9}, "faults": [], "expect": {"breach": ""}, "cause": "one",
        "causes": ["one", "two", "three"], "fix": "something else", "fixes": fixes,
        "solutions": [{"name": "x", "steps": []}], "not_solutions": [{"name": "y", "steps": []}],
    }  # fmt: skip
    return yaml.safe_dump(told)


@pytest.fixture
def short(monkeypatch):
    """Look at readers for a shorter while than a drill does."""
    monkeypatch.setattr(drill, "_CALM_SECONDS", 3.0)
    monkeypatch.setattr(steady, "STEADY_SECONDS", 1.5)


def replayed(one, fix, folder):
    found = drill.run(one, fix=fix, folder=folder)
    if found.outcome == "void":
        pytest.skip(f"the machine is too busy for a steady state: {found.reason}")
    return found


def incident(found):
    """Return the journal of the same incident without a fix: readers met it."""
    return [one for one in found.journal if one["kind"] in ("opened", "injected")] + [
        {"at": found.journal[-1]["at"], "kind": "breached", "sli": "honest_published"}
    ]


@pytest.mark.drill
def test_a_fix_that_works_is_proved(tmp_path, short):
    found = replayed(scenario.load("filter-stopped"), "second filter", tmp_path)
    assert (found.outcome, found.reason) == ("prevented", "")
    assert [one["fault"] for one in found.journal if one["kind"] == "injected"] == ["process_stopped"]
    assert "judged" in next(one["did"] for one in found.journal if one["kind"] == "guarded")
    assert judge_replay(incident(found), found.journal).verdict == "proved"


@pytest.mark.drill
def test_the_same_fix_broken_is_refuted(tmp_path, short, monkeypatch):
    monkeypatch.setattr(guards_process.Replicas, "begin", lambda self, stage, guarding: None)
    found = replayed(scenario.load("filter-stopped"), "second filter", tmp_path)
    assert found.outcome == "refuted"
    assert (found.points, "honest_published" in found.reason) == (0, True)
    assert judge_replay(incident(found), found.journal).verdict == "refuted"


@pytest.mark.drill
def test_a_gate_that_is_not_asked_proves_nothing_even_if_no_reader_noticed(tmp_path, short, monkeypatch):
    monkeypatch.setattr(guards_gates.GateOnQuality, "begin", lambda self, stage, guarding: None)
    lucky = dataclasses.replace(scenario.load("strict-release"), steady_state={"availability": 0.9})
    found = replayed(lucky, "quality gate", tmp_path)
    assert (found.outcome, found.reason) == ("refuted", "quality gate did nothing")
    assert judge_replay(incident(found), found.journal).verdict == "refuted"
