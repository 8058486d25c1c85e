"""The logs of all processes as one table, and one request's way through them.

A line that is a JSON object is a record, also behind a CRC-32 in hex and a space; any other line is a message. Nothing
that is readable is left out, only the end of a file that is being written, which is counted.
"""

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from mlops_helpers.errors import EventLogError, ParameterError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_logs", "trace"]

_NAMES = {
    "time": ("ts", "time", "timestamp", "@timestamp"),
    "service": ("service",),
    "level": ("level", "severity", "levelname"),
    "message": ("message", "msg", "event"),
    "request_id": ("request_id", "x-request-id", "trace_id"),
}
"""What others call a column; the first that a record has is taken."""
_FILE = re.compile(r".*\.(log|jsonl)(\.\d+)?")
_FRAME = re.compile(rb"[0-9a-f]{8} (?={)")
_LINE_BYTES = 1_000_000  # what is longer is cut into messages of this length
_EARLIEST, _LATEST = 0.0, 7_258_118_400.0  # the year 2200: no log has later times, whatever it says

Paths = Path | Sequence[Path]


def read_logs(logs: Paths | Mapping[str, Paths]) -> "pd.DataFrame":
    """Read files of logs, or all of a folder (``*.log``, ``*.jsonl``, and what they were rotated to: ``*.log.1``).

    Columns: ``time`` (UTC), ``service``, ``level`` (lower case), ``message``, ``request_id``, and a column for each
    further field of the records; a value that a line does not have is missing. Rows are in the order of time. A line
    that has no time has that of the line before it in its file (a traceback belongs to the message above it), or none.
    ``service`` is the name given in a mapping of names to files or folders, else what the record says, else what the
    file is called. ``attrs["torn"]`` counts lines that were not whole yet.

    Raises ``EventLogError`` when there is no log or one cannot be read.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    torn = 0
    for name, path, called in _files(logs):
        before = None
        for line, whole in _lines(path):
            row = _record(line)
            if row is None and not whole and (line.startswith(b"{") or _FRAME.match(line)):
                torn += 1
                continue
            row = {"message": line.decode("utf-8", "replace").rstrip("\r\n")} if row is None else _columns(row)
            before = row["time"] = row.get("time", before)
            row["service"] = name or row.get("service") or called
            rows.append(row)
    columns = [*_NAMES, *dict.fromkeys(key for row in rows for key in row if key not in _NAMES)]
    frame = pd.DataFrame(rows, columns=columns, dtype=object)
    times = pd.to_datetime(frame.pop("time").astype("float64"), unit="s", utc=True)
    frame = frame.convert_dtypes()  # a status is a whole number, also where lines without one are
    frame = frame.astype(dict.fromkeys([*_NAMES][1:], "string"))
    frame.insert(0, "time", times)
    frame = frame.sort_values("time", kind="stable", na_position="first", ignore_index=True)
    frame.attrs["torn"] = torn
    return frame


def trace(logs: "pd.DataFrame", request_id: str) -> "pd.DataFrame":
    """Return the lines of one request in the order of time, with ``after``: seconds since the first of them.

    Columns that none of these lines fills are left out.

    Raises ``ParameterError`` when no line has this request id.
    """
    found = logs[(logs["request_id"] == request_id).fillna(False)]
    if found.empty:
        known = ", ".join(logs["request_id"].dropna().unique()[-3:]) or "none"
        raise ParameterError(f"no line has the request id {request_id!r}; the latest that there are: {known}")
    found = found.dropna(axis="columns", how="all").reset_index(drop=True)
    found.insert(1, "after", (found["time"] - found["time"].min()).dt.total_seconds())
    return found


def _files(logs: Paths | Mapping[str, Paths]) -> Iterator[tuple[str, Path, str]]:
    """Yield each file with the name that its caller gave it, and with what it is called."""
    named = logs if isinstance(logs, Mapping) else {"": logs}
    for name, paths in named.items():
        for path in [Path(paths)] if isinstance(paths, str | Path) else map(Path, paths):
            if path.is_dir():
                found = [one for one in path.rglob("*") if _FILE.fullmatch(one.name) and one.is_file()]
                if not found:
                    raise EventLogError(f"there is no log in {path}; accepted: files named *.log or *.jsonl")
                for one in sorted(found, key=_age):
                    yield name, one, _called(one.relative_to(path))
            else:
                yield name, path, _called(Path(path.name))


def _age(path: Path) -> tuple[str, int]:
    """Sort name.log.2 before name.log.1 before name.log."""
    number = path.suffix[1:]
    return (str(path.with_suffix("")), -int(number)) if number.isdigit() else (str(path), 0)


def _called(path: Path) -> str:
    """Return a file's path without suffixes, and without the name when that is only a number."""
    plain = path.with_name(re.sub(r"\.(log|jsonl)(\.\d+)?$", "", path.name))
    return str(plain.parent if plain.name.isdigit() and plain.parent.name else plain)


def _lines(path: Path) -> Iterator[tuple[bytes, bool]]:
    """Yield the lines that are not empty, and whether they are whole."""
    try:
        with path.open("rb") as file:
            while line := file.readline(_LINE_BYTES):
                if line.strip():
                    yield line, line.endswith(b"\n")
    except OSError as error:
        raise EventLogError(f"the log {path} cannot be read: {error}. Next: name a file or a folder of logs") from error


def _record(line: bytes) -> dict[str, Any] | None:
    """Return the object of a line, None when there is none, or its checksum is wrong."""
    if _FRAME.match(line):
        record = line[9:].rstrip(b"\r\n")
        if zlib.crc32(record) != int(line[:8], 16):
            return None
        line = record
    elif not line.lstrip().startswith(b"{"):
        return None
    for text in (line, line.decode("utf-8", "replace")):
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError:  # bad UTF-8, perhaps
            continue
        return found if isinstance(found, dict) else None
    return None


def _columns(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with the columns' names; what cannot be one keeps its own."""
    row = {}
    for column, names in _NAMES.items():
        for name in names:
            value = _value(column, record.get(name))
            if value is not None:
                row[column] = value
                del record[name]
                break
    clashing = {name: record.pop(name) for name in [*record] if name in _NAMES}
    return row | record | {f"{name}_": value for name, value in clashing.items()}


def _value(column: str, value: Any) -> Any:
    if column == "time":
        return _seconds(value)
    if not isinstance(value, str):
        return None
    return value.lower() if column == "level" else value


def _seconds(value: Any) -> float | None:
    """Return a time as seconds since the epoch; without a zone it is UTC."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
            value = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return None
    known = isinstance(value, int | float) and not isinstance(value, bool) and _EARLIEST <= value <= _LATEST
    return float(value) if known else None
