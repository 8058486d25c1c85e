"""The filter answers what the artifact says, refuses what it cannot judge, and gives no answer without a record."""

import dataclasses
import errno
from pathlib import Path

import orjson
import pytest

from mlops_helpers.errors import LogFull
from mlops_helpers.model import artifact as artifacts
from mlops_helpers.serve.asgi import App
from mlops_helpers.serve.eventlog import EventLog
from mlops_helpers.serve.filter import MAX_BATCH, MAX_CHARACTERS, make_filter
from mlops_helpers.serve.records import records
from mlops_helpers.serve.scoring import ServedModel
from tests.support.asgi import Answer, Client, started

TEXTS = [
    "I love this song",
    "Check out my channel http://spam.example/x",
    "",
    "日本語 \u0000 \n 😀",
    "free money " * 200,
]


@pytest.fixture
def service(artifact, tmp_path: Path) -> App:
    return make_filter(ServedModel.of("v1", artifact), tmp_path / "log", admin_token="secret")


def classify(client: Client, body: object, **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.ask("POST", "/v1/classify", raw, named)


def test_answers_are_those_of_the_artifact_and_all_are_on_record(service, artifact, tmp_path) -> None:
    batch = {"comments": [{"id": f"b{n}", "text": text} for n, text in enumerate(TEXTS)]}
    with started(service) as client:
        single = [classify(client, {"id": f"s{n}", "text": text}) for n, text in enumerate(TEXTS)]
        several = classify(client, batch, x_request_id="from-the-gateway", x_shadow="1")
        found = {record["comment_id"]: record for record in records(tmp_path / "log")}  # while it runs
    for n, text in enumerate(TEXTS):
        answers = (single[n].json(), several.json()["verdicts"][n])
        for answer, comment_id in zip(answers, (f"s{n}", f"b{n}"), strict=True):
            score = artifact.score(text)
            assert answer == {"id": comment_id, "spam": score >= artifact.threshold, "score": score, "version": "v1"}
            record = found[comment_id]
            assert (record["score"], record["spam"]) == (score, answer["spam"])
            assert record["artifact"] == artifact.sha256[:12] and record["chars"] == len(text)
            assert record["shadow"] is (comment_id[0] == "b")
            assert (record["request_id"] == "from-the-gateway") is (comment_id[0] == "b")
    assert len({found[f"s{n}"]["request_id"] for n in range(len(TEXTS))}) == len(TEXTS)


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 400, "not JSON"),
        (b'{"text": "\xff"}', 400, "not JSON"),
        (b'{"text": "\\ud800"}', 400, "not JSON"),
        (b'{"text": 1e999999}', 400, "not JSON"),
        (b"[" * 100_000, 400, "not JSON"),
        (None, 422, "NoneType"),
        ({}, 422, "has no text"),
        ({"text": None}, 422, "text is NoneType"),
        ({"text": "x" * (MAX_CHARACTERS + 1)}, 422, "at most 10000"),
        ({"text": "x", "id": None}, 422, "id is not"),
        ({"text": "x", "id": "a\nb"}, 422, "id is not"),
        ({"text": "x", "id": "a" * 65}, 422, "id is not"),
        ({"text": "x", "txet": "y"}, 422, "unknown: 'txet'"),
        ({"comments": []}, 422, "accepted: a list of 1 to 128"),
        ({"comments": [{"id": "a", "text": "x"}], "text": "y"}, 422, "nothing beside it"),
        ({"comments": [{"id": "a", "text": "x"}] * (MAX_BATCH + 1)}, 422, "129 of them"),
        ({"comments": [{"id": "a", "text": "x"}, {"text": "x"}]}, 422, "comments[1]: has no id"),
        (b'{"text": "' + b"x" * 1_000_000 + b'"}', 413, "1000000"),
    ],
)
def test_what_cannot_be_judged_is_refused_with_the_reason(service, tmp_path, body, status, says) -> None:
    with started(service) as client:
        reply = classify(client, body)
    problem = reply.json()
    assert (reply.status, problem["status"]) == (status, status)
    assert says in problem["detail"]
    assert reply.headers["content-type"] == "application/problem+json"
    assert not list(records(tmp_path / "log"))


def test_a_request_id_that_could_forge_a_line_is_replaced(service, tmp_path) -> None:
    with started(service) as client:
        for name in ('a","spam":true', "é"):
            classify(client, {"text": "x"}, x_request_id=name)
    ids = [record["request_id"] for record in records(tmp_path / "log")]
    assert len(ids) == 2 and all(one.replace("-", "").isalnum() and one.isascii() for one in ids)


def test_without_a_record_there_is_no_answer(service, monkeypatch) -> None:
    def full(self: EventLog, record: bytes) -> None:
        raise LogFull("10,000 records wait")

    with started(service) as client:
        with monkeypatch.context() as patch:
            patch.setattr(EventLog, "append", full)
            reply = classify(client, {"text": "x"})
            assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert classify(client, {"text": "x"}).status == 200
        with monkeypatch.context() as patch:

            def no_space(*args: object) -> int:
                raise OSError(errno.ENOSPC, "No space left on device")

            patch.setattr("os.write", no_space)
            patch.setattr("os.writev", no_space)
            assert classify(client, {"text": "x"}).status == 503
        assert classify(client, {"text": "x"}).status == 503
        ready = client.ask("GET", "/readyz")
        assert ready.status == 503 and "No space left" in ready.text
        assert client.ask("GET", "/healthz").status == 200


def test_health_version_metrics_and_description(service, artifact) -> None:
    with started(service) as client:
        classify(client, {"text": "Check out my channel"})
        assert client.ask("GET", "/healthz").status == client.ask("GET", "/readyz").status == 200
        known = client.ask("GET", "/version").json()
        text = client.ask("GET", "/metrics").text
        service.draining = True
        assert client.ask("GET", "/readyz").status == 503
    assert (known["version"], known["artifact_sha256"], known["threshold"]) == ("v1", artifact.sha256, 0.5)
    assert known["data_sha256"] == artifact.manifest["data_sha256"]
    assert 'http_requests_total{code="200",handler="/v1/classify"} 1.0' in text
    assert 'filter_comments_total{spam="true",version="v1"} 1.0' in text


def swap(client: Client, body: object, token: str = "secret") -> Answer:
    return client.ask("PUT", "/admin/model", orjson.dumps(body), {"authorization": f"Bearer {token}"})


@pytest.fixture(scope="module")
def other(model, tmp_path_factory) -> artifacts.Artifact:
    folder = tmp_path_factory.mktemp("other") / "artifact"
    return artifacts.export(dataclasses.replace(model, threshold=0.25), folder)


def test_only_who_may_changes_the_model_and_only_to_the_named_bytes(service, artifact, other) -> None:
    good = {"folder": str(other.folder), "sha256": other.sha256, "version": "v2"}
    wrong = [{"sha256": artifact.sha256}, {"folder": "/nowhere\u0000"}, {"version": "v 2"}, {"version": 2}]
    with started(service) as client:
        assert swap(client, good, token="guess").status == 401
        for part in wrong:
            assert swap(client, good | part).status == 422
        assert swap(client, {}).status == 422
        assert client.ask("GET", "/version").json()["version"] == "v1"
        assert swap(client, good).status == 200
        assert client.ask("GET", "/version").json()["artifact_sha256"] == other.sha256


def test_without_a_token_nobody_changes_the_model(artifact, tmp_path) -> None:
    with started(make_filter(ServedModel.of("v1", artifact), tmp_path / "log")) as client:
        assert swap(client, {}, token="").status == 403
