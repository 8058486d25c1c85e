"""The drift detector on simulated weeks: false alarms against their budget, and delay by kind of event.

A world has a seed of its own: four weeks of reference, then four quiet weeks, or one that is lived again and again with
other events. Limits come from its own reference; the constants of the package were chosen on other seeds.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd
from scipy.stats import binomtest

from benchmarks.measure import Figure, median
from mlops_helpers.model.simulate import Campaign, Shift, simulate
from mlops_helpers.model.training import train
from mlops_helpers.observe.drift_crowd import Crowds
from mlops_helpers.observe.drift_detectors import Detector
from mlops_helpers.observe.drift_signals import CROWD, DELAYED, INPUTS, JUDGED, judgements, known_words, signals

SEEDS, EVENTFUL = range(730_000, 730_012), 6  # worlds; how many of them have events
PER_WEEK, PROMISED = 700, 26.0  # comments; weeks for each false alarm
COLUMNS = (*INPUTS, *CROWD, *JUDGED)
DAY, WEEK = pd.Timedelta("1D"), pd.Timedelta("7D")
FIRST = pd.Timestamp("2026-01-01", tz="UTC") + 4 * WEEK


class Event(NamedTuple):
    """What happens to the world, to the text on its way, or to the threshold."""

    campaigns: tuple[Campaign, ...] = ()
    shifts: tuple[Shift, ...] = ()
    length: int | None = None  # the text is cut
    threshold: float = 0.5


EVENTS = {
    f"campaign, {share:.0%} of the comments": Event((Campaign("link_drop", 28.0, 7.0, share, obfuscation=0.3),))
    for share in (0.05, 0.1, 0.2)
} | {
    "a new topic in 60 %": Event(shifts=(Shift("new_topic", 28.0, 7.0, 0.6),)),
    "text cut to 20 characters": Event(length=20),
    "threshold 0.1": Event(threshold=0.1),
}


def figures() -> Iterator[Figure]:
    """Live through the worlds; count."""
    before = simulate(4000, days=60, seed=729_999)
    model, known = train(before, "0" * 64), known_words(before["text"], seen=1)

    def record(comments: pd.DataFrame, event: Event) -> pd.DataFrame:
        """Return what a service has on record of comments, with labels as they will once have arrived."""
        logged = comments.assign(text=comments["text"].str[: event.length])
        scores, facts = model.scores(logged["text"]), logged[["text", "author_id", "moderator_label", "labelled_at"]]
        return signals(logged, known).join(facts).assign(score=scores, spam=scores >= event.threshold)

    false_alarms: dict[int, list[bool]] = {1: [], 7: []}  # by the days of a window
    delays: dict[str, list[int]] = {name: [] for name in EVENTS}
    for number, seed in enumerate(SEEDS):
        quiet = record(simulate(8 * PER_WEEK, 56.0, seed), Event())
        reference = _arrived(quiet[quiet["created_at"] < FIRST], FIRST)
        crowds = Crowds.fit(reference)
        reference = reference.assign(crowd=crowds.usual)
        how: dict[str, Any] = {"delayed": DELAYED, "weeks_per_false_alarm": PROMISED}
        detectors = {days: Detector.fit(reference, COLUMNS, window=days, **how) for days in (1, 7)}
        for days, detector in detectors.items():
            windows = _windows(quiet, pd.Timedelta(days=days), 28 // days, crowds)
            false_alarms[days] += [detector.check(part).state == "alarm" for part in windows]
        for name, event in EVENTS.items() if number < EVENTFUL else ():
            lived = simulate(5 * PER_WEEK, 35.0, seed, campaigns=event.campaigns, shifts=event.shifts)
            week = record(lived[lived["created_at"] >= FIRST], event)
            states = [detectors[1].check(part).state for part in _windows(week, DAY, 7, crowds)]
            delays[name].append([*states, "alarm"].index("alarm") + 1)
    for days, alarms in false_alarms.items():
        low, high = (100 * end for end in binomtest(sum(alarms), len(alarms)).proportion_ci(method="exact"))
        about = f"{sum(alarms)} of {len(alarms)} quiet checks, 95 % interval {low:.2g} to {high:.2g} %"
        goal = f"<= {100 * days / 7 / PROMISED:.4f}"
        yield Figure(f"false alarms, a check each {days} days, lower end", low, "%", goal, about)
    for name, days_late in delays.items():
        late = f"{days_late.count(8)} of {len(days_late)} not within 7 days (counted as 8)"
        yield median(f"delay, {name}", days_late, "days", "", f"daily checks; {late}")


def _arrived(record: pd.DataFrame, now: pd.Timestamp) -> pd.DataFrame:
    """Return the record with the labels that have arrived by ``now``."""
    label = record["moderator_label"].where(record["labelled_at"] <= now)
    return record.drop(columns="score").join(judgements(record["score"], record["spam"], label))


def _windows(record: pd.DataFrame, length: pd.Timedelta, count: int, crowds: Crowds) -> Iterator[pd.DataFrame]:
    """Yield windows as they were on record at their ends; crowds are looked for in the last seven days."""
    for end in (FIRST + length * (number + 1) for number in range(count)):
        lately = record[(record["created_at"] >= max(FIRST, end - WEEK)) & (record["created_at"] < end)]
        lately = lately.assign(crowd=crowds.find(lately))
        yield _arrived(lately[lately["created_at"] >= end - length], end)
