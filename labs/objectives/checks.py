"""Judges submissions of the lab "objectives": inputs are drawn, results compared with a reference of its own."""

import math
import random
from fractions import Fraction
from itertools import accumulate
from typing import Any

from mlops_helpers.teach.grading_checks import Student, StudentError, worth
from mlops_helpers.teach.grading_judging import a_dictionary, close

ANSWERS = ((200, 50), (201, 30), (302, 4), (400, 4), (404, 6), (429, 5), (499, 2), (500, 4), (502, 3), (503, 3))


def events_of(rng: random.Random, n: int, limit: float) -> list[dict[str, float]]:
    """Draw events of every kind; some take exactly the limit, and errors are mostly fast."""
    codes, weights = zip(*ANSWERS, strict=True)
    drawn = []
    for status in [*codes, 200, *rng.choices(codes, weights, k=n)]:
        slow = rng.choice((0.1, 0.5, 1.0, 1.001, 3.0)) if status < 500 else rng.choice((0.01, 0.2))
        drawn.append({"status": status, "seconds": limit * slow})
    drawn[10]["seconds"] = limit
    rng.shuffle(drawn)
    return drawn


def asked_indicators(student: Student, events: list[dict[str, float]], limit: float) -> dict[str, Any]:
    """Return the student's indicators."""
    return a_dictionary(student.call("indicators", events, limit), {"valid", "availability", "latency"}, "indicators")


