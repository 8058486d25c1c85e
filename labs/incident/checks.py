"""Checks of the lab on incidents; they run in the grader's process, which runs a drill of its own, too."""

import re
import statistics
import tempfile
from pathlib import Path

from mlops_helpers.errors import DrillError
from mlops_helpers.respond import postmortem as postmortems
from mlops_helpers.respond.postmortem_review import review
from mlops_helpers.respond.review import wording
from mlops_helpers.teach import grading_drill
from mlops_helpers.teach.grading_checks import worth
from mlops_helpers.teach.grading_steps import answer_of

KINDS = ("detected", "acknowledged", "diagnosed", "mitigated", "resolved")
SLIS = ("availability", "fast", "honest_published", "spam_held")


def a_journal(rng, missing=()):
    """An incident with more than one breach, alert, diagnosis and so on; times are binary fractions, so exact."""
    rows = [{"at": 0.0, "kind": "opened", "time_lapse": rng.choice([1.0, 60.0, 128.0, 360.0])}]
    for kind in ("injected", "observed", "steady_state"):
        rows.append({"at": rng.randint(1, 40) / 8, "kind": kind})
    at = 8.0
    for kind in (
        "breached",
        "alert",
        "acknowledged",
        "diagnosed",
        "acted",
        "mitigated",
        "resolved",
        "breached",
        "closed",
    ):
        for _ in range(rng.randint(1, 3)):
            if kind not in missing:
                rows.append({"at": at, "kind": kind} | ({"status": "firing"} if kind == "alert" else {}))
            at += rng.randint(1, 40) / 8
    if "alert" not in missing:
        rows += [{"at": rng.choice([9.0, at]), "kind": "alert", "status": "resolved"}]
    rng.shuffle(rows)
    begin = rng.randint(10**9, 2 * 10**9)
    return [row | {"at": begin + row["at"]} for row in rows]


def took(journal):
    """Return what the task says."""
    breaches = [one["at"] for one in journal if one["kind"] == "breached"]
    if not breaches:
        return None
    lapse = next((one["time_lapse"] for one in journal if "time_lapse" in one), 1.0)

    def seconds(kind, choose):
        moments = [o["at"] for o in journal if o["kind"] == kind and o.get("status", "firing") == "firing"]
        return (choose(moments) - min(breaches)) * lapse if moments else None

    kinds = {"detected": "alert"} | {name: name for name in KINDS[1:]}
    return {name: seconds(kind, max if name == "diagnosed" else min) for name, kind in kinds.items()}


def compare_timeline(student, journal):
    found, wanted = student.call("timeline", journal), took(journal)
    if wanted is None:
        assert found is None, f"nothing was breached in this journal: None, not {found!r}"
        return
    assert isinstance(found, dict) and set(found) == set(KINDS), (
        f"timeline gave {found!r}; accepted: {', '.join(KINDS)}"
    )
    for name in KINDS:
        told, right = found[name], wanted[name]
        close = told is None if right is None else type(told) in (int, float) and abs(told - right) < 1e-6
        assert close, (
            f"{name} is {told!r}, expected {right!r}; the journal was {sorted(journal, key=lambda o: o['at'])}"
        )


@worth("timeline", 8, "Count from the first breach, in seconds of the incident; the last diagnosis counts.")
def test_parts_of_an_incident_are_counted(student, rng):
    for _ in range(40):
        compare_timeline(student, a_journal(rng))


@worth("timeline", 7, "None is an honest answer, 0 seconds is not; without time_lapse a second is a second.")
def test_what_did_not_happen_has_no_time(student, rng):
    compare_timeline(student, a_journal(rng, missing=("breached",)))
    for _ in range(30):
        missing = rng.sample(["alert", "acknowledged", "diagnosed", "mitigated", "resolved"], rng.randint(1, 3))
        journal = a_journal(rng, missing)
        if rng.random() < 0.5:
            journal = [{k: v for k, v in one.items() if k != "time_lapse"} for one in journal]
        compare_timeline(student, journal)


