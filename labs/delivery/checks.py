"""Checks of the lab on delivery gates and canaries; they run in the grader's process and see data only."""

import math
from hashlib import blake2b

from mlops_helpers.teach.grading_checks import worth
from mlops_helpers.teach.grading_judging import too_many

CLOSE = 1e-9


def a_pipeline(rng, says):
    """Stages whose needs are met in some order, shuffled; one that needs another may stand before it."""
    names = rng.sample([f"stage-{letter}" for letter in "abcdefghijkl"], rng.randint(4, 9))
    stages = []
    for place, name in enumerate(names):
        needs = [other for other in names[:place] if rng.random() < 0.3]
        stages.append({"name": name, "needs": needs, "says": rng.choice(says)})
    rng.shuffle(stages)
    return stages


def gates(stages):
    """Return what the rules say."""
    ran = []
    while len(ran) < len(stages):
        left = [stage for stage in stages if stage["name"] not in ran]
        able = [stage for stage in left if all(need in ran for need in stage["needs"])]
        if not able:
            return {"ran": ran, "stopped_by": left[0]["name"], "deploys": False}
        ran.append(able[0]["name"])
        if able[0]["says"] != "passed":
            return {"ran": ran, "stopped_by": ran[-1], "deploys": False}
    return {"ran": ran, "stopped_by": None, "deploys": len(stages) > 0}


def compare_gates(student, stages, rule):
    found, wanted = student.call("run_gates", stages), gates(stages)
    assert isinstance(found, dict) and set(found) == set(wanted), (
        f"run_gates gave {found!r}; accepted: a dict with ran, stopped_by and deploys"
    )
    for part, what in wanted.items():
        assert found[part] == what and type(found[part]) is type(what), (
            f"{part} is {found[part]!r}, expected {what!r}: {rule}. The stages were {stages}"
        )


@worth("gates", 5, "Rule 1: the first in the list that waits and whose needs have all passed comes next.")
def test_stages_run_when_their_needs_have_passed(student, rng):
    for _ in range(30):
        compare_gates(student, a_pipeline(rng, ["passed"]), "each stage waits for what it needs, in the list's order")


@worth("gates", 6, "Rules 2 and 3: whatever is not a yes is a no, and after a no nothing runs.")
def test_the_first_no_ends_it(student, rng):
    says = ["passed"] * 7 + ["refused", "crashed", "timed out", "", None, "PASSED?", "skipped"]
    for _ in range(60):
        compare_gates(student, a_pipeline(rng, says), "only passed is a yes, and nothing runs after a no")


@worth("gates", 4, "Rules 4 and 5: a stage that can never run stops the release, and an empty pipeline proves nothing.")
def test_what_cannot_run_is_no_yes(student, rng):
    compare_gates(student, [], "an empty pipeline has proved nothing")
    for _ in range(20):
        stages = a_pipeline(rng, ["passed"])
        rng.choice(stages)["needs"].append("a-stage-that-is-not-there")
        compare_gates(student, stages, "what needs a stage that does not exist cannot run, and stops the release")
        circle = [{"name": f"c{i}", "needs": [f"c{(i + 1) % 3}"], "says": "passed"} for i in range(3)]
        compare_gates(student, [*a_pipeline(rng, ["passed"]), *circle], "a circle of needs never runs")


def verdicts(rng, n, wrong_old, wrong_new, known):
    """Labels of which a share is known, and what two models say that err independently."""
    truth = [rng.random() < 0.3 for _ in range(n)]
    old, new = ([label ^ (rng.random() < share) for label in truth] for share in (wrong_old, wrong_new))
    return [label if rng.random() < known else None for label in truth], old, new


def paired(labels, old, new):
    """Return n, gained, lost and the lower bound."""
    n = gained = lost = 0
    for label, before, after in zip(labels, old, new, strict=True):
        if label is not None:
            n += 1
            gained += after == label and before != label
            lost += before == label and after != label
    p, q = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    return n, gained, lost, p - q - 1.645 * ((p + q - (p - q) ** 2) / (n + 2)) ** 0.5


def gate(student, labels, old, new, margin):
    found = student.call("quality_gate", labels, old, new, margin)
    keys = {"gained", "lost", "low", "passes"}
    assert isinstance(found, dict) and set(found) == keys, f"quality_gate gave {found!r}; accepted: a dict with {keys}"
    return found


@worth("quality", 6, "Count comments of which exactly one model is right; leave out those without a label.")
def test_pairs_are_counted(student, rng):
    for _ in range(30):
        labels, old, new = verdicts(rng, rng.randint(5, 300), rng.random() / 3, rng.random() / 3, 0.6)
        n, gained, lost, _ = paired(labels, old, new)
        found = gate(student, labels, old, new, 0.02)
        assert (found["gained"], found["lost"]) == (gained, lost), (
            f"of {n} labelled comments you count {found['gained']} gained and {found['lost']} lost; "
            f"{gained} are judged rightly by the new model only, {lost} by the old one only"
        )


