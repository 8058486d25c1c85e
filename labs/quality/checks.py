"""Judges submissions of the lab "quality": inputs are drawn, results compared with a reference of its own."""

import math
import random
from collections import Counter
from typing import Any

from mlops_helpers.deploy.noninferiority import lower_bound
from mlops_helpers.teach.grading_checks import Student, worth
from mlops_helpers.teach.grading_judging import a_dictionary, close, is_number


def verdicts_of(rng: random.Random, n: int, spam: float, caught: float, blocked: float) -> tuple[list[int], list[int]]:
    """Draw labels, and verdicts of a filter that catches and blocks these shares."""
    labels = [int(rng.random() < spam) for _ in range(n)]
    return labels, [int(rng.random() < (caught if label else blocked)) for label in labels]


JUDGED = {"tp", "fn", "fp", "tn", "accuracy", "recall", "precision", "mcc"}


def judged(labels: list[int], verdicts: list[int]) -> dict[str, float | None]:
    """Return what is right for question judge."""
    counts = Counter(zip(labels, verdicts, strict=True))
    tp, fn, fp, tn = counts[1, 1], counts[1, 0], counts[0, 1], counts[0, 0]
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return {
        "tp": tp,
        "fn": fn,
        "fp": fp,
        "tn": tn,
        "accuracy": (tp + tn) / len(labels) if labels else None,
        "recall": tp / (tp + fn) if tp + fn else None,
        "precision": tp / (tp + fp) if tp + fp else None,
        "mcc": (tp * tn - fp * fn) / math.sqrt(product) if product else 0.0,
    }


@worth("judge", 6, "Count the pairs (label, verdict): fn is spam (1) that was called ham (0).")
def test_the_four_counts(student: Student, rng: random.Random) -> None:
    for _ in range(5):
        labels, verdicts = verdicts_of(rng, rng.randint(40, 120), 0.3, 0.7, 0.1)
        labels, verdicts = [*labels, 1, 1, 1, 0, 0], [*verdicts, 0, 0, 0, 1, 1]
        got, wanted = a_dictionary(student.call("judge", labels, verdicts), JUDGED, "judge"), judged(labels, verdicts)
        for name in ("tp", "fn", "fp", "tn"):
            assert is_number(got[name]) and got[name] == wanted[name], f"{name} is not the number of such comments"


@worth("judge", 8, "Recall divides by what IS spam, precision by what is CALLED spam, accuracy by all comments.")
def test_shares_and_correlation(student: Student, rng: random.Random) -> None:
    for spam, caught, blocked in ((0.5, 0.9, 0.1), (0.1, 0.5, 0.02), (0.3, 0.4, 0.6)):
        labels, verdicts = verdicts_of(rng, rng.randint(150, 300), spam, caught, blocked)
        labels, verdicts = [*labels, 1, 1, 0, 0, 0], [*verdicts, 1, 0, 1, 0, 0]
        got, wanted = a_dictionary(student.call("judge", labels, verdicts), JUDGED, "judge"), judged(labels, verdicts)
        said = {
            "accuracy": "accuracy is of all comments: the share that is judged rightly",
            "recall": "recall is of spam: of the comments that ARE spam, the share that is called spam",
            "precision": "precision is of verdicts: of the comments that are CALLED spam, the share that is spam",
            "mcc": "mcc is not what its formula gives; do not round it",
        }
        for name, text in said.items():
            assert close(got[name], wanted[name]), text


@worth("judge", 6, "Look at what you divide by: each of the sums can be 0 for a small or a one-sided list.")
def test_nothing_to_divide_by(student: Student, rng: random.Random) -> None:
    n = rng.randint(3, 9)
    cases = {
        "ham only, none of it called spam": ([0] * n, [0] * n),
        "spam only, all of it caught": ([1] * n, [1] * n),
        "ham only, all of it called spam": ([0] * n, [1] * n),
        "no comment at all": ([], []),
    }
    for what, (labels, verdicts) in cases.items():
        got, wanted = a_dictionary(student.call("judge", labels, verdicts), JUDGED, "judge"), judged(labels, verdicts)
        for name in ("accuracy", "recall", "precision", "mcc"):
            assert close(got[name], wanted[name]), (
                f"{what}: {name} is {got[name]!r}; a share of nothing is None, and mcc without one of its sums is 0.0"
            )


def threshold_for(labels: list[int], scores: list[float], most_blocked: float) -> float | None:
    """Return what is right for question choose_threshold."""
    ham = [score for label, score in zip(labels, scores, strict=True) if label == 0]
    keeping = [t for t in scores if not ham or sum(s >= t for s in ham) / len(ham) <= most_blocked]
    return min(keeping, default=None)


