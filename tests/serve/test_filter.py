"""The filter answers what the artifact says, refuses what it cannot judge, and gives no answer without a record."""

import asyncio
import dataclasses
import errno
import json
import threading
from pathlib import Path

import orjson
import pytest

from mlops_helpers.errors import LogFull
from mlops_helpers.model import artifact as artifacts
from mlops_helpers.serve.asgi import App, Limits
from mlops_helpers.serve.client import Pool, Reply, encode_request
from mlops_helpers.serve.eventlog import EventLog
from mlops_helpers.serve.filter import MAX_BATCH, MAX_CHARACTERS, make_filter
from mlops_helpers.serve.records import records
from mlops_helpers.serve.scoring import Batcher, ServedModel
from mlops_helpers.serve.server import serving

TEXTS = [
    "I love this song",
    "Check out my channel http://spam.example/x",
    "",
    "日本語 \u0000 \n 😀",
    "free money " * 200,
]


@pytest.fixture(scope="module")
def artifact(model, tmp_path_factory) -> artifacts.Artifact:
    return artifacts.export(model, tmp_path_factory.mktemp("model") / "artifact")


@pytest.fixture
def service(artifact, tmp_path: Path) -> App:
    return make_filter(ServedModel.of("v1", artifact), tmp_path / "log", admin_token="secret")


def ask(address: str, *requests: bytes) -> list[Reply]:
    """Send requests one after another on one connection."""

    async def work() -> list[Reply]:
        pool = Pool(*address.split(":"))
        try:
            return [await pool.send(request, 20) for request in requests]
        finally:
            pool.close()

    return asyncio.run(work())


def classify(body: object, **headers: str) -> bytes:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return encode_request("POST", "/v1/classify", raw, {name.replace("_", "-"): v for name, v in headers.items()})


def get(path: str) -> bytes:
    return encode_request("GET", path)


def test_answers_are_those_of_the_artifact_and_all_are_on_record(service, artifact, tmp_path) -> None:
    batch = {"comments": [{"id": f"b{n}", "text": text} for n, text in enumerate(TEXTS)]}
    with serving(service) as address:
        single = ask(address, *(classify({"id": f"s{n}", "text": text}) for n, text in enumerate(TEXTS)))
        [several] = ask(address, classify(batch, x_request_id="from-the-gateway", x_shadow="1"))
        found = {record["comment_id"]: record for record in records(tmp_path / "log")}  # while it runs
    for n, text in enumerate(TEXTS):
        answers = (json.loads(single[n].body), json.loads(several.body)["verdicts"][n])
        for answer, comment_id in zip(answers, (f"s{n}", f"b{n}"), strict=True):
            score = artifact.score(text)
            assert answer == {"id": comment_id, "spam": score >= artifact.threshold, "score": score, "version": "v1"}
            record = found[comment_id]
            assert (record["score"], record["spam"]) == (score, answer["spam"])
            assert record["artifact"] == artifact.sha256[:12] and record["chars"] == len(text)
            assert record["shadow"] is (comment_id[0] == "b")
            assert (record["request_id"] == "from-the-gateway") is (comment_id[0] == "b")
    assert len({found[f"s{n}"]["request_id"] for n in range(len(TEXTS))}) == len(TEXTS)