@worth("quality", 7, "The bound is one-sided (z = 1.645), and its variance is that of pairs.")
def test_the_bound_is_that_of_pairs(student, rng):
    for _ in range(30):
        labels, old, new = verdicts(rng, rng.randint(2, 800), rng.random() / 2, rng.random() / 2, rng.uniform(0.3, 1))
        n, gained, lost, low = paired(labels, old, new)
        if n:
            found = gate(student, labels, old, new, 0.02)["low"]
            assert type(found) is float and abs(found - low) < CLOSE, (
                f"low is {found!r} for {gained} gained and {lost} lost of {n}; the formula gives {low:.6f}"
            )
    found = gate(student, [None] * 9, [True] * 9, [False] * 9, 0.5)
    assert found["low"] == -1, f"without any label low is -1.0, found {found['low']!r}"


@worth("quality", 7, "It passes when it is shown to be worse by less than the margin: low > -margin, nothing else.")
def test_only_what_is_shown_passes(student, rng):
    for _ in range(12):
        labels, old, new = verdicts(rng, rng.randint(20, 900), 0.08, 0.08, rng.choice([0.5, 1.0]))
        n, gained, lost, low = paired(labels, old, new)
        for away in (-0.004, -0.0005, 0.0005, 0.004, 0.05):
            margin = max(0.0005, -low + away)
            found, wanted = gate(student, labels, old, new, margin)["passes"], low > -margin
            assert found is wanted, (
                f"passes is {found!r} for {gained} gained and {lost} lost of {n} and a margin of {margin:.4f}; "
                f"low is {low:.4f}, so that the new model is {'' if wanted else 'not '}shown to be good enough"
            )
    assert gate(student, [None] * 9, [True] * 9, [True] * 9, 0.9)["passes"] is False, (
        "without a label nothing is shown, whatever the margin"
    )
    few = [True, False, True]
    assert gate(student, few, few, few, 0.02)["passes"] is False, "three labels show no margin of 0.02"


def release(rng, weight, ratio, looks):
    """Each look's hits and events, of a canary that goes wrong so many times as often; days differ."""
    share = weight * ratio / (1 - weight + weight * ratio)
    busy = rng.choice([6, 20, 40])
    events = [rng.randint(0, busy) for _ in range(looks)]
    return [[sum(rng.random() < share for _ in range(n)), n] for n in events]


def aborted(student, looks, weight, alpha):
    found = student.call("abort_at", looks, weight, alpha)
    assert found is None or (type(found) is int and 0 <= found < len(looks)), (
        f"abort_at gave {found!r} for {len(looks)} looks; accepted: None, or the index of a look, from 0"
    )
    return found


@worth("canary", 10, "Looking often makes many chances to be wrong: the threshold must hold for all looks together.")
def test_equal_releases_are_seldom_aborted(student, rng):
    for alpha, each in ((0.05, 130), (0.01, 130)):
        wrong, most = 0, too_many(3 * each, alpha)
        for weight in (0.05, 0.25, 0.5):
            for _ in range(each):
                looks = release(rng, weight, 1.0, rng.randint(20, 60))
                wrong += aborted(student, looks, weight, alpha) is not None
        assert wrong < most, (
            f"{wrong} of {3 * each} releases that were not worse were aborted, with alpha = {alpha:g}; at most "
            f"{alpha * 3 * each:.0f} are to be expected, and {most} by chance in one of ten million gradings"
        )


@worth("canary", 8, "Evidence adds up over the looks; four times as many mistakes are plain after some of them.")
def test_bad_releases_are_noticed(student, rng):
    for weight in (0.05, 0.25, 0.5):
        late, share = 0, 4 * weight / (1 + 3 * weight)
        for _ in range(40):
            looks = [[sum(rng.random() < share for _ in range(20)), 20] for _ in range(60)]
            found = aborted(student, looks, weight, 0.05)
            late += found is None or found >= 45
        assert late <= 4, (
            f"{late} of 40 canaries that go wrong four times as often (weight {weight:g}) were not noticed within 45 "
            "looks of 20 events; the evidence of the text notices all of them"
        )


