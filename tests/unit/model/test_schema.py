"""Each trap is found where it is, acted on as promised, and not seen where it is not."""

import numpy as np
import pandas as pd
import pytest

from mlops_helpers.errors import DataError
from mlops_helpers.model import schema, text


def raw(n: int = 40) -> pd.DataFrame:
    """Harmless raw comments in random order."""
    rng = np.random.default_rng(3)
    days = pd.to_datetime("2026-01-01", utc=True) + pd.to_timedelta(rng.permutation(n), unit="D")
    return pd.DataFrame(
        {
            "raw_id": [f"z1{i:03}" for i in range(n)],
            "text": [f"comment {chr(97 + i % 26)}{chr(97 + i // 26)} is fine, 1 < 2 & 3 > 2" for i in range(n)],
            "label": rng.permutation([0, 1] * (n // 2)),
            "created_at": days.astype("datetime64[ns, UTC]"),
            "group": "one",
        }
    )


DAMAGE = {  # by trap: which rows get which texts or ids
    "empty text": {"text": {3: "", 4: "  "}},
    "id of another kind": {"raw_id": {5: "LneA", 6: "_2v"}},
    "repeated id": {"raw_id": {7: "z1008"}},
    "invisible end": {"text": {8: "nice song\ufeff", 9: "so true \u200b"}},
    "HTML entities": {"text": {8: "rock &amp; roll", 9: "I&#39;m here"}},
    "HTML tags": {"text": {8: "one<br />two", 9: '<a href="http://x.example">look</a> here'}},
    "duplicate text": {"text": {10: "Check my channel!!", 11: "check MY channel"}},
}
ROWS = {"missing date": 20, "repeated id": 1, "duplicate text": 1, "sorted rows": 40}


def damaged(trap: str) -> pd.DataFrame:
    frame = raw()
    for column, changes in DAMAGE.get(trap, {}).items():
        frame.loc[list(changes), column] = list(changes.values())
    if trap == "missing date":
        frame.loc[frame["label"] == 1, "created_at"] = pd.NaT
    return frame.sort_values("created_at", ignore_index=True) if trap == "sorted rows" else frame


def test_harmless_comments_meet_no_trap() -> None:
    clean, report = schema.clean(raw(), "test")
    assert report.table.empty
    assert "no traps" in str(report)
    assert (len(clean), report.rows_in, report.rows_out) == (40, 40, 40)


@pytest.mark.parametrize("trap", schema.TRAPS, ids=lambda trap: trap.name)
def test_a_trap_is_found_alone_counted_and_named_with_its_action(trap: schema.Trap) -> None:
    clean, report = schema.clean(damaged(trap.name), "test")
    assert report.table["trap"].tolist() == [trap.name]
    assert report.table.loc[0, ["rows", "action"]].tolist() == [ROWS.get(trap.name, 2), trap.action]
    assert trap.why
    assert (report.rows_in, report.rows_out) == (40, len(clean)) == (40, 38 if trap.name == "empty text" else 40)


def test_rows_bunched_by_class_are_sorted_rows() -> None:
    frame = raw().drop(columns="created_at").assign(created_at=pd.Series(pd.NaT, range(40), "datetime64[ns, UTC]"))
    assert schema.clean(frame, "test")[1].table.empty
    bunched = frame.sort_values("label", ignore_index=True)
    assert schema.clean(bunched, "test")[1].table["trap"].tolist() == ["sorted rows"]


@pytest.mark.parametrize(
    ("trap", "texts"),
    [
        ("invisible end", ["nice song", "so true"]),
        ("HTML entities", ["rock & roll", "I'm here"]),
        ("HTML tags", ["one two", "look  here"]),
    ],
)
def test_text_is_repaired(trap: str, texts: list[str]) -> None:
    clean, _ = schema.clean(damaged(trap), "test")
    assert clean.set_index("row").loc[[8, 9], "text"].tolist() == texts


def test_what_looks_like_damage_and_is_none_stays() -> None:
    frame = raw()
    texts = ["I <3 this", "if a<b then c>d", "AT&T; fish &chips;", "<Forwarded from 123>", "x <table of contents> y"]
    texts += ["see http://x.example/?a=1&copy=2&reg=3&notify=1&lt=5"]
    frame.loc[range(6), "text"] = texts
    clean, report = schema.clean(frame, "test")
    assert clean.set_index("row").loc[range(6), "text"].tolist() == texts
    assert not {"HTML tags", "HTML entities"} & set(report.table["trap"])


def test_ids_are_opaque_unique_and_give_an_order_of_their_own() -> None:
    frame = damaged("repeated id").sort_values("label", ignore_index=True)
    clean, _ = schema.clean(frame, "test")
    assert clean["comment_id"].is_unique
    assert not clean["comment_id"].str.contains("z1").any()
    assert clean["comment_id"].is_monotonic_increasing
    assert not clean["label"].is_monotonic_increasing
    assert sorted(clean["row"]) == list(range(40))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f: f.assign(label=f["label"] + 1), r"label: isin\(\[0, 1\]\)"),
        (lambda f: f.assign(label=0), "both classes are there"),
        (lambda f: f.assign(label=f["label"].astype(str)), "label: dtype"),
        (lambda f: f.drop(columns="group"), "group"),
        (lambda f: f.assign(text=None), "text"),
        (lambda f: f.head(39), "40 rows"),
        (lambda f: f.assign(created_at=f["created_at"] + pd.Timedelta(days=400)), "created_at: in_range"),
        (lambda f: f.head(0), "holds no comments"),
    ],
)
def test_broken_comments_are_refused_with_the_rule(change, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        schema.clean(change(raw()), "test", rows=40, dates=("2026-01-01", "2026-12-31"))


def test_validate_names_missing_columns(comments) -> None:
    assert schema.validate(comments.frame).equals(comments.frame)
    assert tuple(schema.validate(comments.frame.assign(more=1)).columns) == schema.COLUMNS
    with pytest.raises(DataError, match="no column label"):
        schema.validate(comments.frame.drop(columns="label"))
    with pytest.raises(DataError, match="comment_id"):
        schema.validate(pd.concat([comments.frame, comments.frame.head(1)]))


def test_the_duplicate_key_ignores_what_a_reader_does_not_see() -> None:
    texts = pd.Series(["Check &amp; WIN!!", "check win", "ＣＨＥＣＫ <b>win</b>\ufeff", "check wins", "!!!", "???"])
    keys = text.duplicate_key(texts)
    assert keys[:3].nunique() == 1
    assert keys[3:].nunique() == 3