def half_an_hour(rng, out, *, since=15, released=None, accounts=1.0, server=1.0, unknown=0.04, gap=0):
    """Thirty minutes in which the indicators ``out`` are out since a minute; ``gap`` minutes of the end are unknown."""
    least = {name: rng.choice([0.6, 0.7, 0.8, 0.9]) for name in SLIS}
    begins = {name: since + (0 if place == 0 else rng.randint(0, max(0, 24 - since))) for place, name in enumerate(out)}
    slis = {}
    for name in SLIS:
        start = begins.get(name, 30)
        slis[name] = [
            rng.uniform(0.0, least[name] - 0.05) if minute >= start else rng.uniform(least[name] + 0.01, 1.0)
            for minute in range(30)
        ]
        for minute in rng.sample(range(start - 1), 2):  # dips that were over before
            slis[name][minute] = rng.uniform(0.0, least[name] - 0.1)
        if name not in out and rng.random() < 0.5:  # four bad minutes of five are not out
            for minute in rng.sample(range(25, 30), rng.randint(1, 4)):
                slis[name][minute] = rng.uniform(0.0, least[name] - 0.3)
    usual_server, usual_accounts = rng.uniform(10, 60), rng.uniform(0.02, 0.1)
    server_ms = [usual_server * (server if m >= 20 else 1.0) * rng.uniform(0.95, 1.05) for m in range(30)]
    new_accounts = [usual_accounts * (accounts if m >= 20 else 1.0) * rng.uniform(0.95, 1.05) for m in range(30)]
    evidence = {"slis": slis, "tolerances": least, "server_ms": server_ms, "new_accounts": new_accounts}
    blank = {m for m in range(2, 20) if rng.random() < unknown}
    blank |= set(rng.sample([m for m in range(20, 25) if m not in (since, since - 1)], rng.randint(0, 2)))
    blank -= {since, since - 1}
    blank |= set(rng.sample(range(25, 30), gap)) if gap != 1 else {rng.choice([m for m in range(25, 30) if m != since])}
    for series in (*slis.values(), server_ms, new_accounts):
        for minute in blank:
            series[minute] = None
    return evidence | {"released_at": released}


def diagnosis(evidence):
    """Return what the rules say."""
    slis, least = evidence["slis"], evidence["tolerances"]
    minutes = [minute for minute in range(30) if slis["fast"][minute] is not None]
    end, past = [m for m in minutes if m >= 25], [m for m in minutes if m < 20]
    if len(end) < 4:
        return "telemetry gap"
    out = {}
    for name, series in slis.items():
        if all(series[m] < least[name] for m in end):
            good = [m for m in minutes if series[m] >= least[name]]
            out[name] = min(m for m in minutes if not good or m > max(good))
    if not out:
        return "nothing"
    if (
        evidence["released_at"] is not None
        and evidence["released_at"] <= min(out.values()) <= evidence["released_at"] + 5
    ):
        return "bad release"

    def growth(name):
        return statistics.mean(evidence[name][m] for m in end) / statistics.mean(evidence[name][m] for m in past)

    if set(out) == {"spam_held"} and growth("new_accounts") >= 2:
        return "spam campaign"
    return "slow network" if "fast" in out and growth("server_ms") < 1.5 else "service fault"


def compare_diagnosis(student, evidence, why):
    found, wanted = student.call("diagnose", evidence), diagnosis(evidence)
    assert found == wanted, f"diagnose gave {found!r}, expected {wanted!r}: {why}. The evidence was {evidence}"


@worth(
    "diagnose",
    8,
    "First ask whether you can see at all, then whether readers are harmed: all of the end, not a part of it.",
)
def test_gaps_and_calm_are_told_from_trouble(student, rng):
    for _ in range(20):
        out = rng.sample(SLIS, rng.randint(0, 3))
        compare_diagnosis(student, half_an_hour(rng, out, gap=rng.randint(2, 4)), "too little is known of the end")
        calm = half_an_hour(rng, [], released=rng.choice([None, 24, 28]), accounts=3, gap=rng.randint(0, 1))
        compare_diagnosis(student, calm, "no indicator is below its tolerance all through the end")


