"""A seeded month of a service's life: every request with its answer, every release, and what went wrong.

It stands in for the event log that a team has after a month of operation, so that objectives can be set, priced and
alerted on within seconds. What happens live is measured elsewhere; here only the arithmetic is real.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.random import Generator, SeedSequence, default_rng

from mlops_helpers.errors import ParameterError
from mlops_helpers.observe.objectives import DAY, HOUR

__all__ = ["INCIDENTS", "KINDS", "Incident", "events", "releases"]

KINDS = {
    "errors": "this share of the requests is answered with 500",
    "slow": "this share of the requests takes ten times as long",
    "lost": "this share of the accepted comments is gone later",
    "bad_model": "this share of the honest comments is called spam",
    "silence": "this share of the events never reached the log",
}


@dataclass(frozen=True)
class Incident:
    """``kind`` (one of ``KINDS``) hits ``share`` (0 to 1) of what happens from day ``start`` on, for ``hours``."""

    kind: str
    start: float
    hours: float
    share: float

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ParameterError(f"kind is {self.kind!r}; accepted: {', '.join(KINDS)}")
        if not (self.start >= 0 and self.hours > 0 and 0 < self.share <= 1):
            raise ParameterError(f"{self} does not fit; accepted: start >= 0 days, hours > 0, share above 0, at most 1")


INCIDENTS = (
    Incident("errors", 6.60, 0.75, 0.30),
    Incident("slow", 12.40, 3.0, 0.12),
    Incident("errors", 17.0, 60.0, 0.0015),
    Incident("lost", 20.50, 2.0, 0.004),
    Incident("bad_model", 23.35, 9.0, 0.25),
    Incident("silence", 27.50, 1.0, 0.98),
)
"""A sharp failure, a slow spell, a leak of errors too small for a page, a loss, a model that turned bad, and an hour in
which hardly anybody reached the blog."""


def events(
    n: int = 1_000_000,
    days: float = 30.0,
    seed: int = 0,
    incidents: Sequence[Incident] = INCIDENTS,
    *,
    spam_rate: float = 0.3,
    label_delay_hours: float = 24.0,
    labelled: float = 0.25,
    start: str = "2026-01-01",
) -> pd.DataFrame:
    """Return ``n`` comments and their answers over ``days``, in time's order; the same arguments give the same table.

    Columns: ``time`` (UTC), ``status`` (HTTP), ``seconds`` (until the answer), ``accepted``, ``kept`` (found again
    later; NA unless accepted), ``spam_verdict``, ``label`` (a moderator's: 1 spam, 0 not; NA for those never looked
    at), ``labelled_at`` (UTC, NaT likewise; may lie after the month, so compare it with your "now"). Traffic follows
    the day and the week. An incident changes only the events that it hits.

    Raises ``ParameterError`` for an argument out of range.
    """
    if not (n >= 0 and days > 0 and 0 <= spam_rate <= 1 and 0 <= labelled <= 1 and label_delay_hours > 0):
        raise ParameterError(
            f"n={n}, days={days}, spam_rate={spam_rate}, labelled={labelled}, label_delay_hours={label_delay_hours}; "
            "accepted: n >= 0, days > 0, shares 0 to 1, a delay above 0"
        )
    traffic, answers, people, *troubles = map(default_rng, SeedSequence(seed).spawn(3 + len(incidents)))
    at = _arrivals(traffic, n, days)
    failed = answers.random(n) < 5e-5
    seconds = np.exp(answers.normal(np.log(0.06), 0.45, n))
    spam = answers.random(n) < spam_rate
    verdict = np.where(spam, answers.random(n) < 0.96, answers.random(n) < 0.01)
    lost, unseen = np.zeros(n, bool), np.zeros(n, bool)
    for incident, random in zip(incidents, troubles, strict=True):
        begin, end = np.searchsorted(at, [incident.start * DAY, incident.start * DAY + incident.hours * HOUR])
        hit = np.zeros(n, bool)
        hit[begin:end] = random.random(end - begin) < incident.share
        if incident.kind == "errors":
            failed |= hit
        elif incident.kind == "slow":
            seconds[hit] *= 10
        elif incident.kind == "lost":
            lost |= hit
        elif incident.kind == "bad_model":
            verdict |= hit & ~spam
        else:
            unseen |= hit
    seen_by_person = ~failed & (people.random(n) < labelled)
    delay = np.exp(people.normal(np.log(label_delay_hours * HOUR), 0.7, n))
    begin_at = pd.Timestamp(start, tz="UTC")
    table = pd.DataFrame(
        {
            "time": begin_at + pd.to_timedelta(at, unit="s"),
            "status": np.where(failed, 500, 201).astype("int16"),
            "seconds": np.where(failed, 0.2 * seconds, seconds),
            "accepted": ~failed,
            "kept": pd.array(~lost, dtype="boolean"),
            "spam_verdict": verdict,
            "label": pd.array(spam.astype("int8"), dtype="Int8"),
            "labelled_at": begin_at + pd.to_timedelta(at + delay, unit="s"),
        }
    )
    table.loc[failed, "kept"] = pd.NA
    table.loc[~seen_by_person, ["label"]] = pd.NA
    table.loc[~seen_by_person, ["labelled_at"]] = pd.NaT
    return table[~unseen].reset_index(drop=True)


def releases(days: float = 30.0, seed: int = 0, per_week: float = 5.0, *, start: str = "2026-01-01") -> pd.DataFrame:
    """Return the releases of ``days``, as records for :mod:`mlops_helpers.observe.delivery_metrics`.

    About ``per_week`` features a week; one of eight fails, is recovered by a rollback and followed by an unplanned
    release that repairs it. Raises ``ParameterError`` for numbers that are not positive.
    """
    if not (days > 0 and per_week > 0):
        raise ParameterError(f"days={days}, per_week={per_week}; accepted: above 0")
    random = default_rng(SeedSequence(seed, spawn_key=(9,)))
    rows = []
    for at in np.sort(random.random(random.poisson(per_week * days / 7)) * days * DAY):
        fails = random.random() < 1 / 8
        recovered = at + random.gamma(2.0, 900.0) if fails else np.nan
        rows.append((at - random.gamma(2.0, 4 * HOUR), at, False, fails, recovered))
        if fails:
            repaired = recovered + random.gamma(2.0, HOUR)
            rows.append((recovered, repaired, True, False, np.nan))
    table = pd.DataFrame(rows, columns=["committed_at", "deployed_at", "rework", "failed", "recovered_at"])
    table = table.astype({"rework": bool, "failed": bool}).sort_values("deployed_at", ignore_index=True)
    for name in ("committed_at", "deployed_at", "recovered_at"):
        table[name] = pd.Timestamp(start, tz="UTC") + pd.to_timedelta(table[name], unit="s")
    table.insert(0, "release", [f"r{number}" for number in range(1, len(table) + 1)])
    return table


def _arrivals(random: Generator, n: int, days: float) -> np.ndarray:
    """Seconds since the start, sorted: more by day than by night, fewer at weekends."""
    grid = np.arange(0, days * DAY + HOUR, HOUR)
    rate = (1 + 0.6 * np.sin(2 * np.pi * (grid / DAY - 0.35))) * np.where((grid // DAY) % 7 >= 5, 0.7, 1.0)
    total = np.concatenate([[0], np.cumsum(rate[:-1])])
    return np.interp(np.sort(random.random(n)) * np.interp(days * DAY, grid, total), total, grid)
