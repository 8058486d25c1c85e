"""Drift detectors on simulated weeks: false alarms against their budget, power, delay, and verdicts by kind of event.

A world has a seed of its own: four weeks of reference, then quiet weeks, or one week that is lived again and again,
each time with another event. Limits come from each world's own reference. The constants of the package were chosen on
other seeds; these judged no earlier version.
"""

import html
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from scipy.stats import binomtest

from benchmarks.harness import Figure
from mlops_helpers.model.simulate import FAMILIES, SHIFTS, Campaign, Shift, simulate
from mlops_helpers.model.training import train
from mlops_helpers.observe.drift_classifier import tell_apart
from mlops_helpers.observe.drift_crowd import Crowds
from mlops_helpers.observe.drift_detectors import Detector
from mlops_helpers.observe.drift_signals import CROWD, DELAYED, INPUTS, JUDGED, judgements, known_words, signals
from mlops_helpers.observe.drift_verdicts import Diagnosis

__all__ = ["figures", "measure", "report"]

SEEDS = range(730_000, 730_030)  # quiet worlds
EVENTFUL_SEEDS = range(740_000, 740_016)
TRAINING_SEED = 729_999
PER_WEEK, REFERENCE, QUIET = 700, 4, 4  # comments; weeks
BUDGETS = (8.0, 26.0)  # weeks per false alarm
COLUMNS = (*INPUTS, *CROWD, *JUDGED)
START = pd.Timestamp("2026-01-01", tz="UTC")
WEEK, DAY = pd.Timedelta("7D"), pd.Timedelta("1D")
TEXT_BREAKS: dict[str, Callable[[str], str]] = {
    "spaces lost": lambda text: text.replace(" ", ""),
    "cut to 20 characters": lambda text: text[:20],
    "escaped twice": lambda text: html.escape(html.escape(text)),
    "read in the wrong encoding": lambda text: text.encode("utf-16-le").decode("latin-1"),
    "capitalised": str.upper,
}
SCORE_BREAKS: dict[str, Callable[[str], str]] = {"text lost": lambda text: "", "text reversed": lambda text: text[::-1]}


@dataclass(frozen=True)
class Event:
    """Something that happens in one week: in the simulated world, on the way of the text, or behind the scores."""

    kind: str
    campaigns: tuple[Campaign, ...] = ()
    shifts: tuple[Shift, ...] = ()
    logged: Callable[[str], str] = str
    scored: Callable[[str], str] = str
    words_lost: bool = False
    log_odds: float = 0.0
    threshold: float = 0.5


NOTHING = Event("nothing")


def _campaign(share: float) -> Callable[[int], Event]:
    def event(number: int) -> Event:
        family, authors = FAMILIES[number % len(FAMILIES)], (12, 200)[number % 2]
        first = float(7 * REFERENCE)
        return Event("spam campaign", (Campaign(family, first, 7.0, share, obfuscation=0.3, authors=authors),))

    return event


def _shift(kind: str) -> Callable[[int], Event]:
    return lambda number: Event("benign shift", shifts=(Shift(kind, 7.0 * REFERENCE, 7.0, (0.3, 0.6)[number % 2]),))


def _turn(choices: Iterable[Callable[[str], str]], place: str) -> Callable[[int], Event]:
    ways = list(choices)
    return lambda number: Event("broken feature", **{place: ways[number % len(ways)]})  # type: ignore[arg-type]


EVENTS: dict[str, Callable[[int], Event]] = {
    **{f"campaign, {share:.0%} of the comments": _campaign(share) for share in (0.05, 0.1, 0.2)},
    **{f"shift {kind}, 30 or 60 %": _shift(kind) for kind in SHIFTS},
    "text damaged on its way": _turn(TEXT_BREAKS.values(), "logged"),
    "scores of damaged text": _turn(SCORE_BREAKS.values(), "scored"),
    "word features lost": lambda number: Event("broken feature", words_lost=True),
    "log-odds of scores +-1.5": lambda number: Event("threshold failure", log_odds=(-1.5, 1.5)[number % 2]),
    "threshold 0.1 or 0.9": lambda number: Event("threshold failure", threshold=(0.1, 0.9)[number % 2]),
}
EXPLAINED = ("campaign, 20% of the comments", "shift new_topic, 30 or 60 %", "shift ham_links, 30 or 60 %")


