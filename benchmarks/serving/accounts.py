"""The accounts after a disaster: what clients were promised, in their own records, against what is on disk.

Nothing is judged by what a service says of itself. A comment is known by its author, whom the plan gives to no other,
so that neither the blog's ids nor its idempotency keys are needed to see one that was lost or stored twice.
"""

import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pandas as pd

from mlops_helpers.errors import EventLogError
from mlops_helpers.serve.plan import Arrival
from mlops_helpers.serve.records import records

__all__ = [
    "Verdict",
    "accepted",
    "judged_twice",
    "misjudged",
    "named",
    "recorded_in",
    "told_apart",
    "until",
    "witness_verdicts",
]

Verdict = tuple[str, bool, float]  # version, spam, score


def told_apart(arrivals: Sequence[Arrival]) -> list[Arrival]:
    """Give each comment of a plan an author of its own: its key."""
    return [
        one if one.comment is None else replace(one, comment=replace(one.comment, author=one.key)) for one in arrivals
    ]


def accepted(frame: pd.DataFrame, arrivals: Sequence[Arrival]) -> set[tuple[str, str]]:
    """Return author and id of each comment in the frame of a blog's black-box record that was acknowledged."""
    authors = {arrival.at: arrival.key for arrival in arrivals if arrival.comment is not None}
    ok = frame[frame["kind"].eq("comment") & frame["outcome"].eq("ok")]
    return set(zip(ok["intended"].map(authors), ok["comment_id"], strict=True))


def witness_verdicts(database: Path) -> None:
    """Have a blog's database note each verdict that is recorded: a second one would leave no trace by itself."""
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(
            """CREATE TABLE witnessed (comment_id TEXT NOT NULL);
            CREATE TRIGGER witness AFTER UPDATE OF outcome ON comments
            BEGIN INSERT INTO witnessed VALUES (new.id); END;"""
        )


def judged_twice(database: Path) -> list[str]:
    """Return the ids of comments that more than one verdict was recorded for, by what was witnessed."""
    with closing(sqlite3.connect(database)) as connection:
        query = "SELECT comment_id FROM witnessed GROUP BY comment_id HAVING count(*) > 1"
        return [row[0] for row in connection.execute(query)]


def recorded_in(logs: Sequence[Path]) -> tuple[dict[str, list[Verdict]], list[str]]:
    """Return all verdicts in prediction logs by comment, and what is wrong with a log that is damaged."""
    found: dict[str, list[Verdict]] = defaultdict(list)
    damaged = []
    for log in logs:
        try:
            for record in records(log):
                found[record["comment_id"]].append((record["version"], record["spam"], record["score"]))
        except EventLogError as error:
            damaged.append(str(error))
    return found, damaged


def misjudged(stored: pd.DataFrame, recorded: Mapping[str, Sequence[Verdict]]) -> list[str]:
    """Return the ids of the blog's comments whose verdict no filter has on record."""
    judged = stored[stored["score"].notna()]
    applied = zip(judged["version"], judged["outcome"].eq("spam"), judged["score"], strict=True)
    both = zip(judged["comment_id"], applied, strict=True)
    return [comment_id for comment_id, verdict in both if verdict not in recorded.get(comment_id, ())]


def named(offenders: Iterable[object]) -> tuple[str, ...]:
    """Return offenders as a report holds them."""
    return tuple(sorted(map(str, offenders)))


def until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """Return when a condition is true. Raises ``TimeoutError`` that says what is not so after ``seconds``."""
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError(f"after {seconds:g} s it is not so that {what}")
        time.sleep(0.02)
