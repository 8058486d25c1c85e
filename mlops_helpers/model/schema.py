"""What comments must look like, which traps raw corpora set, and what is done about each.

A *trap* is a property of raw data that misleads a model without any error: a column that leaks the label, text
damaged on export, an order that is not random. The raw schema finds them all in one pass; :func:`clean` acts on
each and reports; the clean schema is the contract of everything downstream.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Literal

import pandas as pd

from mlops_helpers.errors import DataError
from mlops_helpers.model.text import ENTITY, INVISIBLE, MARKUP, duplicate_key, repair

if TYPE_CHECKING:  # pandera is heavy: imported where it is used
    from pandera.pandas import DataFrameSchema

__all__ = ["COLUMNS", "TRAPS", "QualityReport", "Trap", "clean", "validate"]

COLUMNS = ("comment_id", "text", "label", "created_at", "group", "row")
"""Columns of clean comments: opaque id (str), text (str), label (1 spam, 0 ham), creation time (UTC or missing),
group (the video, topic or collection it belongs to, str), row (position in the source, 0-based int)."""


def _ordered(frame: pd.DataFrame) -> pd.Series:
    """Mark groups that are sorted by date, or bunched by class (Wald-Wolfowitz runs test, z < -4)."""

    def is_ordered(part: pd.DataFrame) -> bool:
        dates = part["created_at"].dropna()
        if len(dates) > 10 and (dates.is_monotonic_increasing or dates.is_monotonic_decreasing):
            return True
        n, spam = len(part), int(part["label"].sum())
        if n <= 10 or spam in (0, n):
            return False
        expected = 1 + 2 * spam * (n - spam) / n  # of the number of runs of one class, in random order
        variance = (expected - 1) * (expected - 2) / (n - 1)
        runs = 1 + int(part["label"].diff().iloc[1:].ne(0).sum())
        return variance > 0 and (runs - expected) / variance**0.5 < -4

    guilty = {group for group, part in frame.groupby("group", sort=False) if is_ordered(part)}
    return frame["group"].isin(guilty)


@dataclass(frozen=True)
class Trap:
    """One way in which raw comments mislead, and what :func:`clean` does about it.

    ``hits`` maps a raw frame to a boolean series: True where the row is hit.
    """

    name: str
    action: Literal["repaired", "dropped", "kept apart", "refused as a feature"]
    why: str
    hits: Callable[[pd.DataFrame], pd.Series]


TRAPS = (
    Trap("empty text", "dropped", "nothing to classify", lambda f: f["text"].map(repair).eq("")),
    Trap(
        "missing date",
        "refused as a feature",
        "whether a date is missing tells about the export, not about the comment",
        lambda f: f["created_at"].isna() & f["created_at"].notna().any(),
    ),
    Trap(
        "id of another kind",
        "refused as a feature",
        "ids follow the exporting tool, and so the class; opaque ids replace them",
        lambda f: ~f["raw_id"].str.startswith("z1") & f["raw_id"].str.startswith("z1").any(),
    ),
    Trap("repeated id", "repaired", "labels are joined by id", lambda f: f["raw_id"].duplicated()),
    Trap(
        "invisible end",
        "repaired",
        "a byte order mark that no reader sees is a term to a model",
        lambda f: f["text"].str.endswith(tuple(INVISIBLE)),
    ),
    Trap(
        "HTML entities",
        "repaired",
        "text is escaped when it is shown, not when it is stored",
        lambda f: f["text"].str.contains(ENTITY),
    ),
    Trap(
        "HTML tags",
        "repaired",
        "tags come from the page, not from the writer",
        lambda f: f["text"].str.contains(MARKUP),
    ),
    Trap(
        "duplicate text",
        "kept apart",
        "a comment whose copy is in train is no test",
        lambda f: duplicate_key(f["text"]).duplicated(),
    ),
    Trap(
        "sorted rows",
        "repaired",
        "the first rows are another population than the last; the opaque id gives the order",
        _ordered,
    ),
)


@dataclass(frozen=True)
class QualityReport:
    """What :func:`clean` found and did.

    ``table``: one row a trap met, with ``trap, rows, spam_inside, spam_outside, action, why``; the two shares (0 to 1,
    missing where there is no such row) are the spam rates of the rows hit and of the others: far apart means leak.
    """

    table: pd.DataFrame
    rows_in: int
    rows_out: int

    def __str__(self) -> str:
        table = self.table.drop(columns="why")
        text = table.to_string(index=False, float_format="{:.0%}".format, na_rep="-") if len(table) else "no traps"
        return f"{self.rows_in:,} comments in, {self.rows_out:,} out\n{text}"


def _schema(rows: int | None, dates: tuple[str, str] | None, *, raw: bool) -> "DataFrameSchema":
    import pandera.pandas as pa

    def no_hit(trap: Trap) -> Callable[[pd.DataFrame], pd.Series]:
        return lambda frame: ~trap.hits(frame).astype(bool)

    span = [pa.Check.in_range(*(pd.Timestamp(day, tz="UTC") for day in dates))] if dates else []
    columns = {
        "text": pa.Column(str),
        "label": pa.Column(int, pa.Check.isin([0, 1])),
        "created_at": pa.Column(pd.DatetimeTZDtype("ns", "UTC"), span, nullable=True),
        "group": pa.Column(str),
    }
    whole = [pa.Check(lambda f: f["label"].nunique() == 2, name="both classes are there")]
    if rows is not None:
        whole.append(pa.Check(lambda f: len(f) == rows, name=f"{rows:,} rows"))
    if raw:
        traps = [pa.Check(no_hit(trap), name=f"trap: {trap.name}") for trap in TRAPS]
        return pa.DataFrameSchema({"raw_id": pa.Column(str), **columns}, checks=[*whole, *traps])
    more = {
        "comment_id": pa.Column(str, unique=True),
        "text": pa.Column(str, pa.Check.str_length(min_value=1)),
        "row": pa.Column(int, pa.Check.ge(0)),
    }
    return pa.DataFrameSchema(columns | more, checks=whole, strict="filter")


def _failures(frame: pd.DataFrame, schema: "DataFrameSchema") -> pd.DataFrame:
    """Return pandera's failure cases (one a row and check), empty when the frame keeps the schema."""
    from pandera.errors import SchemaErrors

    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as error:
        return error.failure_cases
    return pd.DataFrame({"check": [], "index": [], "column": [], "failure_case": []})


