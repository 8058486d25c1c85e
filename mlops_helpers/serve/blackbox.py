"""The black-box record of a run: one line of JSON for each arrival, written while the run goes on."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from mlops_helpers.errors import ServiceError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LATE_SECONDS", "OUTCOMES", "Record", "Recorder", "may_be_replaced", "read_lines", "read_record"]

OUTCOMES = {
    "ok": "an answer with status 2xx or 3xx",
    "shed": "503 or 429: the service said that it is too much",
    "error": "another 5xx",
    "unwanted": "another 4xx: traffic sends nothing that a service may refuse",
    "refused": "no connection was accepted",
    "reset": "the connection broke before the answer was complete",
    "timeout": "no complete answer within the timeout",
    "malformed": "an answer that cannot be understood",
    "no_connection": "not sent: so many requests were unanswered that no connection was left",
    "stopped": "the run was stopped before the answer came, or (closed loop) before it could be sent",
}
"""What may become of an arrival, and when it is said to have."""

LATE_SECONDS = 0.01
"""A run whose generator noticed more than 1 % of the arrivals later than this tells about the generator's machine."""

_LONGEST_HEADER = 65_536  # bytes


@dataclass(slots=True)
class Record:
    """What became of one arrival. Times are seconds since the start of the run; NaN or null: did not happen.

    ``late`` is the generator's own lateness: how long after ``intended`` it noticed that the arrival was due.
    ``latency`` is counted from ``intended``, ``service_time`` from ``sent``, both until ``done``. ``status`` is 0
    without an answer. A moderator's decision is recorded like an arrival, with kind ``decide``.
    """

    intended: float
    kind: str
    reader: str
    late: float = 0.0
    sent: float | None = None
    done: float | None = None
    latency: float | None = None
    service_time: float | None = None
    status: int = 0
    outcome: str = "stopped"
    attempts: int = 0
    comment_id: str = ""
    state: str = ""
    version: str = ""
    label: int | None = None
    campaign: str = ""


class Recorder:
    """Collects records and writes them in batches, so that a reader of the file sees whole lines, soon."""

    def __init__(self, file: BinaryIO, header: dict[str, Any]) -> None:
        self._file = file
        self._batch = [orjson.dumps(header) + b"\n"]
        self.flush()

    def add(self, record: Record) -> None:
        """Complete the derived fields and keep the record for the next batch."""
        if record.done is not None:
            record.latency = record.done - record.intended
            record.service_time = None if record.sent is None else record.done - record.sent
        self._batch.append(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))

    def flush(self) -> None:
        """Write what was collected; raises ``OSError`` when the disk does not take it."""
        batch, self._batch = self._batch, []
        self._file.write(b"".join(batch))
        self._file.flush()


def may_be_replaced(path: Path) -> bool:
    """Say whether a new record harms nobody at ``path``: nothing is there, or nothing but the record of a run."""
    if not path.is_file():
        return not (path.exists() or path.is_symlink())
    with path.open("rb") as file:
        first = file.readline(_LONGEST_HEADER)
    try:
        return not first or {"planned", "started_at"} <= set(orjson.loads(first))
    except (orjson.JSONDecodeError, TypeError):
        return False


def read_lines(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Return the whole lines from ``offset`` on, and the offset after them; the rest of a line is left for later."""
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
    end = data.rfind(b"\n") + 1
    return [orjson.loads(line) for line in data[:end].splitlines()], offset + end


def read_record(path: Path) -> "pd.DataFrame":
    """Return a run's records in order of ``intended``, with the columns of :class:`Record`, typed.

    While the run goes on, arrivals that still wait for their answer are missing: only what was intended longer ago
    than the timeout is complete. The frame's ``attrs`` hold ``started_at`` (a UTC timestamp), ``planned`` (the number
    of arrivals) and the run's settings.

    Raises ``ServiceError`` when there is no such record.
    """
    import pandas as pd

    try:
        (header, *records), _ = read_lines(path)
    except (OSError, ValueError) as error:
        raise ServiceError(f"no record of a run in {path}: {error}. Next: start the traffic that writes it") from error
    texts = ("kind", "reader", "outcome", "comment_id", "state", "version", "campaign")
    types = dict.fromkeys(("intended", "late", "sent", "done", "latency", "service_time"), "float64")
    types |= {"status": "int64", "attempts": "int64", "label": "Int8"} | dict.fromkeys(texts, "str")
    frame = pd.DataFrame.from_records(records, columns=list(Record.__dataclass_fields__)).astype(types)
    frame = frame.sort_values("intended", kind="stable", ignore_index=True)
    frame.attrs = header | {"started_at": datetime.fromisoformat(header["started_at"])}
    return frame
