"""Changes of the blog's database, forward and back: ``NAME.sql`` and ``NAME.undo.sql``, each as one transaction.

Which were made is in the database itself, in a table of its own that the blog does not know.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from mlops_helpers.errors import ServiceError
from mlops_helpers.serve.groupcommit import connect

__all__ = ["apply", "names", "undo"]

_TABLE = "CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied_at TEXT NOT NULL) STRICT"


def names(folder: Path) -> list[str]:
    """Return the names of the migrations in a folder, in their order."""
    return sorted(path.stem for path in folder.glob("*.sql") if not path.name.endswith(".undo.sql"))


def apply(folder: Path, database: Path) -> list[str]:
    """Make those migrations of a folder that the database does not have yet; return their names.

    Each is there whole or not at all, also when this is killed, and while the blog uses the database. Raises
    ``ServiceError`` when one fails; those before it stay.
    """
    with closing(connect(database)) as db:
        db.execute(_TABLE)
        made = {row["name"] for row in db.execute("SELECT name FROM migrations")}
        missing = [name for name in names(folder) if name not in made]
        for name in missing:
            note = "INSERT INTO migrations VALUES (?, datetime('now'))"
            _run(db, folder / f"{name}.sql", name, note)
    return missing


def undo(folder: Path, database: Path, which: Sequence[str]) -> None:
    """Take migrations back, the last first. Raises ``ServiceError`` when one cannot be."""
    with closing(connect(database)) as db:
        for name in reversed(which):
            file = folder / f"{name}.undo.sql"
            if not file.is_file():
                raise ServiceError(f"migration {name} cannot be taken back: there is no {file.name}")
            _run(db, file, name, "DELETE FROM migrations WHERE name = ?")


def _run(db: sqlite3.Connection, file: Path, name: str, note: str) -> None:
    """Run a script and note it, in one transaction."""
    try:
        db.executescript(f"BEGIN IMMEDIATE;\n{file.read_text('utf-8')}")
        db.execute(note, (name,))
        db.execute("COMMIT")
    except sqlite3.Error as error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise ServiceError(f"{file.name} fails: {error}. Next: correct it; the database is as before") from error