def _refuse(failures: pd.DataFrame, source: str) -> None:
    if failures.empty:
        return
    named = failures.assign(column=failures["column"].where(failures["column"].notna(), "comments"))
    lines = [
        f"  {column}: {check}: {len(part)} case(s), first {part['failure_case'].iloc[0]!r}"
        + (f" in row {part['index'].iloc[0]}" if pd.notna(part["index"].iloc[0]) else "")
        for (column, check), part in named.groupby(["column", "check"], sort=False)
    ]
    raise DataError(
        f"the comments of {source} break the schema:\n"
        + "\n".join(lines)
        + "\nAccepted: text (not empty), label (1 spam, 0 ham; both occur), created_at (UTC or missing), group."
        "\nNext: repair the source; nothing was stored."
    )


def validate(frame: pd.DataFrame, source: str = "the frame") -> pd.DataFrame:
    """Return the frame reduced to :data:`COLUMNS` after checking it against the clean schema.

    Raises ``DataError`` naming each broken rule, its number of cases and the first one.
    """
    missing = sorted(set(COLUMNS) - set(frame.columns))
    if missing or frame.empty:
        found = f"no column {', '.join(missing)}" if missing else "no rows"
        raise DataError(f"the comments of {source} have {found}; clean comments have the columns {', '.join(COLUMNS)}")
    _refuse(_failures(frame, _schema(None, None, raw=False)), source)
    return frame[list(COLUMNS)]


def clean(
    raw: pd.DataFrame,
    source: str,
    *,
    namespace: str | None = None,
    rows: int | None = None,
    dates: tuple[str, str] | None = None,
    dropped: Mapping[str, tuple[int, str]] | None = None,
) -> tuple[pd.DataFrame, QualityReport]:
    """Find the traps in raw comments, act on each, and return clean comments with a report.

    ``raw`` has the columns ``raw_id, text, label, created_at, group``. ``source`` names it in errors, ``namespace`` (by
    default the same) keeps its ids apart from those of others. ``rows`` and ``dates`` (first and last day allowed) are
    what is known of the source. ``dropped`` names what the reader left out already: thing -> (rows, why). Clean
    comments come in the order of their opaque ids, which is random with respect to date and class.

    Raises ``DataError`` when the source is refused: wrong columns, labels, dates, number of rows, or no rows.
    """
    if raw.empty:
        raise DataError(f"{source} holds no comments; at least one spam and one ham comment are needed")
    failures = _failures(raw, _schema(rows, dates, raw=True))
    is_trap = failures["check"].astype(str).str.startswith("trap: ")
    _refuse(failures[~is_trap], source)

    found = [{"trap": thing, "rows": n, "action": "dropped", "why": why} for thing, (n, why) in (dropped or {}).items()]
    for trap in TRAPS:
        hit = raw.index.isin(failures.loc[failures["check"] == f"trap: {trap.name}", "index"])
        if hit.any():
            found.append(
                {
                    "trap": trap.name,
                    "rows": int(hit.sum()),
                    "spam_inside": raw["label"][hit].mean(),
                    "spam_outside": raw["label"][~hit].mean() if not hit.all() else None,
                    "action": trap.action,
                    "why": trap.why,
                }
            )
    table = pd.DataFrame(found, columns=["trap", "rows", "spam_inside", "spam_outside", "action", "why"])

    occurrence = raw.groupby("raw_id").cumcount()
    space = source if namespace is None else namespace
    names = raw["raw_id"] + "\x1f" + occurrence.astype(str)
    ids = names.map(lambda name: blake2b(f"{space}\x1f{name}".encode(), digest_size=10).hexdigest())
    repaired = raw.assign(comment_id=ids, text=raw["text"].map(repair), row=range(len(raw)))
    kept = repaired[repaired["text"].ne("")].sort_values("comment_id").reset_index(drop=True)
    result = validate(kept, source)
    return result, QualityReport(table=table, rows_in=len(raw), rows_out=len(result))