@worth("diagnose", 8, "What began 0 to 5 minutes after a release; the earliest of what is out decides, whatever it is.")
def test_releases_are_blamed_for_what_began_with_them(student, rng):
    for late in (-4, -1, 0, 0, 1, 5, 5, 6, 9):
        for _ in range(5):
            since = rng.randint(12, 24)
            out = rng.sample(SLIS, rng.randint(1, 3))
            evidence = half_an_hour(rng, out, since=since, released=since - late, accounts=rng.choice([1, 3]), gap=0)
            compare_diagnosis(student, evidence, f"it began {late} minutes after the release")
        spam = half_an_hour(rng, ["spam_held"], since=18, released=18 - late, accounts=3)
        compare_diagnosis(student, spam, f"spam appears {late} minutes after the release")


@worth(
    "diagnose", 9, "A campaign has new accounts and harms one indicator; a slow network leaves the blog itself fast."
)
def test_campaigns_and_networks_are_told_from_faults(student, rng):
    outs = [
        ["spam_held"],
        ["spam_held"],
        ["fast"],
        ["fast", "availability"],
        ["spam_held", "fast"],
        ["honest_published"],
    ]
    outs += [["availability"], ["spam_held", "honest_published"], ["fast", "honest_published", "spam_held"]]
    for out in outs:
        for accounts in (1.0, 1.6, 3.0):
            for server in (1.0, 1.25, 2.0):
                evidence = half_an_hour(rng, out, since=rng.randint(10, 19), accounts=accounts, server=server)
                compare_diagnosis(student, evidence, "by rules 4 to 6")


def some_problems(rng, kinds):
    found = []
    for _ in range(rng.randint(0, 6)):
        kind, version = rng.choice(kinds), rng.choice(["v1", "v2", "v3", "v22"])
        what = {
            "service stopped": rng.choice(["gateway", "blog", f"filter-{version}-{rng.randint(0, 1)}"]),
            "bad release": rng.choice(["v2", "v3"]),
            "slow network": rng.choice(["edge", "filter-v1-0"]),
        }.get(kind, "")
        previous = rng.choice(["v0", "v1"]) if kind == "bad release" else ""
        harmed = rng.choice([0.0, 0.1, 0.25, 0.25, 0.6, round(rng.random(), 3)])
        found.append({"kind": kind, "what": what, "previous": previous, "harmed": harmed})
    return found


def mitigation(problems):
    """Return what the rules say."""
    steps = []
    rolled = [p["what"] for p in problems if p["kind"] == "bad release" and p["harmed"] > 0]
    for problem in sorted((p for p in problems if p["harmed"] > 0), key=lambda p: -p["harmed"]):
        what = problem["what"]
        step = {
            "service stopped": {"do": "restart", "name": what},
            "bad release": {"do": "roll_back", "to": problem["previous"]},
            "slow network": {"do": "repair_network", "wire": what},
            "spam campaign": {"do": "block_campaign"},
        }.get(problem["kind"])
        idle = problem["kind"] == "service stopped" and any(what.startswith(f"filter-{v}-") for v in rolled)
        if step and step not in steps and not idle:
            steps.append(step)
    return steps + [{"do": "reconnect_telemetry"}] * any(p["kind"] == "telemetry gap" for p in problems)


def compare_mitigation(student, problems):
    found, wanted = student.call("mitigations", problems), mitigation(problems)
    assert found == wanted, f"mitigations gave {found!r}, expected {wanted!r}. The problems were {problems}"


ACUTE = ["service stopped", "bad release", "slow network", "spam campaign"]


@worth("mitigate", 8, "Most harm first; no step twice; the filters of what is rolled back need no restart.")
def test_steps_help_readers_in_the_right_order(student, rng):
    for _ in range(150):
        compare_mitigation(student, some_problems(rng, [*ACUTE, "service stopped", "bad release"]))