def test_many_at_once_wait_for_the_same_write_and_all_are_answered(service, tmp_path) -> None:
    requests = [classify({"id": f"c{n}", "text": f"comment {n}"}) for n in range(640)]

    async def work() -> list[Reply]:
        pool = Pool(*address.split(":"), size=64)
        replies = await asyncio.gather(*(pool.send(request, 20) for request in requests))
        pool.close()
        return replies

    with serving(service) as address:
        replies = asyncio.run(work())
    assert [json.loads(reply.body)["id"] for reply in replies] == [f"c{n}" for n in range(640)]
    assert len({record["comment_id"] for record in records(tmp_path / "log")}) == 640


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b'{"text": "\xff"}', 400, "not JSON"),
        (b'{"text": "\\ud800"}', 400, "not JSON"),
        (b'{"text": 1e999999}', 400, "not JSON"),
        (b"[" * 100_000, 400, "not JSON"),
        ([], 422, "list"),
        (None, 422, "NoneType"),
        ({}, 422, "has no text"),
        ({"text": None}, 422, "text is NoneType"),
        ({"text": 5}, 422, "text is int"),
        ({"text": "x" * (MAX_CHARACTERS + 1)}, 422, "at most 10000"),
        ({"text": "x", "id": None}, 422, "id is not"),
        ({"text": "x", "id": "a\nb"}, 422, "id is not"),
        ({"text": "x", "id": "a" * 65}, 422, "id is not"),
        ({"text": "x", "txet": "y"}, 422, "unknown: 'txet'"),
        ({"comments": []}, 422, "accepted: a list of 1 to 128"),
        ({"comments": "ab"}, 422, "a str"),
        ({"comments": [{"id": "a", "text": "x"}], "text": "y"}, 422, "nothing beside it"),
        ({"comments": [{"id": "a", "text": "x"}] * (MAX_BATCH + 1)}, 422, "129 of them"),
        ({"comments": [{"id": "a", "text": "x"}, {"text": "x"}]}, 422, "comments[1]: has no id"),
        ({"comments": [{"id": "a", "text": "x"}, 3]}, 422, "comments[1]: found a int"),
        (b'{"text": "' + b"x" * 1_000_000 + b'"}', 413, "1000000"),
    ],
)
def test_what_cannot_be_judged_is_refused_with_the_reason(service, tmp_path, body, status, says) -> None:
    with serving(service) as address:
        [reply] = ask(address, classify(body))
    problem = json.loads(reply.body)
    assert (reply.status, problem["status"]) == (status, status)
    assert says in problem["detail"]
    assert reply.headers[b"content-type"] == b"application/problem+json"
    assert not list(records(tmp_path / "log"))


def test_a_request_id_that_could_forge_a_line_is_replaced(service, tmp_path) -> None:
    with serving(service) as address:
        ask(address, classify({"text": "x"}, x_request_id='a","spam":true'), classify({"text": "x"}, x_request_id="é"))
    ids = [record["request_id"] for record in records(tmp_path / "log")]
    assert len(ids) == 2 and all(one.replace("-", "").isalnum() and one.isascii() for one in ids)


def test_without_a_record_there_is_no_answer(service, monkeypatch) -> None:
    def full(self: EventLog, record: bytes) -> None:
        raise LogFull("10,000 records wait")

    with serving(service) as address:
        with monkeypatch.context() as patch:
            patch.setattr(EventLog, "append", full)
            [reply] = ask(address, classify({"text": "x"}))
            assert (reply.status, reply.headers[b"retry-after"]) == (503, b"1")
        assert ask(address, classify({"text": "x"}))[0].status == 200
        with monkeypatch.context() as patch:

            def no_space(*args: object) -> int:
                raise OSError(errno.ENOSPC, "No space left on device")

            patch.setattr("os.write", no_space)
            patch.setattr("os.writev", no_space)
            assert ask(address, classify({"text": "x"}))[0].status == 503
        after = ask(address, classify({"text": "x"}), get("/readyz"), get("/healthz"))
        assert [reply.status for reply in after] == [503, 503, 200]
        assert b"No space left" in after[1].body


def test_health_version_metrics_and_description(service, artifact) -> None:
    with serving(service) as address:
        _, _, ready, version, metrics, described = ask(
            address,
            classify({"text": "Check out my channel"}),
            get("/healthz"),
            get("/readyz"),
            get("/version"),
            get("/metrics"),
            get("/openapi.json"),
        )
        assert ready.status == 200
        service.draining = True
        assert ask(address, get("/readyz"))[0].status == 503
    known = json.loads(version.body)
    assert (known["version"], known["artifact_sha256"], known["threshold"]) == ("v1", artifact.sha256, 0.5)
    assert known["data_sha256"] == artifact.manifest["data_sha256"]
    text = metrics.body.decode()
    assert 'http_requests_total{code="200",handler="/v1/classify"} 1.0' in text
    assert 'filter_comments_total{spam="true",version="v1"} 1.0' in text
    assert json.loads(described.body)["openapi"] == "3.1.0"


def swap(body: object, token: str = "secret") -> bytes:
    return encode_request("PUT", "/admin/model", orjson.dumps(body), {"authorization": f"Bearer {token}"})


@pytest.fixture(scope="module")
def other(model, tmp_path_factory) -> artifacts.Artifact:
    folder = tmp_path_factory.mktemp("other") / "artifact"
    return artifacts.export(dataclasses.replace(model, threshold=0.25), folder)


