"""Guards are real, end with their block, act on what they see alone, and are checked before anything is started."""

import contextlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlops_helpers.errors import DrillError, GateRefused, ServiceError
from mlops_helpers.respond import guards, guards_gates, guards_process, scenario, stage
from mlops_helpers.respond.guards import guard
from mlops_helpers.respond.world import comments


@pytest.fixture
def noted():
    """What guards noted: (guard, what it did)."""
    return []


@pytest.fixture
def told():
    """What platform and services were told."""
    return []


def model(threshold=0.5, sha256="a" * 64):
    """An artifact whose score of a comment is its label."""
    labels = {comment.text: comment.label for comment in comments(guards_gates._HELD_OUT)}
    scorer = SimpleNamespace(scores=lambda texts: [labels[text] for text in texts])
    return SimpleNamespace(scorer=scorer, threshold=threshold, sha256=sha256, folder=Path("v2"))


@pytest.fixture
def plain(tmp_path, monkeypatch, told):
    """A stage of one service ``blog`` that was never started; what it would send is in ``told``."""
    monkeypatch.setattr(stage, "world", lambda: SimpleNamespace(model=lambda name: model()))
    monkeypatch.setattr(stage, "call", lambda method, address, path, body, **_: told.append((path, body)))
    made = stage.Stage(tmp_path, seed=0, time_lapse=360.0, notify=lambda pages: None)
    blog = SimpleNamespace(name="blog", state="ready", address="127.0.0.1:9", pid=7)

    def start(name):
        told.append(("start", name))
        blog.state = "ready"

    made.platform = SimpleNamespace(
        blog=blog, status=lambda: [blog], start=start, kill=lambda name: told.append(("kill", name)),
        wait_ready=lambda name: None, filters={"v1": ["127.0.0.1:9"]}, gateway="127.0.0.1:9", admin_token="a token",
        add_version=lambda version, artifact: told.append(("add", version)),
    )  # fmt: skip
    return made


@pytest.fixture
def on(plain, noted):
    """Return a context that switches a guard on."""

    def switched_on(name, **arguments):
        def note(kind, **facts):
            noted.append((facts["guard"], facts["did"]))

        return guards.switched_on(plain, note, [(name, guard(name, **arguments))])

    return switched_on


@pytest.fixture
def looks(monkeypatch):
    """What guards would look at again and again, as functions to be called."""
    found = []
    monkeypatch.setattr(guards.Guarding, "watch", lambda self, every, look: found.append(look))
    return found


def test_catalogue_and_scenarios_use_each_other_and_guards_know_no_fault():
    fixes = [(each.area, fix) for each in map(scenario.load, scenario.names()) for fix in each.fixes.values()]
    assert {name for _, fix in fixes for name, _ in fix.guards} == set(guards.catalogue())
    assert {area for area, fix in fixes if fix.expect == "prevented"} == {area for area, _ in fixes}
    assert sum(fix.expect == "refuted" for _, fix in fixes) >= 2
    for path in Path(guards.__file__).parent.glob("guards*.py"):
        assert "respond.faults" not in path.read_text("utf-8"), path.name


@pytest.mark.parametrize(
    ("name", "arguments", "accepted"),
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
def test_value_out_of_range_is_refused_before_anything_is_changed(name, arguments, accepted, plain, on, told):
    with pytest.raises(DrillError, match=accepted), on(name, **arguments):
        pass
    assert told == plain.gates == []


@pytest.mark.parametrize("name", ["supervise", "liveness_probe", "keep_room"])
def test_missing_service_is_refused(name, on):
    with pytest.raises(ServiceError, match="there are: blog"), on(name, service="printer"):
        pass


@pytest.mark.parametrize(("threshold", "measured"), [(0.0, "publishes 0%"), (2.0, "holds 0% of spam")])
def test_quality_gate_refuses_a_bad_release_and_says_what_it_measured(threshold, measured, plain, on, noted):
    with on("gate_on_quality"), pytest.raises(GateRefused, match=f"v2 .*{measured}"):
        plain.release("v2", model(threshold))
    assert [name for name, _ in noted] == ["gate_on_quality"]


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_gate_ends_with_its_block(error, plain, on, noted, told):
    other = model(sha256="b" * 64)
    with pytest.raises(error) if error else contextlib.nullcontext(), on("gate_on_hash"):
        with pytest.raises(GateRefused, match="registered"):
            plain.swap("blog", other)
        assert told == []
        if error:
            raise error
    plain.swap("blog", other)
    assert [path for path, _ in told] == ["/admin/model"]
    assert len(noted) == 1


def test_gates_let_pass_what_is_good(plain, on, noted, told):
    with on("gate_on_quality"), on("gate_on_hash"):
        plain.release("v2", model())
        plain.swap("blog", model())
    assert [what for what, _ in told] == ["add", "/admin/upstreams", "/admin/weights", "/admin/model"]
    assert noted == []


def test_configuration_gate_asks_every_address_before_the_gateway_gets_it(plain, on, noted, told, monkeypatch):
    def wait_ready(address, seconds):
        if address.endswith(":9"):
            raise ServiceError("refused")

    monkeypatch.setattr(guards_gates, "wait_ready", wait_ready)
    with on("gate_on_configuration"):
        plain.tell_gateway("upstreams", {"v1": ["127.0.0.1:7"]})
        with pytest.raises(GateRefused, match=r"nobody is ready for v2 at 127\.0\.0\.1:9"):
            plain.tell_gateway("upstreams", {"v1": ["127.0.0.1:7"], "v2": ["127.0.0.1:7", "127.0.0.1:9"]})
    assert (len(noted), len(told)) == (1, 1)


def test_supervisor_starts_what_has_ended(plain, on, looks, noted, told):
    with on("supervise", service="blog"):
        looks[0]()
        assert told == []
        plain.platform.blog.state = "stopped"
        looks[0]()
        looks[0]()
    assert told == [("start", "blog")]
    assert len(noted) == 1


def test_liveness_probe_kills_after_so_many_misses_in_a_row(plain, on, looks, told, monkeypatch):
    answers = iter([False, True, False, False])

    def call(*arguments, **options):
        if not next(answers):
            raise ServiceError("timed out")

    monkeypatch.setattr(guards_process, "call", call)
    with on("liveness_probe", service="blog", misses=2):
        for _ in range(3):
            looks[0]()
        assert told == []
        looks[0]()
    assert told == [("kill", "blog")]


def test_service_without_room_gets_the_reserve(plain, on, looks, noted, monkeypatch):
    limits = {"now": (0, 10**9)}

    def prlimit(pid, limit, wanted=None):
        limits["now"] = wanted or limits["now"]
        return limits["now"]

    monkeypatch.setattr(guards_process.resource, "prlimit", prlimit)
    with on("keep_room", service="blog"):
        looks[0]()
        looks[0]()
    assert limits["now"] == (10**9, 10**9)
    assert len(noted) == 1
