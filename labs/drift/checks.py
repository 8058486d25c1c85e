"""Checks of the lab on drift; they run in the grader's process, which counts false alarms and what is noticed."""

import bisect
import math
import statistics
from functools import lru_cache
from itertools import pairwise

from mlops_helpers.observe.drift_distances import COUNTED, Bins, psi_limit
from mlops_helpers.teach.grading_checks import worth
from mlops_helpers.teach.grading_judging import too_many

CLOSE = 1e-6


def distance(reference, current, bins=10):
    """Return the PSI as the task defines it."""
    ordered = sorted(value for value in reference if value is not None)
    edges = set()
    for cut in range(1, bins):
        place = cut * (len(ordered) - 1) / bins
        low = math.floor(place)
        edges.add(ordered[low] + (ordered[min(low + 1, len(ordered) - 1)] - ordered[low]) * (place - low))
    cuts = sorted(edges)

    def shares(sample):
        counts = [0.5] * (len(cuts) + 2)
        for value in sample:
            counts[-1 if value is None else bisect.bisect_left(cuts, value)] += 1
        return [count / (len(sample) + 0.5 * len(counts)) for count in counts]

    pairs = zip(shares(reference), shares(current), strict=True)
    return sum((q - p) * math.log(q / p) for p, q in pairs)


def compare_psi(student, reference, current, bins, what):
    found = student.call("psi", reference, current, bins)
    wanted = distance(reference, current, bins)
    assert type(found) in (int, float), f"psi gave {found!r} for {what}; accepted: a number"
    assert abs(found - wanted) < CLOSE, (
        f"psi of {what} ({len(reference)} and {len(current)} values, {bins} bins): {found:.6f}, expected {wanted:.6f}"
    )


@worth("psi", 8, "Edges from the reference's quantiles, half a comment for each bin of both, (q - p) ln(q / p).")
def test_numbers_are_compared_in_the_bins_of_the_reference(student, rng):
    for bins in (4, 5, 10, 10):
        # The sizes keep quantiles between two values, so that rounding cannot move a value into another bin.
        reference = [rng.gauss(0, 1) for _ in range(20 * rng.randint(4, 15))]
        current = [rng.gauss(rng.uniform(-1, 1), rng.uniform(0.3, 2)) for _ in range(rng.randint(10, 300))]
        compare_psi(student, reference, current, bins, "numbers that all differ")
        compare_psi(student, reference, [rng.uniform(9, 10) for _ in range(30)], bins, "numbers beyond the reference")
        reference = [rng.choice([0, 0, 0, 1, 1, 2, 3, 7]) for _ in range(20 * rng.randint(4, 15))]
        current = [rng.choice([0, 1, 1, 2, 5, 7, 9]) for _ in range(rng.randint(10, 300))]
        compare_psi(student, reference, current, bins, "whole numbers, many of them equal")


@worth("psi", 7, "Missing values are a bin of their own, in both samples; an empty sample has no distance.")
def test_missing_values_are_a_bin(student, rng):
    for _ in range(8):
        bins = rng.choice([4, 5, 10])
        reference = [rng.uniform(-5, 5) for _ in range(20 * rng.randint(4, 12))]
        holes = [None if rng.random() < 0.3 else rng.uniform(-5, 5) for _ in range(rng.randint(20, 200))]
        compare_psi(student, reference, holes, bins, "a column with holes that the reference did not have")
        gaps = [*reference, *[None] * rng.randint(1, 60)]
        rng.shuffle(gaps)
        compare_psi(student, gaps, holes, bins, "two columns with holes")
        compare_psi(student, gaps, [None] * 25, bins, "a column that is empty now")
        found = student.call("psi", reference, [], bins)
        assert found is None, f"psi of an empty sample is None (unknown), not {found!r}"


def quiet_windows(rng, scales, n, grown=None, by=0.0):
    """Distances in n windows by column; the last two columns know each other; one may have grown by ``by`` sigmas."""
    names, table = list(scales), {name: [] for name in scales}
    for _ in range(n):
        draws = [rng.gauss(0, 1) for _ in names]
        draws[-1] = 0.9 * draws[-2] + math.sqrt(1 - 0.81) * draws[-1]
        for name, draw in zip(names, draws, strict=True):
            table[name].append(round(scales[name] * math.exp(0.6 * (draw + by * (name == grown))), 7))
    return table


