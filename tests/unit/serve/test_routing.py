"""Shares are what the weights say, the same everywhere, and grow without taking anybody's version away."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_helpers.errors import ParameterError, ServiceError
from mlops_helpers.serve.routing import RoutingTable, first_gets_all, key_of, point, split_address

KEYS = [f"comment-{number}".encode() for number in range(2000)]
SALTS = st.text("abcdefgh-", min_size=1, max_size=12)


def upstreams(*versions: str) -> dict[str, list[str]]:
    return {version: [f"127.0.0.1:{port}"] for port, version in enumerate(versions, 8001)}


def table(**weights: float) -> RoutingTable:
    return RoutingTable(upstreams(*weights), weights)


def test_points_are_pinned_for_ever() -> None:
    """Another value here sends readers of a running canary back and forth at the next release of the gateway."""
    assert point(b"v1", b"c1") == 0.6035985717370086
    assert point(b"v2", "käse".encode()) == 0.9448584406702961
    even = table(v1=0.5, v2=0.5)
    assert "".join(even.version(b"c%d" % number)[1] for number in range(32)) == "12122221212211112221121122211222"


@settings(max_examples=20)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=4).filter(any), SALTS)
def test_shares_are_the_weights(parts: list[int], salt: str) -> None:
    weights = {f"{salt}{number}": part / sum(parts) for number, part in enumerate(parts)}
    routing = table(**weights)
    versions = [routing.version(key) for key in KEYS]
    for version, weight in weights.items():
        bound = 6 * math.sqrt(weight * (1 - weight) / len(KEYS))  # one false alarm in 10^9
        assert abs(versions.count(version) / len(KEYS) - weight) <= bound


@settings(max_examples=20)
@given(st.floats(0, 1), st.floats(0, 1), SALTS)
def test_a_growing_version_keeps_its_comments_and_others_exchange_none(one: float, other: float, salt: str) -> None:
    small, large = sorted((one, other))
    rest = {"champion": 0.7, "old": 0.3}
    before, after = (
        table(**{salt: share, **{name: (1 - share) * part for name, part in rest.items()}}) for share in (small, large)
    )
    for key in KEYS[:500]:
        was, now = before.version(key), after.version(key)
        assert now in (was, salt)


def test_shadow_copies_have_their_share_independently_of_who_answers() -> None:
    routing = RoutingTable(upstreams("v1", "v2", "v3"), {"v1": 0.5, "v2": 0.5}, {"v2": 0.5, "v3": 0.5})
    for answers in ("v1", "v2"):
        copies = [routing.copies(key) for key in KEYS if routing.version(key) == answers]
        for version in ("v2", "v3"):
            assert abs(sum(version in each for each in copies) / len(copies) - 0.5) < 0.1
    everything = routing.changed("shadow", {"v1": 0, "v3": 1})
    assert all(everything.copies(key) == ["v3"] for key in KEYS)


def test_without_weights_the_first_version_has_everything() -> None:
    assert first_gets_all(upstreams("v1", "v2")) == {"v1": 1.0}
    later = RoutingTable({}).changed("upstreams", upstreams("v1", "v2"))
    assert later.weights == {"v1": 1.0, "v2": 0.0} and later.version(b"x") == "v1"
    with pytest.raises(IndexError):
        RoutingTable({}).version(b"x")


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"v1": 0.0, "v2": 0}, "add up to 0"),
        ({"v1": 0.9, "v2": 0.2}, "add up to 1.1"),
        ({"v1": math.nan, "v2": 1}, "v1: nan"),
        ({"v1": -0.5, "v2": 1.5}, "v1: -0.5"),
        ({"v1": True}, "v1: True"),
        ({"v3": 1}, "'v3'; accepted: v1, v2"),
        ([1], "object of numbers"),
    ],
)
def test_weights_that_make_no_sense_are_refused_with_what_is_accepted(weights, said: str) -> None:
    with pytest.raises(ParameterError) as refused:
        RoutingTable(upstreams("v1", "v2"), weights)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"v1": []}, "at least one address"),
        ({"v1": ["127.0.0.1:1"], "v2": ["127.0.0.1:1"]}, "named twice"),
        ({"v 1": ["127.0.0.1:1"]}, "no version"),
        ({"v1": [8001]}, "no address"),
    ],
)
def test_upstreams_that_make_no_sense_are_refused(wanted, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        RoutingTable(wanted)


def test_a_version_with_a_share_cannot_be_removed() -> None:
    routing = RoutingTable(upstreams("v1", "v2"), {"v1": 0.9, "v2": 0.1}, {"v1": 0.5})
    with pytest.raises(ParameterError, match=r"v2.*give its share away first"):
        routing.changed("upstreams", upstreams("v1"))
    with pytest.raises(ParameterError, match="shadow name the version 'v1'"):
        routing.changed("weights", {"v2": 1}).changed("upstreams", upstreams("v2"))
    assert routing.changed("weights", {"v1": 1}).changed("upstreams", upstreams("v1")).weights == {"v1": 1.0}


@pytest.mark.parametrize(
    "address", ["", "host", "host:", ":80", "host:0", "host:65536", "::1:80", "a\n:80", "a:８", None]
)
def test_what_is_no_address_is_refused(address) -> None:
    with pytest.raises(ParameterError, match="accepted: host:port"):
        split_address(address)


@pytest.mark.parametrize(
    ("comment", "key"),
    [({"id": "c1", "text": "x"}, b"c1"), ({"text": "hé"}, "hé".encode()), ({"id": 7}, b""), (["c1"], b""), (None, b"")],
)
def test_a_comment_is_routed_by_its_id_or_else_its_text(comment, key: bytes) -> None:
    assert key_of(comment) == key


def test_a_saved_table_is_the_same_again(tmp_path) -> None:
    path = tmp_path / "state.json"
    assert RoutingTable.load(path) is None
    routing = RoutingTable(upstreams("v1", "v2"), {"v1": 0.95, "v2": 0.05}, {"v2": 0.3})
    routing.save(path)
    again = RoutingTable.load(path)
    assert again is not None and again.as_json() == routing.as_json()
    assert [again.version(key) for key in KEYS] == [routing.version(key) for key in KEYS]
    assert [file.name for file in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"weights": {}}', b'{"upstreams": {}, "more": 1}', b"\xff"])
def test_a_file_that_is_no_table_is_an_error_that_names_it(tmp_path, content: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    with pytest.raises(ServiceError, match=r"state\.json is no routing table.*Next"):
        RoutingTable.load(path)
