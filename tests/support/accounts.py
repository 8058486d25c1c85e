"""What clients were promised, by their own records, against what is on disk: nothing rests on what a service says.

A comment is known by its author, whom the plan gives to no other comment: neither the blog's ids nor its idempotency
keys are needed to see a comment that was lost or stored twice.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pandas as pd

from mlops_helpers.errors import EventLogError
from mlops_helpers.serve.plan import Arrival
from mlops_helpers.serve.records import records

UNLIMITED = 1_000_000  # comments a minute: all of the traffic comes from one address
Verdict = tuple[str, bool, float]  # version, spam, score


def with_own_authors(arrivals: Iterable[Arrival]) -> list[Arrival]:
    """Give each comment of a plan an author of its own: its key."""
    return [
        replace(arrival, comment=replace(arrival.comment, author=arrival.key)) if arrival.comment else arrival
        for arrival in arrivals
    ]


def acknowledged(frame: pd.DataFrame, arrivals: Sequence[Arrival]) -> set[tuple[str, str]]:
    """Return author and id of each comment in the frame of a blog's black-box record that was acknowledged."""
    authors = {arrival.at: arrival.key for arrival in arrivals if arrival.comment is not None}
    ok = frame[frame["kind"].eq("comment") & frame["outcome"].eq("ok")]
    return set(zip(ok["intended"].map(authors), ok["comment_id"], strict=True))


def missing(promised: set[tuple[str, str]], stored: pd.DataFrame) -> list[str]:
    """Return the authors of acknowledged comments that are not among the blog's comments."""
    return sorted(author for author, _ in promised - set(zip(stored["author"], stored["comment_id"], strict=True)))


def unclassified(stored: pd.DataFrame) -> list[str]:
    """Return the ids of the blog's comments without a filter's verdict."""
    return list(stored.loc[~stored["outcome"].isin(["ham", "spam"]), "comment_id"])


def note_verdicts(database: Path) -> None:
    """Have a blog's database note each verdict that is recorded: a second one would leave no trace by itself."""
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(
            """CREATE TABLE noted (comment_id TEXT NOT NULL);
            CREATE TRIGGER note AFTER UPDATE OF outcome ON comments
            BEGIN INSERT INTO noted VALUES (new.id); END;"""
        )


def judged_twice(database: Path) -> list[str]:
    """Return the ids of comments for which more than one verdict was noted."""
    with closing(sqlite3.connect(database)) as connection:
        query = "SELECT comment_id FROM noted GROUP BY comment_id HAVING count(*) > 1"
        return [row[0] for row in connection.execute(query)]


def verdicts_in(logs: Iterable[Path]) -> tuple[dict[str, list[Verdict]], list[str]]:
    """Return all verdicts in prediction logs by comment, and what is wrong with each log that is damaged."""
    verdicts: dict[str, list[Verdict]] = defaultdict(list)
    damaged = []
    for log in logs:
        try:
            for record in records(log):
                verdicts[record["comment_id"]].append((record["version"], record["spam"], record["score"]))
        except EventLogError as error:
            damaged.append(str(error))
    return verdicts, damaged


def misjudged(stored: pd.DataFrame, recorded: Mapping[str, Sequence[Verdict]]) -> list[str]:
    """Return the ids of the blog's comments whose verdict no filter has on record."""
    judged = stored[stored["score"].notna()]
    applied = zip(judged["version"], judged["outcome"].eq("spam"), judged["score"], strict=True)
    pairs = zip(judged["comment_id"], applied, strict=True)
    return [comment_id for comment_id, verdict in pairs if verdict not in recorded.get(comment_id, ())]