def alarmed(table, limits):
    """Return the share of the windows in which any column is beyond its limit."""
    windows = list(zip(*(table[name] for name in limits), strict=True))
    most = [limits[name] for name in limits]
    return sum(any(map(float.__gt__, map(float, window), most)) for window in windows) / len(windows)


def some_limits(student, rng, weeks, checks):
    """Return the scales of drawn columns, and the student's limits for them."""
    names = rng.sample(["words", "links", "unknown", "capitals", "marks", "score", "verdict", "shared"], 5)
    scales = {name: 10 ** rng.uniform(-3, 0) for name in names}
    found = student.call("limits", quiet_windows(rng, scales, N_QUIET), weeks, checks, seconds=20.0)
    assert isinstance(found, dict) and set(found) == set(names), f"limits are asked for {names}, found {found!r}"
    for name, limit in found.items():
        right = type(limit) in (int, float) and math.isfinite(limit)
        assert right, f"the limit of {name} is {limit!r}; accepted: a finite number"
    return scales, {name: float(limit) for name, limit in found.items()}


N_QUIET, N_LATER = 2000, 6000


@worth("limits", 13, "All columns share one budget, and all checks of the weeks do: 1 / (weeks x checks per week).")
def test_quiet_time_rings_as_often_as_promised(student, rng):
    for weeks, checks in ((26, 1), (26, 7), (13, 1), (8, 2)):
        rate = 1 / (weeks * checks)
        scales, limits = some_limits(student, rng, weeks, checks)
        found = alarmed(quiet_windows(rng, scales, N_LATER), limits)
        # Both the quiet windows that limits are made of and those that are counted vary: 6.5 standard errors of both.
        spread = math.sqrt(rate * (1 - rate) * (1 / N_QUIET + 1 / N_LATER))
        most = rate + 6.5 * spread + 2 / N_QUIET
        assert found <= most, (
            f"one false alarm in {weeks} weeks of {checks} checks a week is {rate:.2%} of them; your limits raise "
            f"one in {found:.2%} of {N_LATER} quiet checks (up to {most:.2%} can be chance)"
        )


@worth(
    "limits", 12, "A limit that hardly ever rings keeps any budget, and notices nothing; each column has its own unit."
)
def test_each_column_that_grows_is_noticed(student, rng):
    for weeks, checks in ((4, 1), (13, 1), (26, 1)):
        scales, limits = some_limits(student, rng, weeks, checks)
        plain = statistics.NormalDist().inv_cdf(1 - 1 / (weeks * checks * len(scales))) + 1.28
        for name in scales:
            found = alarmed(quiet_windows(rng, scales, 1000, name, plain), limits)
            # With Bonferroni's limits nine in ten are beyond; 0.7 leaves five standard errors for what limits vary.
            assert found >= 0.7, (
                f"with one false alarm in {weeks} weeks: distances of {name} grew {math.exp(0.6 * plain):.1f}-fold, "
                f"and {found:.0%} of 1000 windows raised an alarm; limits that use their budget notice nine in ten"
            )


def some_comments(rng, n=200, now=500):
    comments = []
    for _ in range(n):
        created, judged = rng.randint(now - 300, now + 20), rng.random() < 0.7
        label = int(rng.random() < 0.4)
        wrong = rng.random() < 0.25
        after = rng.choice([0, 1, 24, rng.randint(0, 200)])
        comment = {"created": created, "verdict": label ^ wrong, "label": label, "labelled_at": created + after}
        comments.append(comment if judged else comment | {"label": None, "labelled_at": None})
    return comments


def known(comments, now, delay, least):
    """Return what the task says."""
    labels = [
        (one["label"], one["verdict"])
        for one in comments
        if now - one["created"] >= delay and one["labelled_at"] is not None and one["labelled_at"] <= now
    ]
    verdicts = [verdict for label, verdict in labels if label == 1]
    share = verdicts.count(0) / len(verdicts) if verdicts and len(verdicts) >= least else None
    return {"labelled": len(labels), "spam": len(verdicts), "missed": share}


