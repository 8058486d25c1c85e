"""The store: what a comment's life may look like, whatever happens in which order."""

import asyncio
import sqlite3
import tempfile
import time
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle as Known
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mlops_helpers.errors import DataError, ServiceError
from mlops_helpers.serve import archive
from mlops_helpers.serve.entries import Comment, Draft, Post, Verdict
from mlops_helpers.serve.groupcommit import connect
from mlops_helpers.serve.store import DATABASE, KeyReused, Store
from tests.support.asgi import in_event_loop

POST = "first-frost"


def verdict(comment_id: str, outcome: str, version: str = "v1") -> Verdict:
    return Verdict(comment_id, outcome) if outcome == "refused" else Verdict(comment_id, outcome, 0.5, version)


class Life(RuleBasedStateMachine):
    """A store beside the simplest model of it."""

    ids = Known("ids")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.model: dict[str, dict] = {}  # by id, in the order of arrival
        self.open()

    def run(self, what):
        return self.loop.run_until_complete(what)

    def open(self) -> None:
        async def make() -> Store:
            return Store(Path(self.folder.name))

        self.store = self.run(make())

    @precondition(lambda self: len(self.model) < 5)  # few comments, much of whose life is seen
    @rule(target=ids, key=st.sampled_from([None, "k", "l"]), text=st.sampled_from("ab"))
    def add(self, key, text):
        known = next((c for c in self.model.values() if key is not None and c["key"] == key), None)
        if known and known["text"] != text:
            with pytest.raises(KeyReused):
                self.run(self.store.add(Draft(POST, "Ada", text, key)))
            return known["id"]
        comment, new = self.run(self.store.add(Draft(POST, "Ada", text, key)))
        assert new == (known is None)
        if new:
            assert comment.id not in self.model
            self.model[comment.id] = {
                "id": comment.id, "key": key, "text": text, "state": "pending", "reason": None,
                "outcome": None, "version": None, "decisions": [],
            }  # fmt: skip
        else:
            assert comment.id == known["id"]
        return comment.id

    @rule(
        batch=st.lists(
            st.tuples(ids, st.sampled_from(["ham", "spam", "refused"]), st.sampled_from(["v1", "v2"])),
            min_size=1,
            max_size=4,
        )
    )
    def record(self, batch):
        news = self.run(self.store.record([verdict(*entry) for entry in batch]))
        expected = []
        for comment_id, outcome, version in batch:
            comment = self.model[comment_id]
            if comment["outcome"] is None:
                expected.append(verdict(comment_id, outcome, version))
                if comment["state"] == "pending" or comment["reason"] == "unclassified":
                    comment["state"] = "published" if outcome == "ham" else "held"
                    comment["reason"] = {"ham": None}.get(outcome, outcome)
                comment["outcome"], comment["version"] = outcome, None if outcome == "refused" else version
        assert news == expected

    @rule()
    def hold(self):
        late = [comment for comment in self.model.values() if comment["state"] == "pending"]
        assert self.store.has_pending(time.time() + 1) == bool(late)
        assert self.run(self.store.hold(time.time() + 1)) == len(late)
        for comment in late:
            comment["state"], comment["reason"] = "held", "unclassified"

    @rule(comment_id=ids, label=st.sampled_from([0, 1]))
    def decide(self, comment_id, label):
        comment = self.model[comment_id]
        news = self.run(self.store.decide(comment_id, label, "Mo"))
        assert news == (comment["decisions"][-1:] != [label])
        comment["state"], comment["reason"] = ("published", "rejected")[label], None
        if news:
            comment["decisions"].append(label)

    @rule(comment_id=ids)
    def report(self, comment_id):
        comment = self.model[comment_id]
        done = self.run(self.store.report(comment_id))
        assert done == (comment["state"] == "published" and not comment["decisions"])
        if done:
            comment["state"], comment["reason"] = "held", "reported"

    @rule()
    def open_again(self):
        self.run(self.store.close())
        self.open()

    @invariant()
    def is_as_the_model(self):
        def ids(condition):
            return [comment["id"] for comment in self.model.values() if condition(comment)]

        for comment_id, expected in self.model.items():
            found = self.store.comment(comment_id)
            assert (found.state, found.reason, found.outcome, found.version) == (
                expected["state"], expected["reason"], expected["outcome"], expected["version"],
            )  # fmt: skip
        published = ids(lambda c: c["state"] == "published")
        assert [c.id for c in self.store.waiting(1000)] == ids(lambda c: c["outcome"] is None)
        assert [c.id for c in self.store.queue(0, 1000)] == ids(lambda c: c["state"] == "held")
        assert [c.id for c in self.store.published(POST, 10**9, 1000)] == published[::-1]
        assert self.store.post(POST).comments == len(published)
        assert self.store.count("held") == len(ids(lambda c: c["state"] == "held"))
        assert self.store.count("waiting") == len(self.store.waiting(1000))
        labels = [(row["comment_id"], row["label"]) for row in self.store.labels(0, 1000)]
        assert sorted(labels) == sorted((c["id"], label) for c in self.model.values() for label in c["decisions"])

    def teardown(self):
        self.run(self.store.close())
        self.loop.close()
        self.folder.cleanup()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=20, stateful_step_count=20)


