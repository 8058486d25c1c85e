"""What a blog has stored, as tables; also while it runs, which it does not notice."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_helpers.errors import DataError
from mlops_helpers.serve.groupcommit import connect
from mlops_helpers.serve.store import DATABASE

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["comments", "labels"]


def comments(folder: Path) -> "pd.DataFrame":
    """Return all comments in the order they arrived.

    Columns: ``comment_id``, ``post``, ``author``, ``text``, ``created_at`` (UTC), ``state``, ``reason``, and what the
    filter said: ``outcome`` (``ham``, ``spam``, ``refused``; NA for none yet), ``score``, ``version``,
    ``classified_at`` (UTC).

    Raises ``DataError`` when there is no blog's database in the folder.
    """
    return _table(
        folder,
        """SELECT id AS comment_id, post, author, text, created_at, state, reason, outcome, score, version,
        classified_at FROM comments ORDER BY number""",
    )


def labels(folder: Path) -> "pd.DataFrame":
    """Return the moderators' decisions, of several on one comment the last, in the order they were made.

    Columns: ``comment_id``, ``label`` (Int64; 1 is spam), ``decided_at`` (UTC).

    Raises ``DataError`` when there is no blog's database in the folder.
    """
    return _table(
        folder,
        """SELECT comment_id, label, decided_at FROM decisions
        WHERE number IN (SELECT max(number) FROM decisions GROUP BY comment_id) ORDER BY number""",
    ).astype({"label": "Int64"})


def _table(folder: Path, query: str) -> "pd.DataFrame":
    import pandas as pd

    path = Path(folder) / DATABASE
    try:
        with closing(connect(path, read_only=True)) as connection:
            cursor = connection.execute(query)
            rows = cursor.fetchall()
    except sqlite3.Error as error:
        raise DataError(f"{path} cannot be read: {error}. Next: name the folder of `opslab blog`") from error
    frame = pd.DataFrame([tuple(row) for row in rows], columns=[column[0] for column in cursor.description])
    for name in frame.columns:
        if name.endswith("_at"):
            frame[name] = pd.to_datetime(frame[name].astype("float64"), unit="s", utc=True)
        elif name not in ("label", "score"):
            frame[name] = frame[name].astype("string")
    return frame