@worth("mitigate", 7, "What harms nobody, and what is no fault, gets no step; a telemetry gap gets the last one.")
def test_benign_changes_are_left_alone(student, rng):
    assert student.call("mitigations", []) == [], "without a problem there is nothing to do"
    benign = ["new topic", "more readers", "holiday", "slow clients"]
    for _ in range(30):
        compare_mitigation(student, some_problems(rng, benign))
        problems = some_problems(rng, [*benign, *ACUTE, "telemetry gap"])
        compare_mitigation(student, problems)
        blind = {"kind": "telemetry gap", "what": "", "previous": "", "harmed": rng.choice([0.0, 0.9])}
        compare_mitigation(student, [blind, *problems])
        quiet = {"kind": "bad release", "what": "v2", "previous": "v1", "harmed": 0.0}
        stopped = {"kind": "service stopped", "what": "filter-v2-0", "previous": "", "harmed": 0.3}
        compare_mitigation(student, [*some_problems(rng, benign), quiet, stopped])


CAUSES = {
    "gateway": "the gateway has ended and nobody restarts it",
    "filter": "the filter has ended and nobody restarts it",
    "blog": "the blog has ended and nobody restarts it",
    "release": "the release has a wrong threshold",
    "senders": "senders of spam have found a gap",
    "network": "the network is slow on one of its ways",
    "readers": "readers have a new topic",
}
OTHERS = ["the disk is full", "a filter serves another artifact", "the gateway refuses requests", "labels are wrong"]


def a_scene(rng, *, low=(), ended=(), versions=(), unknown=()):
    """What a grader sees; ``low`` indicators are below their tolerances, ``ended`` services are not there."""
    tolerances = {name: rng.choice([0.6, 0.7, 0.9]) for name in SLIS if name in low or rng.random() < 0.5}
    slis = {name: rng.uniform(0.92, 1.0) if name in tolerances else rng.random() for name in SLIS}
    slis |= {name: rng.choice([0.0, rng.uniform(0.0, 0.5)]) for name in low} | dict.fromkeys(unknown)
    names = ["blog", "gateway", "filter-v1-0", "filter-v2-0"]
    services = {name: rng.choice(["stopped", "failed"]) if name in ended else "ready" for name in names}
    if "filter-v2-0" not in ended:
        services["filter-v2-0"] = rng.choice(["ready", "starting"])
    share = round(rng.uniform(0.2, 1.0), 2)
    weights = {"v1": 1 - share, **dict.fromkeys(versions, share)} if versions else {"v1": 1.0, "v2": 0.0}
    weights = None if "gateway" in ended else weights
    right = expected_words(low, ended, versions)[0]
    others = [text for word, text in CAUSES.items() if word != right]
    causes = [CAUSES[right], *rng.sample(others, 2), rng.choice(OTHERS)]
    rng.shuffle(causes)
    seen = {"story": "Something may be wrong.", "causes": causes, "services": services, "weights": weights}
    return seen | {"slis": slis, "tolerances": tolerances}


def expected_words(low, ended, versions):
    """Return the word of the diagnosis and the steps that the rules give."""
    if not low:
        return "readers", []
    if ended:
        names = sorted(ended)
        return names[0].split("-")[0], [{"do": "restart", "name": name} for name in names]
    if versions:
        return "release", [{"do": "roll_back", "to": "v1"}]
    if "spam_held" in low:
        return "senders", [{"do": "block_campaign"}]
    return "network", [{"do": "repair_network", "wire": "edge"}]


def compare_response(student, seen, right):
    word, steps = right
    found = answered(student, seen)
    assert found["steps"] == steps, f"your steps are {found['steps']}, expected {steps}. What was seen: {seen}"
    assert found["diagnosis"] == CAUSES[word], (
        f"your diagnosis is {found['diagnosis']!r}, expected {CAUSES[word]!r}. What was seen: {seen}"
    )


def answered(student, seen):
    """Return a responder's answer if a drill could take it."""
    found = student.call("respond", seen)
    try:
        answer_of(found, seen["causes"])
    except DrillError as error:
        raise AssertionError(f"respond cannot be followed: {error}") from None
    return found


