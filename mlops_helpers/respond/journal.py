"""The record of a drill, from which score, timeline and postmortem come: one JSON object a line, in a file."""

import json
import threading
import time
from pathlib import Path
from typing import Any

from mlops_helpers.errors import DrillError

__all__ = ["KINDS", "Journal", "read"]

KINDS = (
    "opened",
    "steady_state",
    "injected",
    "guarded",
    "visible",
    "breached",
    "alert",
    "acknowledged",
    "observed",
    "diagnosed",
    "acted",
    "hint",
    "update",
    "mitigated",
    "resolved",
    "reverted",
    "closed",
)


class Journal:
    """Notes what happens, from any thread; each note is in the file before :meth:`note` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[dict[str, Any]] = []
        self._one_at_a_time = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")

    def note(self, kind: str, /, *, at: float | None = None, **facts: Any) -> dict[str, Any]:
        """Add a record of one of ``KINDS``; ``at`` (epoch seconds) dates it back. Returns the record."""
        assert kind in KINDS, kind
        record = {"at": time.time() if at is None else at, "kind": kind, **facts}
        with self._one_at_a_time, self.path.open("a", encoding="utf-8") as file:
            self.records.append(record)
            file.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")
        return record

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the records of a kind, in the order in which they were noted."""
        return [record for record in list(self.records) if record["kind"] == kind]


def read(path: Path) -> list[dict[str, Any]]:
    """Return the records of a journal in order of ``at``; a last line that was cut off is left out.

    Raises ``DrillError`` when there is no journal.
    """
    try:
        lines = path.read_text("utf-8").splitlines(keepends=True)
        records = [json.loads(line) for line in lines if line.endswith("\n")]
        return sorted(records, key=lambda record: float(record["at"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DrillError(f"{path} is no journal: {error!r}. Next: opslab drill run SCENARIO --folder FOLDER") from error