@dataclass
class Seen:
    """What was counted, over all worlds."""

    false_alarms: Counter[tuple[int, str, float]] = field(default_factory=Counter)
    checks: Counter[tuple[int, str, float]] = field(default_factory=Counter)
    weekly: dict[str, list[bool]] = field(default_factory=dict)
    delays: dict[str, list[int]] = field(default_factory=dict)
    verdicts: dict[str, list[str]] = field(default_factory=dict)
    domains: dict[str, list[float]] = field(default_factory=dict)


def figures() -> list[Figure]:
    """Measure on the seeds above, within four minutes on one core."""
    return list(report(measure(SEEDS, EVENTFUL_SEEDS)))


class _Filter:
    """A trained model as a service runs it: it puts on record what it was asked, and what it answered."""

    def __init__(self) -> None:
        before = simulate(4000, days=60, seed=TRAINING_SEED)
        self.model, self.known = train(before, "0" * 64), known_words(before["text"], seen=1)
        self.scored: dict[str, float] = {}

    def observed(self, comments: pd.DataFrame, event: Event = NOTHING) -> pd.DataFrame:
        """Return the record of the comments, with labels as they will once have arrived."""
        logged = comments.assign(text=comments["text"].map(event.logged))
        texts = logged["text"].map(event.scored)
        scores = self._without_words(texts) if event.words_lost else self._scores(texts)
        scores = 1 / (1 + (1 / scores - 1) * np.exp(-event.log_odds))
        kept = logged[["text", "author_id", "moderator_label", "labelled_at"]]
        return signals(logged, self.known).join(kept).assign(score=scores, spam=scores >= event.threshold)

    def _scores(self, texts: pd.Series) -> pd.Series:
        new = pd.Series(texts[~texts.isin(self.scored.keys())].unique())
        if len(new):
            self.scored.update(zip(new, self.model.scores(new), strict=True))
        return texts.map(self.scored)

    def _without_words(self, texts: pd.Series) -> pd.Series:
        tfidf, regression = self.model.pipeline["tfidf"], self.model.pipeline["model"]
        terms = tfidf.transform(texts)
        words = len(tfidf.transformer_list[0][1].vocabulary_)
        terms = csr_matrix(terms.multiply(np.arange(terms.shape[1]) >= words))
        return pd.Series(regression.predict_proba(terms)[:, 1], texts.index)


def measure(quiet_seeds: Iterable[int], eventful_seeds: Iterable[int]) -> Seen:
    """Live through the worlds of the given seeds."""
    seen, spam_filter, first = Seen(), _Filter(), START + REFERENCE * WEEK
    for seed in quiet_seeds:
        spam_filter.scored.clear()
        observed = spam_filter.observed(_lived(seed, REFERENCE + QUIET))
        reference = _arrived(observed[observed["created_at"] < first], first)
        _quiet_time(reference, observed, first, seen)
    for number, seed in enumerate(eventful_seeds):
        spam_filter.scored.clear()
        quiet = _lived(seed, REFERENCE + 1)
        observed = spam_filter.observed(quiet)
        after = observed["created_at"] >= first
        reference = _arrived(observed[~after], first)
        crowds = Crowds.fit(reference)
        reference["crowd"] = crowds.usual
        settings = {"delayed": DELAYED, "weeks_per_false_alarm": BUDGETS[1]}
        daily = Detector.fit(reference, COLUMNS, window=1, **settings)  # type: ignore[arg-type]
        diagnosis = Diagnosis.fit(reference, Detector.fit(reference, COLUMNS, **settings))  # type: ignore[arg-type]
        seen.domains.setdefault("a quiet week", []).append(_domain(reference, observed[after]))
        for name, event_of in EVENTS.items():
            event = event_of(number)
            lived = _lived(seed, REFERENCE + 1, event) if event.campaigns or event.shifts else quiet
            week = spam_filter.observed(lived[lived["created_at"] >= first], event)
            ((_, whole),) = _windows(week, first, WEEK, 1, crowds)
            verdict = diagnosis.judge(whole)
            seen.weekly.setdefault(name, []).append(verdict.check.state == "alarm")
            seen.verdicts.setdefault(name, []).append(verdict.kind)
            alarms = (day for day, part in _windows(week, first, DAY, 7, crowds) if daily.check(part).state == "alarm")
            seen.delays.setdefault(name, []).append(next(alarms, 7) + 1)
            if name in EXPLAINED:
                seen.domains.setdefault(name, []).append(_domain(reference, week))
    return seen


