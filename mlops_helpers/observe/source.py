"""The questions that can be asked of metrics, and one form of the answers, whoever answers.

:class:`~mlops_helpers.observe.store.Store` answers from this process,
:class:`~mlops_helpers.observe.prometheus.Prometheus` from a real server; code that asks a :class:`MetricsSource` works
with both, and a differential test holds them together: same columns, order and types, values within 1e-9 (relative).

Times are seconds since the epoch, rounded to milliseconds; windows and steps are seconds. Tables have a column ``time``
(UTC), one column a label in the order asked for (alphabetical where all are kept), and ``value``, sorted by label and
time. A label called "time" or "value" has the column ``label_time`` or ``label_value``. Every group that is known at
one of the times has a row for each of them; NaN means not known.

What differs, and is left so:

* Samples of counters (by their TYPE) that are negative or NaN are refused by the store, and what would come of them is
  not known; Prometheus takes them and computes with them. Growth below 0 or not finite is NaN with both.
* A text whose last line has no line feed is refused by the store as cut off; Prometheus takes it.
* Windows and look-back include both of their ends, as in Prometheus 2. Prometheus 3 leaves the earlier end out: a
  window that begins exactly on a sample has one less.
* Regular expressions are Python's in the store, RE2's in Prometheus (see :mod:`~mlops_helpers.observe.selector`).

And what both do, though one may not expect it: the first sample of a series counts for nothing, however high. Errors
whose counter appears with the first of them are not seen until the second; export counters at 0.
"""

import difflib
import math
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import numpy as np

from mlops_helpers.errors import MetricsError
from mlops_helpers.observe.questions import Floats, Millis
from mlops_helpers.observe.selector import Selector
from mlops_helpers.observe.tables import By, Key, Rows, answers, samples

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LOOKBACK", "MetricsSource", "milliseconds", "nothing_named"]

LOOKBACK = 300_000
"""Milliseconds for which the latest sample of a series stands for its value, unless the series was marked stale."""
_MOST_STEPS = 1_000_000
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class MetricsSource(ABC):
    """What can be asked, the question checked and the answer given its form; two implementations know the values.

    ``at`` is one evaluation time (now, if no time is given); ``start``, ``end`` and ``step`` are a range of them, the
    end included. ``by`` names the labels that groups are made by: none of them sums everything, None keeps every
    series. Selectors are :class:`~mlops_helpers.observe.selector.Selector` or their text.

    All raise ``MetricsError``: for a metric of which there is none (naming near ones), for times and windows that make
    no sense, and when the source cannot answer.
    """

    @abstractmethod
    def targets(self) -> "pd.DataFrame":
        """Return job, instance, up (1, 0; NaN before the first scrape), last_scrape (UTC) and error of each target."""

    def series(self, selector: Selector | str, start: float, end: float) -> "pd.DataFrame":
        """Return the samples from ``start`` to ``end`` as they were scraped, with all labels, ``__name__`` included."""
        first, last = milliseconds(start), milliseconds(end)
        if last < first:
            raise MetricsError(f"start {start}, end {end}; accepted: start <= end")
        return samples(self._samples(_selector(selector), first, last))

    def increase(
        self,
        selector: Selector | str,
        window: float,
        *,
        at: float | None = None,
        start: float | None = None,
        end: float | None = None,
        step: float | None = None,
        by: Collection[str] | None = (),
    ) -> "pd.DataFrame":
        """Return by how much counters grew in the ``window`` before each time, as PromQL's ``increase()`` has it."""
        times, labels = _instants(at, start, end, step), _labels(by)
        return answers(times, self._grown(selector, window, times, labels), labels)

    def growth(self, selector: Selector | str, window: float, at: float | None = None) -> float:
        """Return :meth:`increase` of all series together at one time, as a number: asked often, tables cost more."""
        times = _instants(at, None, None, None)
        row = self._grown(selector, window, times, ()).get(())
        return math.nan if row is None else float(row[0])

    def ratio(
        self,
        part: Selector | str,
        whole: Selector | str,
        window: float,
        *,
        at: float | None = None,
        start: float | None = None,
        end: float | None = None,
        step: float | None = None,
        by: Collection[str] | None = (),
    ) -> "pd.DataFrame":
        """Return growth of ``part`` / growth of ``whole``; NaN where either is not known or the whole is 0."""
        times, labels = _instants(at, start, end, step), _labels(by)
        parts, wholes = (self._grown(counter, window, times, labels) for counter in (part, whole))
        unknown = np.full(len(times), np.nan)
        with np.errstate(all="ignore"):
            ratios = {
                key: np.where(wholes.get(key, unknown) > 0, parts.get(key, unknown) / wholes.get(key, unknown), np.nan)
                for key in {**wholes, **parts}
            }
        return answers(times, ratios, labels)

    def quantile(
        self,
        q: float,
        histogram: Selector | str,
        window: float,
        *,
        at: float | None = None,
        start: float | None = None,
        end: float | None = None,
        step: float | None = None,
        by: Collection[str] | None = (),
    ) -> "pd.DataFrame":
        """Return the ``q``-quantile (0 to 1) of a histogram (its name without ``_bucket``) over each ``window``.

        As PromQL's ``histogram_quantile()`` of ``increase()`` has it; NaN without observations.
        """
        times, labels = _instants(at, start, end, step), _labels(by)
        if not 0 <= q <= 1:
            raise MetricsError(f"q is {q}; accepted: 0 to 1, such as 0.99")
        if labels and "le" in labels:
            raise MetricsError("by has 'le', which is spent on the quantile; accepted: the histogram's other labels")
        whole = _selector(histogram)
        buckets = Selector(whole.name + "_bucket", whole.matchers)
        return answers(times, self._quantile(q, buckets, _window(window), times, labels), labels)

    def value(
        self, selector: Selector | str, at: float | None = None, by: Collection[str] | None = None
    ) -> "pd.DataFrame":
        """Return the latest sample of each series, at most 5 minutes old and not stale (summed, if ``by`` is given)."""
        times, labels = _instants(at, None, None, None), _labels(by)
        return answers(times, self._value(_selector(selector), times, labels), labels)

    def has_value(self, selector: Selector | str, at: float | None = None) -> bool:
        """Say whether :meth:`value` knows any series: asked often, tables cost more."""
        return self._has_value(_selector(selector), int(_instants(at, None, None, None)[0]))

    def _has_value(self, selector: Selector, time: int) -> bool:
        rows = self._value(selector, np.array([time], np.int64), ())
        return not all(np.isnan(row).all() for row in rows.values())

    def _grown(self, selector: Selector | str, window: float, times: Millis, by: By) -> Rows:
        rows = self._increase(_selector(selector), _window(window), times, by)
        with np.errstate(invalid="ignore"):  # samples that are no counts can make it shrink
            return {key: np.where((row >= 0) & np.isfinite(row), row, np.nan) for key, row in rows.items()}

    @abstractmethod
    def _samples(self, selector: Selector, start: int, end: int) -> Iterable[tuple[Key, Millis, Floats]]: ...

    @abstractmethod
    def _increase(self, selector: Selector, window: int, times: Millis, by: By) -> Rows: ...

    @abstractmethod
    def _quantile(self, q: float, buckets: Selector, window: int, times: Millis, by: By) -> Rows: ...

    @abstractmethod
    def _value(self, selector: Selector, times: Millis, by: By) -> Rows: ...


