"""One form of the tables that metrics sources answer with: columns, their order and types, and the order of rows."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlops_helpers.observe.questions import Floats, Millis

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["By", "Key", "Rows", "answers", "samples", "targets", "utc"]

By = tuple[str, ...] | None
Key = tuple[tuple[str, str], ...]
"""The labels of a series or a group, sorted, those with an empty value left out."""
Rows = Mapping[Key, Floats]
"""For each group a value at each evaluation time; NaN where it is not known."""


def answers(times: Millis, rows: Rows, by: By) -> "pd.DataFrame":
    """Return one row for each group and time: time, the labels of ``by`` (None: all that there are), value.

    Groups that are not known at any of the times are left out; with ``by`` empty there is one group, known or not.
    """
    import pandas as pd

    if by == ():
        return pd.DataFrame({"time": utc(times), "value": rows.get((), np.full(len(times), np.nan))})
    known = {key: values for key, values in rows.items() if not np.isnan(values).all()}
    return _table([(key, times, values) for key, values in known.items()], by)


def samples(series: Iterable[tuple[Key, Millis, Floats]]) -> "pd.DataFrame":
    """Return the samples of all series: time, all labels, value."""
    return _table([one for one in series if len(one[1])], None)


def targets(found: Iterable[tuple[str, str, float, float | None, str]]) -> "pd.DataFrame":
    """Return a row a target of job, instance, up, time of the last scrape (ms; None: there was none) and error."""
    import pandas as pd

    job, instance, up, scraped, error = zip(*sorted(found), strict=True) if (found := list(found)) else ((),) * 5
    return pd.DataFrame(
        {
            "job": pd.array(job, dtype="str"),
            "instance": pd.array(instance, dtype="str"),
            "up": np.array(up, dtype=float),
            "last_scrape": utc(np.array(["NaT" if time is None else int(time) for time in scraped], "datetime64[ms]")),
            "error": pd.array(error, dtype="str"),
        }
    )


def _table(groups: Sequence[tuple[Key, Millis, Floats]], by: By) -> "pd.DataFrame":
    import pandas as pd

    labels = sorted({label for key, _, _ in groups for label, _ in key}) if by is None else by
    ordered = sorted(
        (tuple(dict(key).get(label, "") for label in labels), place) for place, (key, _, _) in enumerate(groups)
    )
    lengths = [len(groups[place][1]) for _, place in ordered]
    columns: dict[str, object] = {
        "time": utc(np.concatenate([np.empty(0, np.int64), *(groups[place][1] for _, place in ordered)]))
    }
    for number, label in enumerate(labels):
        values = np.array([group[number] for group, _ in ordered], dtype=object)
        columns[f"label_{label}" if label in ("time", "value") else label] = pd.array(np.repeat(values, lengths), "str")
    columns["value"] = np.concatenate([np.empty(0), *(groups[place][2] for _, place in ordered)])
    return pd.DataFrame(columns)


def utc(times: "np.ndarray") -> "pd.DatetimeIndex":
    """Return times in milliseconds since 1970, or as NumPy has them, as pandas does."""
    import pandas as pd

    return pd.DatetimeIndex(times.astype("datetime64[ms]").astype("datetime64[us]"), tz="UTC")
