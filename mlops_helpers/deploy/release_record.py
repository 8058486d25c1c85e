"""The record of releases: what was tried, which gate said what, what was deployed and what became of it.

A file with one line of JSON an entry, only ever appended to. Each entry names the hash of the one before, so that
changing, removing or exchanging one shows; ``head.json`` names the last, so that cutting the end off shows, too. Who
can write to the folder can still write a new history: who must be sure keeps :attr:`ReleaseRecord.head` elsewhere.
"""

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_helpers.errors import PipelineError
from mlops_helpers.workspace import atomic_file, one_at_a_time, writable_folder

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ReleaseRecord"]

_FILE, _HEAD = "releases.jsonl", "head.json"
_START = "0" * 64


class ReleaseRecord:
    """The record in a folder, made if missing; several processes may append to it.

    An entry has ``number``, ``at`` (ISO 8601, UTC), ``release``, ``event``, ``previous``, ``sha256`` and facts of its
    own. The events of the pipeline are ``started``, ``stage``, ``blocked``, ``ready`` and ``deployed``; people and
    rollouts add theirs, of which ``failed`` (it made somebody step in) and ``recovered`` count for :meth:`frame`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = writable_folder(Path(folder), "another folder")
        self.path = self.folder / _FILE
        self._seen, self._entries = b"", list[dict[str, Any]]()  # what was read and found whole

    def append(self, event: str, release: str, **facts: Any) -> dict[str, Any]:
        """Write an entry to the disk and return it.

        Raises ``PipelineError`` when the record is not whole, or the facts cannot be written as JSON.
        """
        with one_at_a_time(self.folder / "record.lock"):
            entries = self._read()
            last = entries[-1] if entries else None
            body = {
                "number": len(entries) + 1,
                "at": datetime.now(UTC).isoformat(timespec="microseconds"),
                "release": release,
                "event": event,
                **facts,
                "previous": last["sha256"] if last else _START,
            }
            try:
                line, entry = _line(body)
            except (TypeError, ValueError) as error:
                raise PipelineError(
                    f"{event} of {release} cannot be recorded: {error}; accepted: plain data"
                ) from error
            with self.path.open("ab") as file:
                file.truncate(len(self._seen))  # what a killed writer has left of a line
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            self._set_head(entry)
            return entry

    def entries(self, release: str = "") -> list[dict[str, Any]]:
        """Return all entries in order, or those of a release.

        Raises ``PipelineError`` when one was changed or removed, or there is none of that release.
        """
        with one_at_a_time(self.folder / "record.lock"):
            found = self._read()
        if not release:
            return found
        mine = [entry for entry in found if entry["release"] == release]
        if not mine:
            names = ", ".join(dict.fromkeys(entry["release"] for entry in found)) or "none yet"
            raise PipelineError(f"{self.path} has no release {release!r}; there are: {names}")
        return mine

    @property
    def head(self) -> str:
        """The hash of the last entry, which stands for all of them."""
        found = self.entries()
        return str(found[-1]["sha256"]) if found else _START

    def frame(self) -> "pd.DataFrame":
        """Return a row a deployed release, with the columns that ``observe.delivery_metrics`` needs."""
        import pandas as pd

        from mlops_helpers.observe.delivery_metrics import COLUMNS

        rows: dict[str, dict[str, Any]] = {}
        for entry in self.entries():
            name, event = entry["release"], entry["event"]
            if event == "deployed":
                rows[name] = {
                    "committed_at": entry["committed_at"],
                    "deployed_at": entry["at"],
                    "failed": False,
                    "recovered_at": None,
                    "rework": entry["rework"],
                }
            elif name in rows and event == "failed":
                rows[name] |= {"failed": True, "recovered_at": None}
            elif name in rows and event == "recovered":
                rows[name]["recovered_at"] = entry["at"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=list(COLUMNS)).rename_axis("release")

    def _read(self) -> list[dict[str, Any]]:
        raw = self.path.read_bytes() if self.path.exists() else b""
        raw = raw[: raw.rfind(b"\n") + 1]  # a line without an end was never acknowledged
        entries = self._entries.copy() if raw.startswith(self._seen) else []
        previous = entries[-1]["sha256"] if entries else _START
        for number, line in enumerate(raw.splitlines()[len(entries) :], len(entries) + 1):
            try:
                entry = json.loads(line)
                body = {key: value for key, value in entry.items() if key != "sha256"}
                genuine = (entry["number"], entry["previous"]) == (number, previous) and _line(body)[1] == entry
            except (ValueError, KeyError, TypeError, AttributeError):
                genuine = False
            if not genuine:
                raise PipelineError(
                    f"entry {number} of {self.path} is not the one that was written: the record was changed. "
                    "Next: restore it from a backup; nothing is released on such a record"
                )
            previous = entry["sha256"]
            entries.append(entry)
        self._compare_with_head(entries)
        self._seen, self._entries = raw, entries
        return entries.copy()

    def _compare_with_head(self, entries: list[dict[str, Any]]) -> None:
        try:
            head = json.loads((self.folder / _HEAD).read_text("utf-8"))
        except FileNotFoundError:
            head = {"number": 0, "sha256": _START} if len(entries) < 2 else {}
        except ValueError:
            head = {}
        hashes = [_START, *(entry["sha256"] for entry in entries)]
        number = head.get("number")
        # A writer that was killed between the two files leaves a head that is behind, never one that is ahead.
        if not isinstance(number, int) or not 0 <= number < len(hashes) or hashes[number] != head.get("sha256"):
            raise PipelineError(
                f"{self.path} has {len(entries)} entries, {_HEAD} names number {number}: the record was cut or "
                "exchanged. Next: restore both from a backup; nothing is released on such a record"
            )

    def _set_head(self, entry: dict[str, Any]) -> None:
        with atomic_file(self.folder / _HEAD) as path:
            path.write_text(json.dumps({"number": entry["number"], "sha256": entry["sha256"]}) + "\n", "utf-8")


def _line(body: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """Return an entry as it is written, and as it is read again."""
    text = json.dumps(body, sort_keys=True, ensure_ascii=False, allow_nan=False)
    entry = json.loads(text) | {"sha256": hashlib.sha256(text.encode()).hexdigest()}
    return json.dumps(entry, ensure_ascii=False, allow_nan=False).encode() + b"\n", entry