def _lived(seed: int, weeks: int, event: Event = NOTHING) -> pd.DataFrame:
    return simulate(PER_WEEK * weeks, 7.0 * weeks, seed, campaigns=event.campaigns, shifts=event.shifts)


def _arrived(observed: pd.DataFrame, now: pd.Timestamp) -> pd.DataFrame:
    """Return the record with the labels that have arrived by ``now``."""
    label = observed["moderator_label"].where(observed["labelled_at"] <= now)
    return observed.drop(columns="score").join(judgements(observed["score"], observed["spam"], label))


def _windows(
    observed: pd.DataFrame, first: pd.Timestamp, length: pd.Timedelta, count: int, crowds: Crowds
) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yield windows as they were on record at their ends; crowds are looked for in the last seven days."""
    when = observed["created_at"]
    for number in range(count):
        end = first + length * (number + 1)
        lately = observed[(when >= max(first, end - WEEK)) & (when < end)]
        crowd = crowds.find(lately)
        yield number, _arrived(lately.assign(crowd=crowd)[lately["created_at"] >= end - length], end)


def _quiet_time(reference: pd.DataFrame, observed: pd.DataFrame, first: pd.Timestamp, seen: Seen) -> None:
    crowds = Crowds.fit(reference)
    reference = reference.assign(crowd=crowds.usual)
    for window, length, count in ((7, WEEK, QUIET), (1, DAY, 7 * QUIET)):
        windows = [part for _, part in _windows(observed, first, length, count, crowds)]
        for distance, budget in (("jensen_shannon", BUDGETS[0]), ("jensen_shannon", BUDGETS[1]), ("psi", BUDGETS[1])):
            settings = {"delayed": DELAYED, "weeks_per_false_alarm": budget, "distance": distance}
            detector = Detector.fit(reference, COLUMNS, window=window, **settings)  # type: ignore[arg-type]
            key = window, distance, budget
            seen.false_alarms[key] += sum(detector.check(part).state == "alarm" for part in windows)
            seen.checks[key] += len(windows)


def _domain(reference: pd.DataFrame, current: pd.DataFrame) -> float:
    return tell_apart(reference, current, tuple(INPUTS), most=PER_WEEK).auc


def report(seen: Seen) -> Iterator[Figure]:
    """Turn counts into figures."""
    for (window, distance, weeks), checks in seen.checks.items():
        alarms, budget = seen.false_alarms[window, distance, weeks], 100 * window / 7 / weeks
        interval = binomtest(alarms, checks).proportion_ci(method="exact")
        said = (
            f"{alarms} of {checks} quiet checks, 95 % interval {100 * interval.low:.2g} to {100 * interval.high:.2g} %"
        )
        what = (
            f"false alarms, {'weekly' if window == 7 else 'daily'} checks, {distance}, one in {weeks:g} weeks promised"
        )
        goal = f"<= {budget:.6f}" if distance == "jensen_shannon" else ""
        yield Figure(what, 100 * alarms / checks, "%", goal, f"{said}; budget {budget:.2g} %")
    for name in EVENTS:
        n, found = len(seen.weekly[name]), sum(seen.weekly[name])
        delays, verdicts = seen.delays[name], Counter(seen.verdicts[name])
        right = verdicts[EVENTS[name](0).kind]
        interval = binomtest(found, n).proportion_ci(method="exact")
        said = f"{found} of {n} worlds, 95 % interval {100 * interval.low:.0f} to {100 * interval.high:.0f} %"
        yield Figure(f"power within a week, {name}", 100 * found / n, "%", "", f"weekly check, {said}")
        late = sum(delay > 7 for delay in delays)
        said = f"daily checks, whole days until the first alarm; {late} of {n} not within 7 days (counted as 8)"
        yield Figure(f"median delay, {name}", statistics.median(delays), "days", "", said)
        said = ", ".join(f"{kind} {count}" for kind, count in verdicts.most_common())
        yield Figure(f"verdict right, {name}", 100 * right / n, "%", "", said)
    for name, values in seen.domains.items():
        low, high = np.quantile(values, [0.1, 0.9])
        said = f"median of {len(values)} weeks against their references, middle four fifths {low:.2f} to {high:.2f}"
        yield Figure(f"domain classifier, {name}", statistics.median(values), "ROC-AUC", "", said)