@in_event_loop
async def test_writes_that_wait_share_a_transaction_and_one_that_fails_harms_no_other(tmp_path):
    store = Store(tmp_path)
    try:
        drafts = [Draft(POST, "Ada", f"text {i}", f"key {i}") for i in range(50)] + [Draft("nowhere", "Ada", "text")]
        results = await asyncio.gather(*map(store.add, drafts), return_exceptions=True)
        assert isinstance(results[-1], sqlite3.IntegrityError)
        assert [comment.number for comment, _ in results[:-1]] == list(range(1, 51))
        assert [comment.text for comment in store.waiting(100)] == [draft.text for draft in drafts[:-1]]
    finally:
        await store.close()


@in_event_loop
async def test_a_disk_that_fails_stores_nothing_and_is_used_again_when_it_works(tmp_path):
    store = Store(tmp_path)
    try:
        pages = await store._writer.submit(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
        await store._writer.submit(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone())
        with pytest.raises(ServiceError, match=r"cannot be written|full"):
            await store.add(Draft(POST, "Ada", "x" * 100_000))
        assert store.waiting(1) == []
        await store._writer.submit(lambda db: db.execute("PRAGMA max_page_count = 100000").fetchone())
        comment, _ = await store.add(Draft(POST, "Ada", "x" * 100_000))
        assert store.waiting(1) == [comment]
    finally:
        await store.close()


@in_event_loop
async def test_the_database_itself_refuses_what_must_not_be(tmp_path):
    store = Store(tmp_path)
    comment, _ = await store.add(Draft(POST, "Ada", "text"))
    await store.record([verdict(comment.id, "ham")])
    await store.close()
    with closing(connect(tmp_path / DATABASE)) as db:
        for statement in (
            "UPDATE comments SET outcome = 'spam'",  # a second verdict
            "UPDATE comments SET state = 'held'",  # without a reason
            "UPDATE comments SET state = 'lost'",
            "UPDATE comments SET score = 2",
            "INSERT INTO decisions (comment_id, label, decided_at, by) VALUES ('c-0', 2, 0, 'Mo')",
        ):
            with pytest.raises(sqlite3.IntegrityError):
                db.execute(statement)
        for table, row in {"comments": Comment, "posts": Post}.items():  # rows become these by position
            columns = [column[1] for column in db.execute(f"PRAGMA table_info({table})")]
            assert columns == [field.name for field in fields(row)]


@in_event_loop
async def test_two_blogs_cannot_share_a_folder_and_another_version_is_refused(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(ServiceError, match="another blog runs"):
        Store(tmp_path)
    await store.close()
    with closing(connect(tmp_path / DATABASE)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(ServiceError, match="version 99, accepted: 1"):
        Store(tmp_path)
    (tmp_path / DATABASE).write_bytes(b"no database at all" * 1000)
    with pytest.raises(ServiceError, match="not a database"):
        Store(tmp_path)


@in_event_loop
async def test_tables_show_all_while_the_blog_runs_and_after(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        archive.comments(tmp_path)
    store = Store(tmp_path)
    assert len(archive.comments(tmp_path)) == 0
    assert dict(archive.labels(tmp_path).dtypes.astype(str))["label"] == "Int64"
    before = time.time()
    made = [(await store.add(Draft(POST, "Ada", text)))[0] for text in ("one", "two")]
    await store.record([verdict(made[0].id, "ham")])
    await store.decide(made[0].id, 0, "Mo")
    await store.decide(made[0].id, 1, "Mo")
    running = archive.comments(tmp_path), archive.labels(tmp_path)
    await store.close()
    for comments, labels in (running, (archive.comments(tmp_path), archive.labels(tmp_path))):
        assert list(comments.comment_id) == [comment.id for comment in made]
        assert list(comments.state) == ["rejected", "pending"]
        assert comments.outcome.isna().tolist() == [False, True] == comments.classified_at.isna().tolist()
        assert list(zip(labels.comment_id, labels.label, strict=True)) == [(made[0].id, 1)]  # the last decision
        assert before <= labels.decided_at[0].timestamp() <= time.time()
        assert str(labels.decided_at.dt.tz) == "UTC" == str(comments.created_at.dt.tz)