def test_only_who_may_changes_the_model_and_only_to_the_named_bytes(service, artifact, other) -> None:
    good = {"folder": str(other.folder), "sha256": other.sha256, "version": "v2"}
    with serving(service) as address:
        refused = ask(
            address,
            swap(good, token="guess"),
            swap(good | {"sha256": artifact.sha256}),
            swap(good | {"folder": "/nowhere\u0000"}),
            swap(good | {"version": "v 2"}),
            swap(good | {"version": 2}),
            swap({}),
        )
        assert [reply.status for reply in refused] == [401, 422, 422, 422, 422, 422]
        assert json.loads(ask(address, get("/version"))[0].body)["version"] == "v1"
        assert ask(address, swap(good))[0].status == 200
        assert json.loads(ask(address, get("/version"))[0].body)["artifact_sha256"] == other.sha256


def test_without_a_token_nobody_changes_the_model(artifact, tmp_path) -> None:
    with serving(make_filter(ServedModel.of("v1", artifact), tmp_path / "log")) as address:
        assert ask(address, swap({}, token=""))[0].status == 403


def test_a_swap_under_load_mixes_nothing(artifact, other, tmp_path) -> None:
    served = ServedModel.of("v1", artifact)
    service = make_filter(served, tmp_path / "log", durability="async", admin_token="secret")
    scores = {"v1": (artifact.sha256, 0.5), "v2": (other.sha256, 0.25)}
    text = next(
        text
        for text in (
            f"{a} {b}" for a in ("check", "great", "my", "song", "visit") for b in ("channel", "video", "love")
        )
        if 0.25 <= artifact.score(text) < 0.5
    )
    batch = classify({"comments": [{"id": f"c{n}", "text": text} for n in range(64)]})

    async def work() -> set[str]:
        pool, seen, done = Pool(*address.split(":"), size=8), set(), False

        async def load() -> None:
            while not done:
                verdicts = json.loads((await pool.send(batch, 20)).body)["verdicts"]
                [version] = {verdict["version"] for verdict in verdicts}
                assert {verdict["spam"] for verdict in verdicts} == {verdicts[0]["score"] >= scores[version][1]}
                seen.add(version)

        loads = [asyncio.create_task(load()) for _ in range(4)]
        for n in range(10):
            version, target = ("v2", other) if n % 2 == 0 else ("v1", artifact)
            wanted = {"folder": str(target.folder), "sha256": target.sha256, "version": version}
            assert (await pool.send(swap(wanted), 20)).status == 200
            while version not in seen:
                await asyncio.sleep(0.001)
            seen.clear()
        done = True
        await asyncio.gather(*loads)
        pool.close()
        return seen

    with serving(service) as address:
        asyncio.run(work())
    for record in records(tmp_path / "log"):
        sha256, threshold = scores[record["version"]]
        assert record["artifact"] == sha256[:12] and record["spam"] is (record["score"] >= threshold)


def test_a_batcher_scores_all_that_waits_at_once_and_waits_for_nobody() -> None:
    batches: list[list[str]] = []
    release = threading.Event()

    def score(texts: list[str]) -> list[float]:
        batches.append(list(texts))
        if len(batches) == 1:
            release.wait(20)
        if "poison" in texts:
            raise ValueError("poison")
        return [float(len(text)) for text in texts]

    async def work() -> None:
        batcher = Batcher(score)
        first = asyncio.create_task(batcher.scores(["a"]))
        while not batches:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(batcher.scores(["bb", "ccc"])) for _ in range(3)]
        await asyncio.sleep(0)
        others[1].cancel()
        release.set()
        assert await first == [1.0]
        assert [await others[0], await others[2]] == [[2.0, 3.0]] * 2
        assert batches == [["a"], ["bb", "ccc"] * 2]
        with pytest.raises(ValueError, match="poison"):
            await batcher.scores(["poison"])
        assert await batcher.scores(["dddd"]) == [4.0]

    asyncio.run(work())


def test_a_long_batch_lets_others_through(artifact, tmp_path) -> None:
    model = ServedModel.of("v1", artifact)

    async def work() -> list[str]:
        order = []

        async def judge(name: str, n: int) -> None:
            await model.scores(["some words to score"] * n)
            order.append(name)

        await asyncio.gather(judge("batch", MAX_BATCH), judge("single", 1))
        return order

    assert asyncio.run(work()) == ["single", "batch"]


def test_shed_requests_leave_no_record(artifact, tmp_path) -> None:
    service = make_filter(ServedModel.of("v1", artifact), tmp_path / "log", limits=Limits(concurrency=0))
    with serving(service) as address:
        assert ask(address, classify({"text": "x"}))[0].status == 503
    assert not list(records(tmp_path / "log"))