def scored(rng: random.Random, n_ham: int, n_spam: int, digits: int) -> tuple[list[int], list[float]]:
    """Draw labels in mixed order, and scores that are higher for spam; few digits make ties."""
    labels = [0] * n_ham + [1] * n_spam
    rng.shuffle(labels)
    return labels, [round(rng.betavariate(5, 2) if label else rng.betavariate(2, 5), digits) for label in labels]


def asks_threshold(student: Student, labels: list[int], scores: list[float], most_blocked: float, what: str) -> None:
    """Judge one answer."""
    got, wanted = (
        student.call("choose_threshold", labels, scores, most_blocked),
        threshold_for(labels, scores, most_blocked),
    )
    if wanted is None:
        assert got is None, f"{what}: no score keeps the promise, so None was asked for, not {got!r}"
        return
    assert is_number(got), f"{what}: {got!r} came; one of the scores was asked for"
    ham = [score for label, score in zip(labels, scores, strict=True) if label == 0]
    share = sum(score >= got for score in ham) / len(ham) if ham else 0.0
    assert share <= most_blocked, f"{what}: the threshold blocks a larger share of the ham than was promised"
    assert got in scores, f"{what}: the threshold is none of the scores"
    assert got <= wanted, f"{what}: the promise is kept, but a lower score keeps it, too, and catches more spam"
    assert got == wanted, f"{what}: this is not the lowest of the scores that keeps the promise"


@worth("choose_threshold", 10, "Divide by the number of ham; blocked is whoever has at least the threshold.")
def test_the_lowest_score_that_keeps_the_promise(student: Student, rng: random.Random) -> None:
    for _ in range(6):
        labels, scores = scored(rng, rng.randint(60, 90), rng.randint(30, 90), 3)
        bound = (rng.randint(2, 20) + 0.5) / labels.count(0)
        asks_threshold(student, labels, scores, bound, "with mixed scores")


@worth(
    "choose_threshold", 10, "Ties, exactly the promised share, no ham, no spam, nothing at all: all stand in the text."
)
def test_ties_and_ends(student: Student, rng: random.Random) -> None:
    for _ in range(4):
        labels, scores = scored(rng, 64, rng.randint(10, 60), 1)
        asks_threshold(student, labels, scores, (rng.randint(2, 40) + 0.5) / 64, "with many equal scores")
    labels, scores = scored(rng, 64, 40, 6)
    asks_threshold(student, labels, scores, rng.randint(4, 16) / 64, "with exactly the promised share")
    high = [0.9] * rng.randint(3, 6)
    asks_threshold(student, [0] * len(high), high, 0.3, "where all ham has one score")
    asks_threshold(student, [0, 0, 0, 0, 1], [0.2, 0.3, 0.4, 0.5, 0.7], 0.0, "where no ham may be blocked")
    asks_threshold(student, [1] * 5, [round(rng.random(), 3) for _ in range(5)], 0.1, "without ham")
    asks_threshold(student, [], [], 0.1, "without comments")


def slices_of(rng: random.Random, sizes: dict[str, tuple[int, int, int]]) -> list[dict[str, object]]:
    """Return mixed rows of slices: (ham blocked, ham, spam) each."""
    rows: list[dict[str, object]] = []
    for name, (blocked, ham, spam) in sizes.items():
        rows += [{"slice": name, "label": 0, "verdict": int(i < blocked)} for i in range(ham)]
        rows += [{"slice": name, "label": 1, "verdict": int(rng.random() < 0.9)} for _ in range(spam)]
    rng.shuffle(rows)
    return rows


def wilson(k: int, n: int) -> tuple[float, float]:
    """Return Wilson's interval for k of n."""
    z = 1.959964
    centre, reach = k + z * z / 2, z * math.sqrt(k * (n - k) / n + z * z / 4)
    return (centre - reach) / (n + z * z), (centre + reach) / (n + z * z)


def asked_slices(
    student: Student, rng: random.Random, sizes: dict[str, tuple[int, int, int]], limit: float, least: int
) -> dict[str, Any]:
    """Return the student's table of these slices."""
    got = a_dictionary(student.call("judge_slices", slices_of(rng, sizes), limit, least), set(sizes), "judge_slices")
    assert set(got) == set(sizes), "judge_slices returned slices that do not occur in the rows"
    keys = {"ham", "blocked", "low", "high", "verdict"}
    return {name: a_dictionary(got[name], keys, f"judge_slices for {name}") for name in sizes}


def name_of(rng: random.Random) -> str:
    """Draw the name of a slice."""
    return "".join(rng.choice("abcdefghijkl") for _ in range(6))


