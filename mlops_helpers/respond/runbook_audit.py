"""The audit record of runbooks: who did what when, a JSON object a line, on disk before the next step."""

import json
import os
import time
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mlops_helpers.errors import WorkspaceError
from mlops_helpers.workspace import writable_folder

__all__ = ["FILE", "Audit", "read"]

FILE = "audit.jsonl"


class Audit:
    """The records of one run, appended to the file in ``folder`` that all runbooks share.

    ``about`` goes into each record. Raises ``WorkspaceError`` when the folder cannot be written: what cannot be
    recorded is not done.
    """

    def __init__(self, folder: Path, **about: Any) -> None:
        self.path = writable_folder(folder, "name another folder: -p audit FOLDER") / FILE
        self._about = {"run": uuid.uuid4().hex[:12], **about}

    def note(self, kind: str, **facts: Any) -> None:
        """Write one record: ``at`` (seconds since the epoch), ``kind``, what the run is about, the facts."""
        record = {"at": time.time(), "kind": kind, **self._about, **facts}
        line = json.dumps(record, ensure_ascii=False, default=str).encode() + b"\n"
        try:
            # one write of the whole line: two runs at a time do not mix theirs
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(file, line)
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            raise WorkspaceError(
                f"no audit record in {self.path}: {error.strerror or error}. Next: -p audit FOLDER, then again"
            ) from error

    def last(self, kinds: Collection[str], **facts: Any) -> dict[str, Any] | None:
        """Return the last record of these kinds with these facts, of any run of this runbook on this service."""
        wanted = {"runbook": self._about["runbook"], "service": self._about["service"], "dry_run": False, **facts}
        found = [
            record
            for record in read(self.path)
            if record["kind"] in kinds and all(record.get(key) == value for key, value in wanted.items())
        ]
        return found[-1] if found else None


def read(path: Path) -> list[dict[str, Any]]:
    """Return the records of an audit file in the order of writing; a line that a crash cut off is left out."""
    records = []
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and {"at", "kind"} <= record.keys():
            records.append(record)
    return records