def compare_late(student, comments, now, delay, least, rule):
    found, wanted = student.call("missed", comments, now, delay, least), known(comments, now, delay, least)
    assert isinstance(found, dict) and set(found) == set(wanted), f"missed gave {found!r}; accepted: {sorted(wanted)}"
    for name, right in wanted.items():
        told = found[name]
        same = told is None if right is None else type(told) in (int, float) and abs(told - right) < 1e-9
        assert same, f"{name} is {told!r}, expected {right!r} (now {now}, delay {delay}, least {least}): {rule}"


@worth("late", 10, "Only what had arrived by then, and only of comments that had the time to be judged.")
def test_only_labels_of_that_time_are_used(student, rng):
    for _ in range(25):
        now, delay = rng.randint(400, 520), rng.choice([0, 24, 72, rng.randint(1, 150)])
        compare_late(
            student, some_comments(rng), now, delay, 1, "which labels were known, of comments that are mature?"
        )
        edge = {"created": now - delay, "verdict": 0, "label": 1, "labelled_at": now}
        compare_late(student, [edge], now, delay, 1, "exactly old enough, and labelled at this moment: it counts")


@worth("late", 10, "Missed is a share of the spam; of too little spam nothing can be said, and silence is not ham.")
def test_too_little_is_unknown(student, rng):
    compare_late(student, [], 100, 24, 0, "without a comment there is no share")
    for _ in range(25):
        comments, now, delay = some_comments(rng, rng.randint(1, 150)), 500, rng.choice([24, 72])
        spam = known(comments, now, delay, 0)["spam"]
        for least in (0, max(0, spam - 1), spam, spam + 1):
            compare_late(student, comments, now, delay, least, "is there as much spam as asked for?")
        silent = [one | {"label": None, "labelled_at": None} for one in comments]
        compare_late(student, silent, now, delay, 0, "nothing was labelled")


def scraped(rng, every, n, rate, *, lost=0.0, restarts=0.0, late=0.2):
    """Samples of a counter; values are whole, times too. A share of the scrapes is lost, some come late."""
    samples, at, value = [], rng.randint(0, 1000), rng.randint(0, 5000)
    for _ in range(n):
        at += every + (rng.randint(1, every) if rng.random() < late else 0)
        value = rng.randint(0, 3) if rng.random() < restarts else value + (rng.randint(1, 2 * rate) if rate else 0)
        if rng.random() >= lost:
            samples.append([at, value])
    return samples


def seen(samples, start, end, every):
    """Return what the rules say."""
    inside = [one for one in samples if start <= one[0] <= end]
    pairs = [(a, b) for a, b in pairwise(inside) if b[0] - a[0] <= 2 * every]
    covered = sum(b[0] - a[0] for a, b in pairs)
    if covered * 10 < 8 * (end - start):
        return {"state": "unknown", "per_second": None}
    increase = sum(b[1] - a[1] if b[1] >= a[1] else b[1] for a, b in pairs)
    return {"state": "traffic" if increase else "no traffic", "per_second": increase / covered}


def compare_traffic(student, samples, start, end, every):
    found, wanted = student.call("traffic", samples, start, end, every), seen(samples, start, end, every)
    assert isinstance(found, dict) and set(found) == set(wanted), f"traffic gave {found!r}; accepted: {sorted(wanted)}"
    told, right = found["per_second"], wanted["per_second"]
    same = told is None if right is None else type(told) in (int, float) and abs(told - right) < 1e-9
    assert found["state"] == wanted["state"] and same, (
        f"traffic gave {found}, expected {wanted}, from {start} to {end}, scraped every {every} s: {samples}"
    )


@worth("traffic", 7, "Only connected neighbours count, for the increase and for the seconds.")
def test_gaps_are_unknown(student, rng):
    compare_traffic(student, [], 0, 100, 10)
    for _ in range(60):
        every, rate = rng.choice([5, 10, 15]), rng.choice([0, 4, 50])
        samples = scraped(rng, every, rng.randint(8, 30), rate, lost=rng.choice([0, 0.1, 0.3]))
        if samples:
            compare_traffic(student, samples, samples[0][0], samples[-1][0], every)
        gap = rng.randint(1, 4)
        left = [one for place, one in enumerate(samples) if not 3 <= place < 3 + gap]
        compare_traffic(student, left, samples[0][0] - every, samples[-1][0], every) if samples else None