def rehearse(student, rng, rounds):
    services = ["blog", "gateway", "filter-v1-0", "filter-v2-0"]
    for _ in range(rounds):
        low = rng.choice([["fast"], ["spam_held"], ["availability"], ["honest_published"], ["fast", "spam_held"]])
        ended = rng.sample(services, rng.choice([0, 0, 0, 1, 1, 2]))
        versions = rng.choice([[], [], ["v2"], ["v3"]])
        case = {"low": low, "ended": ended, "versions": versions}
        compare_response(student, a_scene(rng, **case), expected_words(**case))


@worth("respond", 8, "Follow the table from above: the first row that fits decides, and each row has its word.")
def test_what_is_seen_decides_what_is_done(student, rng):
    rehearse(student, rng, 60)


def rehearse_calm(student, rng, rounds):
    for _ in range(rounds):
        ended = rng.sample(["blog", "gateway", "filter-v1-0"], rng.choice([0, 1]))
        unknown = rng.sample(SLIS, rng.choice([0, 1, 2]))
        versions = rng.choice([[], ["v2"]])
        seen = a_scene(rng, ended=ended, versions=versions, unknown=unknown)
        compare_response(student, seen, ("readers", []))


@worth("respond", 7, "Readers first: where none of them is harmed, a stopped service or a release is no incident.")
def test_nothing_is_done_where_readers_are_served(student, rng):
    rehearse_calm(student, rng, 30)


ROWS = [
    (0, "opened", {}),
    (12, "breached", {}),
    (16.5, "alert", {"status": "firing"}),
    (19, "acknowledged", {}),
    (21, "update", {}),
    (24, "diagnosed", {}),
    (25, "acted", {}),
    (31, "diagnosed", {}),
    (32, "acted", {}),
    (36, "mitigated", {}),
    (40, "resolved", {}),
    (41, "alert", {"status": "resolved"}),
]
JOURNAL = [{"at": 1_780_000_000 + at, "kind": kind, **facts} for at, kind, facts in ROWS]
TEXTS = ["title", "date", "status", "summary", "impact", "root_causes", "trigger", "resolution", "detection"]
TEXTS += ["supporting_information"]
LISTS = ["authors", "went_well", "went_wrong", "got_lucky"]


def text(value, where):
    assert isinstance(value, str), f"{where} is {value!r}; accepted: text"
    return value


def a_list(told, name):
    assert isinstance(told[name], list) and told[name], f"{name} is {told[name]!r}; accepted: a list that is not empty"
    return told[name]


def the_postmortem(student):
    """Return the student's postmortem; every value in it has the type that it should have."""
    told = student.value("postmortem")
    sections = {*TEXTS, *LISTS, "action_items", "timeline"}
    assert isinstance(told, dict) and set(told) == sections, (
        f"postmortem is to be a dict with exactly the sections {sorted(sections)}"
    )
    made = {name: text(told[name], name) for name in TEXTS}
    made |= {name: [text(one, name) for one in a_list(told, name)] for name in LISTS}
    keys = {"what", "kind", "owner", "tracking"}
    for item in a_list(told, "action_items"):
        assert isinstance(item, dict) and set(item) == keys, f"an action item is {item!r}; accepted: {sorted(keys)}"
    for entry in a_list(told, "timeline"):
        right = isinstance(entry, dict) and set(entry) == {"at", "kind", "text"} and type(entry["at"]) in (int, float)
        assert right, f"the timeline has {entry!r}; accepted: at (a number), kind and text"
    items = [postmortems.ActionItem(**{k: text(v, k) for k, v in one.items()}) for one in told["action_items"]]
    lines = [postmortems.Entry(e["at"], text(e["kind"], "kind"), text(e["text"], "text")) for e in told["timeline"]]
    return postmortems.Postmortem(**made, action_items=items, timeline=lines)


def numbers(said):
    """Return the whole numbers in a text; 1,440 is one."""
    return {int(one.replace(",", "")) for one in re.findall(r"(?<![\d.,])\d+(?:,\d{3})*(?![\d,]*\d|\.\d)", said)}