@worth("indicators", 10, "Valid is every event whose status is not 400 to 499; available is a valid one below 500.")
def test_valid_and_available(student: Student, rng: random.Random) -> None:
    for _ in range(4):
        events = events_of(rng, rng.randint(60, 150), 0.3)
        got = asked_indicators(student, events, 0.3)
        valid = [event for event in events if event["status"] // 100 != 4]
        ours = sum(event["status"] >= 500 for event in valid)
        assert close(got["valid"], len(valid)), (
            "valid is the number of events that the reader did not get wrong (not 400 to 499)"
        )
        assert close(got["availability"], 1 - ours / len(valid)), (
            "availability: of the valid events, the share with a status below 500"
        )


@worth("indicators", 10, "A fast error is a bad event; exactly the limit is in time; a share of nothing is None.")
def test_in_time_and_nothing_known(student: Student, rng: random.Random) -> None:
    for limit in (0.25, 0.5, 2.0):
        events = events_of(rng, rng.randint(60, 150), limit)
        valid = [event for event in events if event["status"] // 100 != 4]
        served = sum(event["status"] < 500 and event["seconds"] <= limit for event in valid)
        got = asked_indicators(student, events, limit)
        assert close(got["latency"], served / len(valid)), (
            "latency: of the valid events, the share that was answered without an error of ours, and within the limit"
        )
    for events in ([], [{"status": rng.randint(400, 499), "seconds": 0.1} for _ in range(3)]):
        got = asked_indicators(student, events, 0.25)
        assert got["valid"] == 0 and got["availability"] is None and got["latency"] is None, (
            "without valid events shares are None"
        )
    errors = asked_indicators(student, [{"status": 500, "seconds": 0.001}] * rng.randint(2, 9), 0.25)
    assert errors["availability"] == 0 and errors["latency"] == 0, (
        "with errors only, both shares are 0: nobody was served"
    )


ACCOUNT = {"allowed", "spent", "remaining", "events_left"}


def asks_budget(student: Student, bad: int, total: int, target: str) -> None:
    """Judge one account."""
    got = a_dictionary(student.call("budget", total - bad, total, float(target)), ACCOUNT, "budget")
    allowed = (1 - Fraction(target)) * total
    wanted = {"allowed": allowed, "spent": bad / allowed, "remaining": 1 - bad / allowed, "events_left": allowed - bad}
    said = {
        "allowed": "allowed is 1 - target of all events",
        "spent": "spent is the bad events as a share of those that are allowed; it may be above 1",
        "remaining": "remaining is 1 - spent, below 0 when the budget is overdrawn",
        "events_left": "events_left is what is allowed without what was bad, below 0 when the budget is overdrawn",
    }
    for name, text in said.items():
        exact = float(wanted[name])
        assert close(got[name], exact, 1e-6 * max(1.0, abs(exact))), f"{text}; do not round"


@worth("budget", 12, "Of a target of 0.99, 1 % of all events is the budget; spent is a share of that.")
def test_an_account(student: Student, rng: random.Random) -> None:
    for target in ("0.9", "0.95", "0.99", "0.995", "0.999", "0.9999"):
        total = rng.randint(20_000, 900_000)
        allowed = int((1 - Fraction(target)) * total)
        asks_budget(student, rng.randint(1, max(1, allowed)), total, target)


@worth("budget", 8, "What is overdrawn is said with a minus; without events nothing is known.")
def test_overdrawn_unused_and_unknown(student: Student, rng: random.Random) -> None:
    total = rng.randint(10_000, 50_000)
    asks_budget(student, rng.randint(total // 20, total // 3), total, "0.99")
    asks_budget(student, 0, total, "0.999")
    asks_budget(student, total, total, "0.9")
    got = a_dictionary(student.call("budget", 0, 0, 0.999), ACCOUNT, "budget")
    assert got["spent"] is None and got["remaining"] is None, "without events nobody knows what is spent: None"
    assert close(got["allowed"], 0) and close(got["events_left"], 0), "without events none may be bad: 0.0"


BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, math.inf)


def buckets(rng: random.Random, n: int, fast: float) -> list[list[float]]:
    """Draw the cumulative histogram of a replica with n requests."""
    places = [min(len(BOUNDS) - 1, int(rng.expovariate(fast))) for _ in range(n)]
    counts = accumulate(places.count(place) for place in range(len(BOUNDS)))
    return [[bound, count] for bound, count in zip(BOUNDS, counts, strict=True)]


def asks_percentile(student: Student, replicas: list[list[list[float]]], share: float) -> None:
    """Judge one percentile."""
    added: dict[float, float] = {}
    for one in replicas:
        for bound, count in one:
            added[bound] = added.get(bound, 0) + count
    total = added.get(math.inf, 0)
    wanted = min((bound for bound, count in added.items() if count >= share * total), default=None) if total else None
    got = student.call("percentile", replicas, share)
    if wanted is None:
        assert got is None, f"without requests there is no percentile: None was asked for, not {got!r}"
    else:
        assert type(got) in (int, float), f"a bound was asked for, not {got!r}"
        assert got == wanted, (
            f"{got} is not the lowest bound within which {share:g} of ALL requests were answered: add counts"
        )


@worth("percentile", 12, "Add the counts of each bound over the replicas; they are cumulative already.")
def test_replicas_of_different_size_and_speed(student: Student, rng: random.Random) -> None:
    for share in (0.50013, 0.75007, 0.90103, 0.95301, 0.98707):
        busy = buckets(rng, rng.randint(300, 900), 1.0)
        slow = buckets(rng, rng.randint(20, 120), 0.25)
        asks_percentile(student, rng.sample([busy, slow, buckets(rng, 60, 2.0)], 3), share)
    asks_percentile(student, [buckets(rng, 900, 3.0), buckets(rng, 40, 0.2)], 0.5)
    asks_percentile(student, [buckets(rng, 40, 0.2), buckets(rng, 900, 3.0)], 0.5)


@worth("percentile", 8, "At least the share is enough; the last bound is infinite; without requests it is None.")
def test_exact_shares_infinity_and_nothing(student: Student, rng: random.Random) -> None:
    n = 8 * rng.randint(5, 30)
    halves = [[0.1, n // 2], [0.4, n // 2], [1.0, 3 * n // 4], [math.inf, n]]
    for share in (0.5, 0.75, 0.875, 1.0):
        asks_percentile(student, [halves], share)
        asks_percentile(student, [halves, halves], share)
    idle = [[bound, 0] for bound, _ in halves]
    asks_percentile(student, [idle, halves], 0.5)
    asks_percentile(student, [idle, idle], 0.9)
    asks_percentile(student, [], 0.9)


Rule = tuple[str, float, int, int]
WORKBOOK: list[Rule] = [("page 14.4x", 14.4, 60, 5), ("page 6x", 6.0, 360, 30), ("ticket 1x", 1.0, 4320, 360)]


def fires_first(minutes: list[list[int]], target: str, rules: list[Rule]) -> tuple[str, int] | None:
    """Return what is right for question first_alert."""
    bad, total = ([0, *accumulate(minute[i] for minute in minutes)] for i in (0, 1))
    allowed = 1 - Fraction(target)
    for end in range(1, len(minutes) + 1):
        for name, rate, *lengths in rules:
            starts = [max(0, end - length) for length in lengths]
            if all(bad[end] - bad[s] > Fraction(str(rate)) * allowed * (total[end] - total[s]) for s in starts):
                return name, end - 1
    return None


def asks_alert(student: Student, minutes: list[list[int]], target: str, rules: list[Rule], what: str) -> None:
    """Judge one series."""
    wanted = fires_first(minutes, target, rules)
    got = student.call("first_alert", minutes, float(target), [list(rule) for rule in rules], seconds=30)
    if wanted is None:
        assert got is None, f"{what}: no rule ever fires, so None was asked for, not {got!r}"
        return
    assert got is not None, f"{what}: a rule fires, and None came"
    assert isinstance(got, list) and len(got) == 2, f"{what}: a pair of a name and a minute was asked for, not {got!r}"
    assert got[0] == wanted[0], f"{what}: {got[0]} is not the rule that fires first"
    assert type(got[1]) is int, f"{what}: the minute is a whole number, not {got[1]!r}"
    assert got[1] == wanted[1], f"{what}: the rule is right, but fires {'earlier' if wanted[1] < got[1] else 'later'}"


def scaled(rng: random.Random) -> list[Rule]:
    """Draw rules like the workbook's, with shorter windows, so that series stay short."""
    by = rng.choice((4, 5, 6))
    return [
        (name + " " + rng.choice("abc"), rate, max(12, long // by), max(3, short // by))
        for name, rate, long, short in WORKBOOK[:2]
    ] + [("ticket " + rng.choice("abc"), 1.0, 240, 60)]


def minutes_of(rng: random.Random, n: int, share: float, traffic: int = 1000) -> list[list[int]]:
    """Draw minutes with about this share of bad events."""
    totals = [rng.randint(traffic // 2, traffic) for _ in range(n)]
    return [[min(total, int(total * share + rng.random())), total] for total in totals]


@worth("first_alert", 8, "Both windows must be above; a window at minute t is t and those before it.")
def test_failures_of_every_speed(student: Student, rng: random.Random) -> None:
    for target, share in (("0.999", 0.3), ("0.999", 0.0091), ("0.99", 0.09), ("0.99", 0.03), ("0.95", 0.9)):
        rules = scaled(rng)
        series = minutes_of(rng, rng.randint(250, 300), 0.0) + minutes_of(rng, 150, share)
        asks_alert(student, series, target, rules, "calm, then a failure")


@worth("first_alert", 6, "A hiccup calls nobody: the short window is above for a moment, the long one is not.")
def test_hiccups_and_old_failures(student: Student, rng: random.Random) -> None:
    rules = [("page", 14.4, 60, 5), ("slow", 6.0, 120, 30)]
    calm = minutes_of(rng, 130, 0.0)
    asks_alert(student, [*calm, [rng.randint(150, 400), 1000], *calm], "0.999", rules, "a single bad minute")
    long = rng.randint(40, 80)
    for nearly in (-7, 7):
        bad = round(14.4 * long) + nearly
        failing = [[bad // 2, 1000], [bad - bad // 2, 1000], *[[400, 1000]] * 5]
        asks_alert(
            student,
            [[0, 1000]] * 90 + failing,
            "0.999",
            [("page", 14.4, long, 5)],
            "enough, or not yet, within the long window",
        )
    fading = [*calm, [100, 300], *[[0, 0]] * 10, *minutes_of(rng, 20, 0.0, 40), *minutes_of(rng, 40, 0.018, 20)]
    asks_alert(student, fading, "0.999", rules, "a failure that is over")
    over = [*minutes_of(rng, 3, 0.9, 20), *[[0, 0]] * rng.randint(60, 70), *minutes_of(rng, 8, 0.0, 10)]
    asks_alert(
        student, [*minutes_of(rng, 60, 0.0, 10_000), *over], "0.99", rules, "a short failure with little traffic"
    )
    asks_alert(student, minutes_of(rng, 400, 0.0005), "0.999", rules, "half of the allowed errors")


@worth("first_alert", 6, "At the beginning windows are short; a minute may have no events; the first rule wins a tie.")
def test_beginnings_silence_and_ties(student: Student, rng: random.Random) -> None:
    rules = scaled(rng)
    asks_alert(student, minutes_of(rng, 30, 0.2), "0.99", rules, "a failure from the first minute on")
    asks_alert(student, minutes_of(rng, 30, 0.2), "0.99", rules[::-1], "the rules in another order")
    asks_alert(student, [[0, 0]] * 20 + minutes_of(rng, 5, 0.5), "0.999", rules, "silence, then a failure")
    asks_alert(student, [[0, 0]] * rng.randint(5, 20), "0.999", rules, "silence")
    asks_alert(student, [], "0.999", rules, "no minutes")
    busy_and_quiet = [[0, 1000] if i % 2 else [1, 1] for i in range(100)]
    asks_alert(student, busy_and_quiet, "0.999", rules, "quiet minutes fail, busy ones do not")
    late = [("slow to see", 2.0, 5, 2), ("urgent", 14.4, 60, 5)]
    asks_alert(
        student,
        minutes_of(rng, 80, 0.0) + minutes_of(rng, 30, 0.005),
        "0.999",
        late[::-1],
        "a less urgent rule fires first",
    )
    asks_alert(
        student, minutes_of(rng, 80, 0.0) + minutes_of(rng, 60, 0.05), "0.999", late[::-1], "both fire, one later"
    )


ALWAYS = ("emergency fix", "security")
USUALLY = ("feature", "fix", "configuration", "model")


def decided(
    student: Student, remaining: float | None, change: str, incidents: dict[str, float | None]
) -> dict[str, Any]:
    """Return the student's decision."""
    got = a_dictionary(student.call("decide", remaining, change, incidents), {"ships", "postmortems"}, "decide")
    assert type(got["ships"]) is bool, f"ships is True or False, not {got['ships']!r}"
    return got


@worth("decide", 8, "Only emergency fixes and security changes ship without a budget, or with an unknown one.")
def test_what_ships(student: Student, rng: random.Random) -> None:
    for remaining in (round(rng.uniform(0.01, 1), 3), 0.0, -round(rng.uniform(0.1, 5), 2), None):
        for change in rng.sample(ALWAYS + USUALLY, 6):
            wanted = change in ALWAYS or (remaining is not None and remaining > 0)
            got = decided(student, remaining, change, {})["ships"]
            assert got == wanted, f"with {remaining} of the budget remaining, {change} {'ships' if wanted else 'waits'}"


@worth("decide", 6, "More than a fifth, or unknown; an incident that spent nothing needs no postmortem.")
def test_which_incidents_are_written_up(student: Student, rng: random.Random) -> None:
    for _ in range(5):
        spent: list[float | None] = [None, 0.0, 0.2, 0.1999, 0.2001, rng.uniform(0.3, 3), rng.uniform(0, 0.19)]
        names = ["".join(rng.choice("abcdefgh") for _ in range(5)) + str(i) for i in range(len(spent))]
        rng.shuffle(spent)
        incidents = dict(zip(rng.sample(names, len(names)), spent, strict=True))
        wanted = sorted(name for name, share in incidents.items() if share is None or share > 0.2)
        got = decided(student, 0.5, rng.choice(USUALLY), incidents)["postmortems"]
        assert isinstance(got, list) and sorted(map(str, got)) == wanted, (
            "postmortems are of incidents above a fifth, or of unknown spend"
        )
        assert got == wanted, "the names are to be sorted"


@worth("decide", 6, "raise ValueError(...) for an unknown kind, and say in the message what is accepted.")
def test_an_unknown_change_is_refused(student: Student, rng: random.Random) -> None:
    for change in ("hotfix", "".join(rng.choice("abcdefgh") for _ in range(7)), "Feature", ""):
        for remaining in (0.5, None):
            try:
                student.call("decide", remaining, change, {})
            except StudentError as error:
                assert error.raised == "ValueError", (
                    f"an unknown change is refused with a ValueError; what came: {error}"
                )
                missing = [kind for kind in ALWAYS + USUALLY if kind not in str(error)]
                assert not missing, "the message of the ValueError must name every kind that is accepted"
            else:
                raise AssertionError("a change of an unknown kind must be refused with a ValueError")