def milliseconds(seconds: float) -> int:
    """Return a time or a duration in whole milliseconds.

    Raises ``MetricsError`` for what is no finite number.
    """
    try:
        return round(seconds * 1000)
    except (TypeError, ValueError, OverflowError) as error:
        raise MetricsError(f"{seconds!r} is no time; accepted: seconds (since 1970, or of a duration)") from error


def nothing_named(name: str, names: Iterable[str]) -> MetricsError:
    """Return the error that a metric does not exist, with the nearest names of those that do."""
    names = sorted(set(names))
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names[:3]
    if not near:
        return MetricsError(f"no metric {name!r}: there are none at all. Next: see which targets are up: targets()")
    return MetricsError(f"no metric {name!r}; there are {len(names)} names, the nearest: {', '.join(near)}")


def _selector(selector: Selector | str) -> Selector:
    return selector if isinstance(selector, Selector) else Selector.parse(selector)


def _labels(by: Collection[str] | None) -> By:
    if by is None:
        return None
    labels = (by,) if isinstance(by, str) else tuple(dict.fromkeys(by))
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise MetricsError(f"by is {labels}; accepted: names of labels, none to sum all, None to keep every series")
    return labels


def _window(window: float) -> int:
    length = milliseconds(window)
    if length < 1:
        raise MetricsError(f"window is {window} s; accepted: 0.001 s or more, long enough for two scrapes or more")
    return length


def _instants(at: float | None, start: float | None, end: float | None, step: float | None) -> Millis:
    if start is end is step is None:
        return np.array([milliseconds(time.time() if at is None else at)])
    if at is not None or start is None or end is None or step is None:
        raise MetricsError("accepted: at, or start, end and step together, or none of them for now")
    begin, last, every = milliseconds(start), milliseconds(end), milliseconds(step)
    if every < 1 or last < begin:
        raise MetricsError(f"start {start}, end {end}, step {step}; accepted: start <= end, and a step above 0")
    if (last - begin) // every >= _MOST_STEPS:
        raise MetricsError(
            f"{(last - begin) // every + 1:,} steps; accepted: at most {_MOST_STEPS:,}. Next: a longer step"
        )
    return np.arange(begin, last + 1, every)