@worth("canary", 7, "Decide look by look: what comes later must not matter, and a better canary is no reason to abort.")
def test_decisions_know_only_the_past(student, rng):
    assert aborted(student, [], 0.25, 0.05) is None, "without a look there is no reason to abort"
    assert aborted(student, [[0, 0]] * 30, 0.25, 0.05) is None, "nothing went wrong: no reason to abort"
    for _ in range(40):
        weight = rng.choice([0.05, 0.25, 0.5])
        looks = release(rng, weight, 4.0, 50)
        at = aborted(student, looks, weight, 0.05)
        if at is not None:
            again = aborted(student, looks[: at + 1], weight, 0.05)
            assert again == at, f"you abort at look {at} of 50, and of the same first {at + 1} looks you say {again!r}"
            before = aborted(student, looks[:at], weight, 0.05)
            assert before is None, f"you abort at look {at} first; of the {at} looks before you say {before!r}"
    better = sum(aborted(student, release(rng, 0.5, 0.25, 40), 0.5, 0.05) is not None for _ in range(60))
    assert better < too_many(60, 0.05), f"{better} of 60 canaries that go wrong less often were aborted"


def a_plan(rng):
    weights = sorted(rng.sample(range(1, 99), rng.randint(1, 4)))
    stages = [
        {"weight": weight / 100, "comments": rng.randint(100, 9000), "labels": rng.choice([0, rng.randint(1, 2000)])}
        for weight in weights
    ]
    return {"alpha": rng.choice([0.05, 0.02, 0.01]), "stage_seconds": rng.randint(100, 9000), "stages": stages}


def advance(plan, seen):
    """Return what the table says."""
    stage, last = plan["stages"][seen["stage"]], seen["stage"] == len(plan["stages"]) - 1
    if any(one >= len(seen["evidence"]) / plan["alpha"] for one in seen["evidence"]):
        return "abort", 0.0
    if seen["comments"] >= stage["comments"] and seen["labels"] >= stage["labels"]:
        return ("promote", 1.0) if last else ("advance", plan["stages"][seen["stage"] + 1]["weight"])
    if seen["seconds"] > plan["stage_seconds"]:
        return "undecided", 0.0
    return "stay", stage["weight"]


def compare_advance(student, plan, seen):
    verdict, weight = advance(plan, seen)
    found = student.call("advance", plan, seen)
    assert found == {"verdict": verdict, "weight": weight}, (
        f"advance gave {found!r}, expected verdict {verdict!r} and weight {weight}; plan: {plan}; seen: {seen}"
    )


def somewhere(rng, plan, enough=0.5):
    """What was seen of a plan's stage: around its limits, or exactly at them."""
    number = rng.randrange(len(plan["stages"]))
    stage = plan["stages"][number]

    def around(limit):
        return int(limit * rng.uniform(1.0, 1.5)) if rng.random() < enough else rng.randint(0, max(0, limit - 1))

    return {
        "stage": number,
        "comments": rng.choice([stage["comments"], around(stage["comments"])]),
        "labels": rng.choice([stage["labels"], around(stage["labels"])]),
        "seconds": rng.choice([plan["stage_seconds"], around(plan["stage_seconds"])]),
        "evidence": [rng.uniform(0, 15) for _ in range(rng.randint(1, 4))],
    }


@worth("advance", 8, "Comments and labels must both be there; exactly as many as planned are enough.")
def test_the_share_rises_when_enough_was_seen(student, rng):
    for _ in range(120):
        plan = a_plan(rng)
        compare_advance(student, plan, somewhere(rng, plan))


@worth("advance", 7, "Evidence comes first, whatever else was seen, and k tests need k times as much of it.")
def test_evidence_comes_first(student, rng):
    for _ in range(60):
        plan = a_plan(rng)
        seen = somewhere(rng, plan)
        limit = len(seen["evidence"]) / plan["alpha"]
        place = rng.randrange(len(seen["evidence"]))
        for strength in (0.4, 0.99, 1.0, 1.01, 3.0):
            others = [limit * rng.uniform(0.5, 0.95) for _ in seen["evidence"]]
            others[place] = limit * strength
            compare_advance(student, plan, seen | {"evidence": others})


def a_record(rng, events, n):
    releases = [f"r{number}" for number in rng.sample(range(1, 30), 5)]
    numbers = sorted(rng.sample(range(1, 400), n))
    return [{"number": k, "release": rng.choice(releases), "event": rng.choice(events)} for k in numbers], releases


def target(entries, broken):
    """Return the release to go back to."""
    best = (-1, None)
    for name in {entry["release"] for entry in entries} - {broken}:
        mine = [(entry["number"], entry["event"]) for entry in entries if entry["release"] == name]
        last = max((number for number, event in mine if event == "verified"), default=None)
        if last is not None and not any(n > last and event in ("failed", "withdrawn") for n, event in mine):
            best = max(best, (last, name))
    return best[1]


