"""The outbox: every comment's verdict is recorded once and in order, whatever the filter does."""

from collections import Counter

import pytest

from mlops_helpers.serve import archive, outbox
from tests.support.blog import FakeGateway, Visitor, running


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


@pytest.fixture(autouse=True)
def pauses(monkeypatch) -> None:
    """Pauses that grow from a millisecond instead of a hundred."""
    monkeypatch.setattr(outbox, "FIRST_PAUSE", 0.001)


def post_many(visitor: Visitor, texts: list[str]) -> list[str]:
    return [visitor.comment(text).json()["id"] for text in texts]


def outcomes(folder) -> list[str]:
    return archive.comments(folder).outcome.fillna("").tolist()


def test_a_comment_is_answered_with_its_verdict(gateway, tmp_path):
    with running(tmp_path, gateway) as visitor:
        assert visitor.comment("Nice beans").json()["state"] == "published"
        spam = visitor.comment("Visit our casino").json()
        assert (spam["state"], spam["reason"]) == ("held", "spam")
        metrics = visitor.get("/metrics").text
    assert 'blog_comments_total{state="published"} 1.0' in metrics
    assert 'blog_classifications_total{outcome="spam"} 1.0' in metrics
    assert "blog_classification_seconds_count 2.0" in metrics
    assert "blog_moderation_queue 1.0" in metrics
    table = archive.comments(tmp_path)
    assert table[["score", "version"]].to_numpy().tolist() == [[0.25, "v1"], [0.75, "v1"]]


def test_while_the_filter_is_away_comments_are_held_and_later_judged_in_order(gateway, tmp_path):
    texts = [f"{'casino' if i % 3 == 0 else 'beans'} {i}" for i in range(70)]
    gateway.behave = lambda texts: 503
    with running(tmp_path, gateway, patience=0.0, hold_after=0.2) as visitor:
        ids = post_many(visitor, texts)
        visitor.until(lambda: {visitor.state(i) for i in ids} == {("held", "unclassified")})
        metrics = visitor.get("/metrics").text
        assert "blog_outbox_waiting 70.0" in metrics
        assert 'blog_classification_failures_total{reason="status 503"}' in metrics
        oldest = next(line for line in metrics.splitlines() if line.startswith("blog_outbox_oldest_seconds "))
        assert float(oldest.split()[1]) >= 0.2
        gateway.asked.clear()
        gateway.behave = lambda texts: 200
        visitor.until(lambda: "" not in outcomes(tmp_path))
        expected = [("held", "spam") if "casino" in text else ("published", None) for text in texts]
        assert [visitor.state(i) for i in ids] == expected
        assert "blog_outbox_waiting 0.0" in visitor.get("/metrics").text
    assert [text for text in gateway.asked if gateway.answered[text]][-70:] == texts
    assert gateway.answered == Counter(texts)


def test_answers_that_fail_or_get_lost_are_asked_for_again(gateway, tmp_path):
    with running(tmp_path, gateway) as visitor:
        for number, status in enumerate([500, 404, 429, "reset"]):
            left = [status, status]
            gateway.behave = lambda texts, left=left: left.pop() if left else 200
            assert visitor.comment(f"beans {number}").json()["state"] == "published"
            assert gateway.asked == [f"beans {number}"] * 3
            gateway.asked.clear()
        assert 'blog_classifications_total{outcome="ham"} 4.0' in visitor.get("/metrics").text


@pytest.mark.parametrize("status", [422, 500, "reset"])
def test_a_comment_that_the_filter_refuses_or_fails_at_does_not_hold_up_the_others(gateway, tmp_path, status):
    texts = ["poison", "casino 1", "poison too", "beans 3"]
    gateway.behave = lambda texts: status if any("poison" in text for text in texts) else 200
    with running(tmp_path, gateway, patience=0.0) as visitor:
        ids = post_many(visitor, texts)
        visitor.until(lambda: "" not in outcomes(tmp_path))
        assert outcomes(tmp_path) == ["refused", "spam", "refused", "ham"]
        assert visitor.state(ids[0]) == ("held", "refused")
        assert archive.comments(tmp_path).classified_at.is_monotonic_increasing
        assert visitor.comment("beans again", idempotency_key="last").status == 201
        visitor.until(lambda: outcomes(tmp_path)[-1] == "ham")


def test_an_answer_that_is_none_is_not_believed(gateway, tmp_path):
    spoilt = [
        lambda verdicts: {},
        lambda verdicts: {"verdicts": verdicts[1:]},
        lambda verdicts: {"verdicts": [v | {"id": "c-0"} for v in verdicts]},
        lambda verdicts: {"verdicts": [v | {"score": "high"} for v in verdicts]},
        lambda verdicts: {"verdicts": [v | {"score": 1.5} for v in verdicts]},
        lambda verdicts: {"verdicts": [v | {"spam": 0} for v in verdicts]},
        lambda verdicts: {"verdicts": [v | {"version": None} for v in verdicts]},
        lambda verdicts: [1],
    ]
    with running(tmp_path, gateway) as visitor:
        for number, spoil in enumerate(spoilt):
            answers = [lambda verdicts: {"verdicts": verdicts}, spoil]
            gateway.answer = lambda verdicts, answers=answers: answers.pop()(verdicts)
            assert visitor.comment(f"beans {number}").json()["state"] == "published"
            assert gateway.answered[f"beans {number}"] == 2
        metrics = visitor.get("/metrics").text
    assert f'blog_classification_failures_total{{reason="malformed"}} {len(spoilt)}.0' in metrics


def test_a_slow_filter_delays_no_answer_beyond_the_patience(gateway, tmp_path):
    gateway.open.clear()
    with running(tmp_path, gateway, patience=0.05) as visitor:
        comment = visitor.comment("beans").json()
        assert comment["state"] == "pending"
        visitor.until(lambda: gateway.asked)
        gateway.open.set()
        visitor.until(lambda: visitor.state(comment["id"]) == ("published", None))


def test_a_decision_stays_when_the_verdict_comes_later(gateway, tmp_path):
    gateway.open.clear()
    with running(tmp_path, gateway, patience=0.0) as visitor:
        spam, ham = post_many(visitor, ["casino", "beans"])
        assert visitor.decide(spam, "publish").json() == {"id": spam, "state": "published"}
        assert visitor.decide(ham, "reject").json() == {"id": ham, "state": "rejected"}
        gateway.open.set()
        visitor.until(lambda: outcomes(tmp_path) == ["spam", "ham"])
        assert [visitor.state(spam), visitor.state(ham)] == [("published", None), ("rejected", None)]


def test_what_waited_is_taken_up_by_the_next_start(gateway, tmp_path):
    gateway.behave = lambda texts: "refused"
    with running(tmp_path, gateway, patience=0.0) as visitor:
        ids = post_many(visitor, ["beans", "casino"])
        visitor.until(lambda: 'failures_total{reason="refused"}' in visitor.get("/metrics").text)
    gateway.behave = lambda texts: 200
    with running(tmp_path, gateway) as visitor:
        visitor.until(lambda: "" not in outcomes(tmp_path))
        assert [visitor.state(i) for i in ids] == [("published", None), ("held", "spam")]
