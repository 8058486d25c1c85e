"""Service level indicators from the black-box record: what readers saw, as good events of all events.

Each takes a frame of :func:`mlops_helpers.serve.blackbox.read_record`, or the part of one that is asked about.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_helpers.serve.blackbox import LATE_SECONDS

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Share",
    "availability",
    "by_window",
    "events",
    "fast",
    "generator_on_time",
    "honest_published_at_once",
    "spam_held",
]

_SEEN, _NOT_SEEN = ("published", "ham"), ("held", "pending", "rejected", "spam")


@dataclass(frozen=True)
class Share:
    """``good`` events of ``total``."""

    good: int
    total: int

    @property
    def ratio(self) -> float:
        """Return good / total, NaN when nothing happened."""
        return self.good / self.total if self.total else float("nan")


def availability(frame: "pd.DataFrame") -> Share:
    """Visits (readers' and commenters') that were answered within the timeout and without error.

    A sender of spam whom a rate limit stops (429) was promised nothing, and is not counted.
    """
    return _share(_answered(_visits(frame)))


def fast(frame: "pd.DataFrame", seconds: float) -> Share:
    """Visits that were answered without error within ``seconds`` from the moment they were intended.

    The total is that of :func:`availability`: a visit that failed was not fast.
    """
    return _share(_answered_within(_visits(frame), seconds))


def honest_published_at_once(frame: "pd.DataFrame") -> Share:
    """Honest comments (label 0) that were accepted, and of these the ones whose answer says ``published``.

    With ``api="classify"``: whose verdict says ham.
    """
    return _share(_in_state(frame, 0, _SEEN))


def spam_held(frame: "pd.DataFrame") -> Share:
    """Spam (label 1) that was accepted, and of this what the answer says is not (yet) seen by readers.

    With ``api="classify"``: whose verdict says spam.
    """
    return _share(_in_state(frame, 1, _NOT_SEEN))


def events(frame: "pd.DataFrame", seconds: float) -> "dict[str, pd.Series]":
    """Return, by SLI, what the functions above count: True for each row that is a good event, False for a bad one.

    The index is the frame's; rows that are no event of an SLI are missing. ``seconds`` is what is fast.
    """
    visits = _visits(frame)
    return {
        "availability": _answered(visits),
        "fast": _answered_within(visits, seconds),
        "honest_published": _in_state(frame, 0, _SEEN),
        "spam_held": _in_state(frame, 1, _NOT_SEEN),
    }


def generator_on_time(frame: "pd.DataFrame", seconds: float = LATE_SECONDS) -> Share:
    """Arrivals that the generator noticed within ``seconds``; below 99 %, latencies tell about its own machine."""
    return _share(frame["late"].le(seconds))


def by_window(frame: "pd.DataFrame", sli: Callable[["pd.DataFrame"], Share], window: str = "1s") -> "pd.DataFrame":
    """Return ``good``, ``total`` and ``ratio`` of an SLI by window of the intended time.

    The index is the begin of each window in seconds since the start; windows without arrivals have total 0. For an SLI
    with an argument: ``by_window(frame, lambda part: fast(part, 0.25))``.
    """
    import pandas as pd

    length = pd.Timedelta(window).total_seconds()
    number = (frame["intended"] // length).astype("int64")
    parts = {key: sli(part) for key, part in frame.groupby(number)}
    numbers = range(max(parts, default=-1) + 1)
    shares = [parts.get(key, Share(0, 0)) for key in numbers]
    columns = {"good": [s.good for s in shares], "total": [s.total for s in shares], "ratio": [s.ratio for s in shares]}
    return pd.DataFrame(columns, index=pd.Index([key * length for key in numbers], name="start", dtype="float64"))


def _visits(frame: "pd.DataFrame") -> "pd.DataFrame":
    limited = frame["status"].eq(429) & frame["label"].eq(1).fillna(False).astype(bool)
    return frame[frame["kind"].isin(("comment", "read")) & ~limited]


def _answered(visits: "pd.DataFrame") -> "pd.Series":
    return visits["outcome"].eq("ok")


def _answered_within(visits: "pd.DataFrame", seconds: float) -> "pd.Series":
    return _answered(visits) & visits["latency"].le(seconds)


def _in_state(frame: "pd.DataFrame", label: int, good: tuple[str, ...]) -> "pd.Series":
    wanted = (
        frame["kind"].eq("comment") & frame["outcome"].eq("ok") & frame["label"].eq(label).fillna(False).astype(bool)
    )
    return frame.loc[wanted, "state"].isin(good)


def _share(good: "pd.Series") -> Share:
    return Share(int(good.sum()), len(good))