def compare_target(student, entries, broken):
    found, wanted = student.call("rollback_target", entries, broken), target(entries, broken)
    story = ", ".join(f"{e['number']} {e['release']} {e['event']}" for e in sorted(entries, key=lambda e: e["number"]))
    assert found == wanted, f"{broken} has to go; you go back to {found!r}, expected {wanted!r}. The record: {story}"


@worth("rollback", 5, "Only what was verified, and did not fail or go away since, is worth going back to.")
def test_the_last_good_release_is_found(student, rng):
    for _ in range(80):
        entries, releases = a_record(rng, ["deployed", "verified", "failed", "withdrawn"], rng.randint(4, 16))
        compare_target(student, entries, rng.choice([*releases, "r99"]))


@worth("rollback", 5, "Numbers tell the order, other events tell nothing, and None is an honest answer.")
def test_records_in_any_order_and_with_nothing_good(student, rng):
    compare_target(student, [], "r1")
    for _ in range(40):
        entries, releases = a_record(rng, ["deployed", "started", "blocked", "verified", "failed"], rng.randint(6, 16))
        rng.shuffle(entries)
        compare_target(student, entries, rng.choice(releases))
        nothing = [entry for entry in entries if entry["event"] != "verified"]
        compare_target(student, nothing, rng.choice(releases))


def drawn(version, comment):
    step = int.from_bytes(blake2b(f"{version}\0{comment}".encode(), digest_size=8).digest(), "big") >> 12
    return (step + 0.5) / 2**52


def winner(comment, weights):
    return max((v for v in weights if weights[v] > 0), key=lambda v: weights[v] / -math.log(drawn(v, comment)))


def some_weights(rng):
    share = rng.choice([0.05, 0.25, 0.5, 0.9])
    return {"v1": round(1 - share, 2), "v2": share}


@worth("routing", 7, "The highest weight / -ln(point) wins, with the version as the first argument of point.")
def test_comments_are_picked_by_rendezvous_hashing(student, rng):
    for _ in range(40):
        names = rng.sample(["v1", "v2", "v3", "canary-7", "blue"], rng.randint(1, 4))
        parts = [rng.choice([0, 1, 2, 5]) for _ in names]
        parts[rng.randrange(len(parts))] += 1
        weights = {name: part / sum(parts) for name, part in zip(names, parts, strict=True)}
        for _ in range(5):
            comment = f"{rng.getrandbits(48):x}"
            found, wanted = student.call("pick", comment, weights), winner(comment, weights)
            assert found == wanted, f"comment {comment!r} with weights {weights} goes to {wanted!r}, not to {found!r}"


def asked(student, method, path, body):
    """Ask the gateway that the notebook started, over its socket."""
    return student.ask(method, student.value("gateway_address"), path, body)


@worth(
    "routing",
    5,
    "The grader asked your gateway over its socket: change the global weights, then ask the version that wins.",
)
def test_the_running_gateway_follows_its_weights(student, rng):
    for weights in (some_weights(rng), {"v1": 0.0, "v2": 1.0}):
        status, said = asked(student, "PUT", "/admin/weights", weights)
        assert (status, said) == (200, weights), f"PUT /admin/weights {weights} was answered {status} {said!r}"
        for _ in range(3):
            comment = f"{rng.getrandbits(48):x}"
            status, said = asked(student, "POST", "/v1/classify", {"id": comment})
            wanted = {"id": comment, "version": winner(comment, weights)}
            assert (status, said) == (200, wanted), (
                f"with weights {weights} comment {comment!r} was answered {status} {said!r}; it goes to "
                f"{wanted['version']}, whose answer is {wanted}"
            )


@worth("routing", 3, "Refuse before you change anything; know only your two paths.")
def test_the_running_gateway_refuses_nonsense(student, rng):
    weights = {"v1": 0.0, "v2": 1.0}
    asked(student, "PUT", "/admin/weights", weights)
    for wrong in ({"v1": 0.8, "v2": 0.4}, {"v1": 0.5, "v2": 0.49}, {"v1": 1.5, "v2": -0.5}):
        status, _ = asked(student, "PUT", "/admin/weights", wrong)
        assert status == 400, f"PUT /admin/weights {wrong} was answered {status}, expected 400"
    comment = f"{rng.getrandbits(48):x}"
    status, said = asked(student, "POST", "/v1/classify", {"id": comment})
    assert (status, said) == (200, {"id": comment, "version": "v2"}), (
        f"after weights {wrong} were refused, the old ones {weights} are in force; the answer was {status} {said!r}"
    )
    status, _ = asked(student, "POST", f"/v{rng.randint(2, 99)}/classify", {"id": "any"})
    assert status == 404, f"a path that is not there was answered {status}, expected 404"