@worth("judge_slices", 10, "Only ham counts. Check your interval: 0 of 5 reaches from 0 to 0.434.")
def test_counts_and_intervals(student: Student, rng: random.Random) -> None:
    for _ in range(3):
        drawn = [(rng.randint(0, n // 3), n, rng.randint(5, 40)) for n in (rng.randint(4, 60), rng.randint(60, 200))]
        sizes = {name_of(rng) + str(i): one for i, one in enumerate([*drawn, (0, rng.randint(5, 9), 10)])}
        for name, one in asked_slices(student, rng, sizes, 0.1, 15).items():
            blocked, ham, _ = sizes[name]
            assert one["ham"] == ham, "ham is the number of honest comments of the slice: spam does not count"
            assert one["blocked"] == blocked, "blocked is the number of honest comments that were called spam"
            low, high = wilson(blocked, ham)
            assert close(one["low"], low, 5e-4) and close(one["high"], high, 5e-4), (
                "low and high are not Wilson's 95 % interval"
            )


@worth(
    "judge_slices",
    10,
    "First ask whether there is enough ham, then compare the interval, not the share, with the limit.",
)
def test_verdicts(student: Student, rng: random.Random) -> None:
    least = rng.randint(20, 40)
    sizes = {
        "worse": (rng.randint(60, 90), 300, 12),
        "fine": (rng.randint(0, 3), 400, 200),
        "undecided": (rng.randint(5, 8), 60, 30),
        "enough": (0, least, 0),
        "few": (least - 1, least - 1, 9),
        "spam_only": (0, 0, 8),
    }
    wanted = {
        "worse": ("worse", "a slice whose whole interval lies above the limit is worse"),
        "fine": ("fine", "a slice whose interval ends below the limit is fine"),
        "undecided": (
            "not decided",
            "an interval with the limit in it decides nothing, whichever side the share is on",
        ),
        "enough": ("not decided", "exactly `least` honest comments are enough to be judged"),
        "few": ("too few", "a slice with less than `least` honest comments is not judged, however bad it looks"),
        "spam_only": ("too few", "a slice that occurs without ham has too few"),
    }
    got = asked_slices(student, rng, sizes, 0.08, least)
    for name, (verdict, text) in wanted.items():
        assert got[name]["verdict"] == verdict, f"{text}; {got[name]['verdict']!r} came"
    assert got["spam_only"]["low"] is None and got["spam_only"]["high"] is None, (
        "without ham there is no interval: None"
    )


WORDS = (
    "song",
    "love",
    "video",
    "great",
    "day",
    "sister",
    "music",
    "winter",
    "train",
    "phone",
    "friend",
    "river",
    "never",
)


def rows_of(rng: random.Random, n: int) -> list[dict[str, object]]:
    """Draw comments in no order, many of them copies of others in another dress."""
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(4, 7))) for _ in range(n // 2)]
    dresses = (
        str.upper,
        str.title,
        lambda t: t + "!!!",
        lambda t: t.replace(" ", ", "),
        lambda t: t.replace(" ", "  "),
        str,
    )
    return [
        {"id": f"c{number}", "day": rng.randint(0, 20), "text": rng.choice(dresses)(rng.choice(texts))}
        for number in rng.sample(range(1000), n)
    ]


def same(text: str) -> str:
    """Return the letters and digits of a text."""
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def asks_split(student: Student, rows: list[dict[str, Any]], at: int) -> None:
    """Judge one answer."""
    got = a_dictionary(student.call("split", rows, at, seconds=20), {"train", "test", "dropped"}, "split")
    for name, ids in got.items():
        assert isinstance(ids, list) and all(isinstance(one, str) for one in ids), f"{name} is not a list of ids"
    early = [row["id"] for row in rows if row["day"] < at]
    known = {same(row["text"]) for row in rows if row["day"] < at}
    copies = [row["id"] for row in rows if row["day"] >= at and same(row["text"]) in known]
    fresh = [row["id"] for row in rows if row["day"] >= at and same(row["text"]) not in known]
    assert not set(got["test"]) & set(copies), "a comment of the test is the same, to a reader, as one in train"
    assert set(got["train"]) == set(early), (
        "train is exactly the comments before the day, copies of each other among them"
    )
    assert set(got["dropped"]) == set(copies), "dropped is exactly the later comments that are the same as one in train"
    assert set(got["test"]) == set(fresh), "test is the later comments that train does not have; copies within it stay"
    assert (got["train"], got["test"], got["dropped"]) == (early, fresh, copies), (
        "the ids are not in the order of the rows, or doubled"
    )


@worth("split", 10, "Collect the keys of train first; rows come in no particular order.")
def test_no_comment_on_both_sides(student: Student, rng: random.Random) -> None:
    for _ in range(4):
        asks_split(student, rows_of(rng, 24), rng.randint(8, 12))


@worth("split", 10, "Day `at` itself belongs to the test. Look at copies that lie on one side only.")
def test_borders_and_copies_of_one_side(student: Student, rng: random.Random) -> None:
    at = rng.randint(5, 15)
    texts = [" ".join(rng.sample(WORDS, 5)) for _ in range(4)]
    days = [at, at + 3, at - 1, at - 2, at, at + 1, at - 1]
    which = [0, 0, 1, 1, 2, 1, 3]
    rows = [
        {"id": f"r{i}", "day": day, "text": texts[j].title()}
        for i, (day, j) in enumerate(zip(days, which, strict=True))
    ]
    asks_split(student, rows, at)
    asks_split(student, rows, 0)
    asks_split(student, rows, 99)
    asks_split(student, [], at)


def compared(labels: list[int], champion: list[int], challenger: list[int], margin: float) -> dict[str, Any]:
    """Return what is right for question may_replace."""
    sides: dict[str, Any] = {}
    for name, label in (("spam", 1), ("ham", 0)):
        rows = [i for i, one in enumerate(labels) if one == label]
        gained = sum(champion[i] != label and challenger[i] == label for i in rows)
        lost = sum(champion[i] == label and challenger[i] != label for i in rows)
        low = lower_bound(len(rows), gained, lost) if rows else None
        sides[name] = {"n": len(rows), "gained": gained, "lost": lost, "low": low}
    shown = [side["low"] is not None and side["low"] > -margin for side in sides.values()]
    return {**sides, "release": all(shown)}


def asks_replacement(student: Student, rows: list[tuple[int, int, int]], margin: float, what: str) -> None:
    """Judge one answer; a row is label, champion's verdict, challenger's verdict."""
    labels, champion, challenger = ([row[i] for row in rows] for i in range(3))
    got = a_dictionary(
        student.call("may_replace", labels, champion, challenger, margin), {"spam", "ham", "release"}, "may_replace"
    )
    wanted = compared(labels, champion, challenger, margin)
    for side in ("spam", "ham"):
        one = a_dictionary(got[side], {"n", "gained", "lost", "low"}, f"may_replace for {side}")
        assert one["n"] == wanted[side]["n"], f"{what}: n of {side} counts the comments with that label"
        assert one["gained"] == wanted[side]["gained"], f"{what}: gained is what the challenger alone judges rightly"
        assert one["lost"] == wanted[side]["lost"], f"{what}: lost is what the champion alone judges rightly"
        assert close(one["low"], wanted[side]["low"], 1e-4), (
            f"{what}: low is lower_bound(n, gained, lost) of the class, or None"
        )
    assert type(got["release"]) is bool, f"{what}: release is True or False"
    assert got["release"] == wanted["release"], f"{what}: release should be {wanted['release']}"


def rows_with(rng: random.Random, spam: tuple[int, int, int], ham: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """Return mixed rows: of each class n comments, so many gained, so many lost; the models agree on the others."""
    rows = []
    for label, (n, gained, lost) in ((1, spam), (0, ham)):
        alike = [rng.random() < 0.9 for _ in range(n - gained - lost)]
        rows += [(label, 1 - label, label)] * gained + [(label, label, 1 - label)] * lost
        rows += [(label, label, label) if right else (label, 1 - label, 1 - label) for right in alike]
    rng.shuffle(rows)
    return rows


@worth(
    "may_replace", 8, "Take the comments of one class by their label, and ask of each which of the two models is right."
)
def test_gained_and_lost_by_class(student: Student, rng: random.Random) -> None:
    for _ in range(4):
        sides = [(rng.randint(80, 200), rng.randint(0, 15), rng.randint(0, 15)) for _ in range(2)]
        asks_replacement(student, rows_with(rng, *sides), 0.05, "with comments of both classes")


@worth("may_replace", 12, "The bound decides, not the difference; both classes must be shown to be not worse.")
def test_the_decision(student: Student, rng: random.Random) -> None:
    few = rng.randint(2, 4)
    asks_replacement(student, rows_with(rng, (400, 2, 2), (400, 3, 2)), 0.02, "nearly the same on many comments")
    asks_replacement(student, rows_with(rng, (300, 30, 1), (300, 0, 20)), 0.02, "better on spam, worse on ham")
    asks_replacement(student, rows_with(rng, (300, 0, 20), (300, 30, 1)), 0.02, "better on ham, worse on spam")
    asks_replacement(student, rows_with(rng, (few, 0, 0), (few, 0, 0)), 0.05, "on a handful of comments")
    asks_replacement(
        student, rows_with(rng, (80, 3, 3), (80, 3, 3)), 0.02, "where the difference is 0 and little is known"
    )
    asks_replacement(student, rows_with(rng, (300, 9, 1), (0, 0, 0)), 0.05, "without ham")
    asks_replacement(student, rows_with(rng, (0, 0, 0), (300, 9, 1)), 0.05, "without spam")