@worth(
    "traffic",
    8,
    "A value that falls is a restart, its increase the new value; samples outside the window do not count.",
)
def test_restarts_and_windows(student, rng):
    for _ in range(60):
        every = rng.choice([5, 10, 15])
        samples = scraped(rng, every, rng.randint(12, 40), rng.choice([0, 4, 50]), restarts=0.15, late=0.1)
        begin, end = samples[rng.randint(0, 3)][0], samples[-rng.randint(1, 4)][0]
        compare_traffic(student, samples, begin, end, every)
        compare_traffic(student, samples, begin - rng.randint(0, every // 2), end + rng.randint(0, every // 2), every)


COLUMNS = ("words", "links", "score")
N_REFERENCE, N_WEEK = 600, 200


def a_week(rng, n=N_WEEK, *, crowd=0.01, of_spam=0.95, judged=0.7, longer=1.0, broken="", linked=0.2, crowd_links=2):
    """A week of independent comments; a share of them by a crowd that repeats itself, and is spam as a rule or not."""
    table = {name: [] for name in (*COLUMNS, "crowd", "label")}
    for _ in range(n):
        ours, spam = rng.random() < crowd, rng.random() < 0.3
        spam = rng.random() < of_spam if ours else spam
        words = rng.choice([6, 7, 7, 8]) if ours else int(longer * rng.lognormvariate(2.5, 0.6)) + 1
        links = crowd_links if ours else int(rng.random() < linked)
        score = rng.betavariate(6, 3) if ours or spam else rng.betavariate(2, 8)
        score = {"": score, "flat": 0.5, "inverted": 1 - score, "half": score / 2}[broken]
        label = int(spam) if rng.random() < judged else None
        for name, value in zip(table, (words, links, round(score, 9), int(ours), label), strict=True):
            table[name].append(value)
    return table


@lru_cache(maxsize=16)
def binned(reference):
    """Return how the package counts a column of a reference, and the counts; decided once for many weeks."""
    import pandas as pd

    bins = Bins.of(pd.Series(reference))
    return bins, bins.counts(pd.Series(reference))


def apart(reference, current):
    """Return the package's PSI, which the notebook offers as well."""
    import pandas as pd

    bins, counts = binned(tuple(reference))
    return float(COUNTED["psi"](counts, bins.counts(pd.Series(current))))


def beyond(reference, current, limits, rows):
    """Return the columns beyond their limits, and whether one is so near to it that rounding might decide."""
    factor, found, near = len(current["crowd"]) / len(rows), [], False
    for name in COLUMNS:
        ratio = apart(reference[name], [current[name][row] for row in rows]) / (factor * limits[name])
        near |= abs(ratio - 1) < CLOSE
        if ratio > 1:
            found.append(name)
    return found, near


def judged(reference, current, limits):
    """Return what the rules say; None where rounding might decide."""
    rows = range(len(current["crowd"]))
    if len(rows) < 30:
        return "unknown"
    moved, near = beyond(reference, current, limits, rows)
    if near:
        return None
    if not moved:
        return "nothing"
    crowd = [row for row in rows if current["crowd"][row]]
    rest = [row for row in rows if not current["crowd"][row]]
    usual = sum(reference["crowd"]) / len(reference["crowd"])
    if len(crowd) / len(rows) >= 0.05 and len(crowd) / len(rows) >= 2 * usual and len(rest) >= 30:
        left, near = beyond(reference, current, limits, rest)
        if near:
            return None
        if not left:
            labels = [current["label"][row] for row in crowd]
            return "benign shift" if labels.count(0) > labels.count(1) else "spam campaign"
    return "broken filter" if moved == ["score"] else "benign shift"


def a_reference(rng, crowd=0.01):
    """Return a reference and the limits for a week of N_WEEK rows, of one false alarm in 26 weeks."""
    limit = psi_limit(N_REFERENCE, N_WEEK, 11, 1 / 26 / 3)
    return a_week(rng, N_REFERENCE, crowd=crowd), dict.fromkeys(COLUMNS, limit)


def compare_judge(student, reference, current, limits, what):
    wanted = judged(reference, current, limits)
    if wanted is not None:
        found = student.call("judge", reference, current, limits)
        assert found == wanted, f"judge gave {found!r}, expected {wanted!r}: {what}"


@worth("judge", 8, "First: is there enough, and is anything beyond its limit at all? The limit is an argument.")
def test_quiet_weeks_are_left_alone(student, rng):
    reference, limits = a_reference(rng)
    n, false = 60, 0
    for _ in range(n):
        false += student.call("judge", reference, a_week(rng), limits) != "nothing"
    # The limits are those of independent rows at 1 / 26; the reference is shared by all weeks, which doubles the rate.
    most = too_many(n, 0.12)
    assert false < most, f"{false} of {n} quiet weeks were not 'nothing', with limits for one false alarm in 26 weeks"
    for crowd in (0.0, 0.5):
        small = a_week(rng, rng.randint(1, 29), crowd=crowd, broken="flat")
        compare_judge(student, reference, small, limits, f"{len(small['crowd'])} rows are too few to be judged")
    wide = dict.fromkeys(COLUMNS, 100.0)
    compare_judge(student, reference, a_week(rng, crowd=0.5), wide, "nothing is beyond its limit, crowd or not")
    tight = dict.fromkeys(COLUMNS, 1e-4)
    compare_judge(student, reference, a_week(rng, broken="half"), tight, "limits are an argument: these are tight")


@worth("judge", 9, "A crowd explains an alarm when the rest is quiet without it; whose labels say what the crowd is?")
def test_crowds_are_judged(student, rng):
    for usual in (0.0, 0.01, 0.2):
        reference, limits = a_reference(rng, crowd=usual)
        for share in (0.25, 0.45, 0.9):
            for of_spam in (0.03, 0.2, 0.95):
                week = a_week(rng, crowd=share, of_spam=of_spam, judged=rng.choice([0.1, 0.3, 1.0]))
                compare_judge(student, reference, week, limits, f"{share:.0%} of the comments are a crowd's")
            silent = a_week(rng, crowd=share, judged=0.0)
            compare_judge(student, reference, silent, limits, "nobody has judged the crowd yet: a campaign until then")
            half = a_week(rng, crowd=share, longer=3.0)
            compare_judge(student, reference, half, limits, "the crowd does not explain all of it")
            half = a_week(rng, crowd=share, broken="flat")
            compare_judge(student, reference, half, limits, "there is a crowd, and something else")
        for share in (0.15, 0.3) * 3:  # few enough that all comments together say the opposite
            for spam in (0, 1):
                week = a_week(rng, crowd=share)
                for row, ours in enumerate(week["crowd"]):
                    if week["label"][row] is not None:
                        week["label"][row] = spam if ours else 1 - spam
                compare_judge(student, reference, week, limits, "whose labels say what the crowd is?")

    for _ in range(5):
        reference, limits = a_week(rng, N_REFERENCE, crowd=0.09, crowd_links=0), a_reference(rng)[1]
        week = a_week(rng, crowd=0.13)
        compare_judge(student, reference, week, limits, "there is a crowd, but hardly more of it than in the reference")


@worth("judge", 8, "Only the score beyond its limit: the filter. What readers write beyond its limit: readers.")
def test_readers_are_told_from_the_filter(student, rng):
    for _ in range(2):
        reference, limits = a_reference(rng)
        for broken in ("flat", "inverted", "half"):
            compare_judge(student, reference, a_week(rng, broken=broken), limits, "only the scores changed")
            both = a_week(rng, broken=broken, longer=2.5)
            compare_judge(student, reference, both, limits, "words and scores changed")
        for longer, linked in ((2.5, 0.2), (1.0, 0.7), (0.4, 0.2), (2.0, 0.6)):
            shifted = a_week(rng, longer=longer, linked=linked)
            compare_judge(student, reference, shifted, limits, "readers write something else")