@worth("postmortem", 6, "Take the timeline of draft as it is; write every section, and say that it is final.")
def test_the_postmortem_is_complete(student):
    made = the_postmortem(student)
    assert made.status == "final", f"the status is {made.status!r}, expected 'final'"
    findings = [one for one in review(made) if "blames" not in one.found and one.section != "action_items"]
    assert not findings, f"{findings[0]}"
    for record in JOURNAL[1:]:
        there = any(e.kind == record["kind"] and abs(e.at - record["at"]) < 1.5 for e in made.timeline)
        assert there, f"the timeline leaves out: {record['kind']}, at {record['at'] - JOURNAL[0]['at']:g} s"


@worth("postmortem", 5, "Say what did not happen and what made it easy to happen, not who.")
def test_the_postmortem_blames_nobody(student):
    for name, said in the_postmortem(student).texts().items():
        for finding in wording(name, said):
            raise AssertionError(str(finding))


@worth("postmortem", 4, "Seconds of the incident, not of the drill: from breach to mitigation, and to the alert.")
def test_the_postmortem_states_the_numbers(student):
    made = the_postmortem(student)
    spent = numbers(made.impact)
    assert 1440 in spent, f"the impact says {made.impact!r}: for how many seconds of the incident did readers meet it?"
    assert 212 in spent, f"the impact says {made.impact!r}: how many bad events were there?"
    assert 270 in numbers(made.detection), f"the detection says {made.detection!r}: after how many seconds did it fire?"


@worth("postmortem", 5, "Somebody answers for each, each can be found again, and not all of them are meetings.")
def test_the_postmortem_leads_to_action(student):
    made = the_postmortem(student)
    items, kinds = made.action_items, {one.kind for one in made.action_items}
    assert len(items) >= 3, f"there are {len(items)} action items; at least three are asked for"
    findings = [one for one in review(made) if one.section == "action_items" and "blames" not in one.found]
    assert not findings, f"{findings[0]}"
    assert "prevent" in kinds, "no action item prevents it: one of kind prevent is asked for"
    assert kinds & {"detect", "mitigate"}, "one action item of kind detect or mitigate is asked for"
    assert all(re.search(r"\d", one.tracking) for one in items), "each tracking contains a number, such as issue 214"
    assert len({one.tracking for one in items}) == len(items), "each action item has a tracking of its own"


SCENARIOS = ["filter-stopped", "gateway-stopped", "strict-release", "spam-campaign", "edge-delay", "load-spike"]
PASSED = {}  # by scenario, what was seen in a drill of this grader, and the answer by which it was passed


def brought_along(student, key):
    """Whether the student brings a journal of a drill that this grader ran for them, and that was passed."""
    name = student.name
    try:
        records = grading_drill.verified(student.value("signed_drill"), key, student=name) if name else []
    except (AssertionError, DrillError):
        return False
    return any(one.get("kind") == "closed" and one.get("outcome") == "passed" for one in records)


@worth("respond", 10, "The grader's own drill: readers decide. Live through one yourself in chapter 13.")
def test_readers_are_rescued_in_a_real_drill(student, rng):
    key = grading_drill.grader_key()
    if brought_along(student, key):
        return
    rehearse(student, rng, 60)  # who answers this wrongly need not try it on readers
    rehearse_calm(student, rng, 30)
    chosen, seed, seen_and_said = rng.choice(SCENARIOS), rng.randrange(10**6), []
    if chosen in PASSED:  # the same answer to the same sight needs no second drill: they take half a minute each
        seen, said = PASSED[chosen]
        if answered(student, seen) == said:
            return

    def respond(seen):
        seen_and_said[:] = seen, answered(student, seen)
        return seen_and_said[1]

    with tempfile.TemporaryDirectory() as folder:
        found = grading_drill.drill_with(respond, chosen, Path(folder), key, seed, student=student.name)
    steps = ", ".join(one["do"] for one in seen_and_said[1]["steps"]) or "none"
    assert found.passed, f"your steps were: {steps}. The drill was not passed: {found.reason}"
    PASSED[chosen] = tuple(seen_and_said)
