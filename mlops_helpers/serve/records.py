"""Reading an event log: its records, as a table, and joined with the labels that moderators give later.

A log may be read while it is written. A prediction's record has ``ts`` (seconds since the epoch), ``request_id``,
``comment_id``, ``version``, ``artifact``, ``score``, ``spam``, ``chars`` and ``shadow``; any other JSON object is as
good.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from mlops_helpers.errors import EventLogError
from mlops_helpers.serve.segments import segments, unframe

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read", "records", "unique"]

# the columns of a table that has no rows to tell them
_PREDICTION = {
    "ts": "datetime64[us, UTC]",
    "request_id": "str",
    "comment_id": "str",
    "version": "str",
    "artifact": "str",
    "score": "float64",
    "spam": "bool",
    "chars": "int64",
    "shadow": "bool",
}


def records(folder: Path) -> Iterator[dict[str, Any]]:
    """Give the whole records of a log in the order in which they were appended.

    What follows the last whole record is ignored: it is being written, or a crash tore it.

    Raises ``EventLogError`` when there is no log, a segment is missing, or one is damaged before its last whole record.
    """
    folder = Path(folder)
    paths = segments(folder)
    if not paths:
        raise EventLogError(f"no event log in {folder}; accepted: the folder that a service writes its log to")
    for before, after in pairwise(paths):
        if int(after.stem) != int(before.stem) + 1:
            raise EventLogError(f"{folder} has {after.name} after {before.name}. Next: restore the segments between")
    for path in paths:
        yield from _records_of(path, last=path == paths[-1])


def _records_of(path: Path, *, last: bool) -> Iterator[dict[str, Any]]:
    damage, at = None, 0
    try:
        file = path.open("rb")
    except FileNotFoundError:  # the writer removed its oldest segment meanwhile
        return
    with file:
        for number, line in enumerate(file, 1):
            record = unframe(line)
            if record is None:
                damage = damage or EventLogError(
                    f"{path} is damaged at byte {at} (line {number}). Next: restore it from a copy, or take the line "
                    f"out and keep the file: sed -i.damaged {number}d {path}"
                )
                if last and not line.endswith(b"\n"):  # the end, though the file may have grown since
                    return
            if damage and (record is not None or not last):
                raise damage
            if record is not None:
                try:
                    yield orjson.loads(record)
                except orjson.JSONDecodeError as error:
                    raise EventLogError(f"{path} holds no JSON at byte {at} (line {number}): {error}") from error
            at += len(line)


def read(folders: Path | Iterable[Path]) -> "pd.DataFrame":
    """Return a log, or the logs of several replicas, as one table: a row a record, a column a field, in time's order.

    ``ts`` is in UTC. A field that some records lack is missing there (``<NA>``). A log without records has the columns
    of a prediction.

    Raises ``EventLogError`` as :func:`records` does.
    """
    import pandas as pd
    from pandas.api.types import is_object_dtype

    paths = [folders] if isinstance(folders, str | Path) else list(folders)
    frame = pd.DataFrame([record for path in paths for record in records(path)])
    if frame.empty:
        return pd.DataFrame(columns=list(_PREDICTION)).astype(_PREDICTION)
    for name in filter(lambda name: is_object_dtype(frame[name]), frame.columns):
        frame[name] = frame[name].convert_dtypes()  # true, false and missing
    if "ts" in frame:
        frame["ts"] = _utc(frame["ts"])
        frame = frame.sort_values("ts", kind="stable", ignore_index=True)
    return frame


def unique(predictions: "pd.DataFrame") -> "pd.DataFrame":
    """Return the first prediction of every comment: a delivery that was tried again is recorded again.

    A shadow's predictions are of the same comments; select one kind first: ``unique(table[~table["shadow"]])``.
    """
    return predictions.drop_duplicates("comment_id", ignore_index=True)


def _utc(times: "pd.Series") -> "pd.Series":
    """Return times in UTC, to the microsecond; numbers are seconds since the epoch."""
    import pandas as pd
    from pandas.api.types import is_numeric_dtype

    return pd.to_datetime(times, utc=True, unit="s" if is_numeric_dtype(times) else None).dt.as_unit("us")
