"""Judges submissions of the lab "release-problems": inputs are drawn, results compared with a reference of its own."""

import difflib
import math
import random
from collections import Counter
from fractions import Fraction
from typing import Any

from mlops_helpers.deploy import problems
from mlops_helpers.teach.grading_checks import Student, worth
from mlops_helpers.teach.grading_judging import a_dictionary


def word(rng: random.Random, length: int = 7) -> str:
    """Draw a name that nobody knows."""
    return "".join(rng.choice("bcdfghjklmnpqrstvwz") + rng.choice("aeiou") for _ in range(length))[:length]


def evidence(rng: random.Random, gate: str | None) -> dict[str, Any]:
    """Draw evidence in which nothing but the gate is conspicuous."""
    versions = {word(rng): f"{rng.randint(0, 9)}.{rng.randint(0, 9)}" for _ in range(rng.randint(1, 4))}
    limit = round(rng.uniform(0.1, 1), 2)
    quiet = {"exits": [0] * rng.randint(0, 2), "p99": limit * rng.uniform(0.2, 0.9), "limit": limit}
    return {"gate": gate, "training": versions, "service": dict(versions), **quiet}


def asks_diagnosis(student: Student, given: dict[str, Any], wanted: str | None, why: str) -> None:
    """Judge one diagnosis."""
    got = student.call("diagnose", given)
    assert got == wanted, f"gate {given['gate']}: {why}; {got!r} came"


@worth("diagnose", 8, "PROBLEMS says of each problem which gate stops it; None where there is nothing to say.")
def test_gates_that_see_one_problem(student: Student, rng: random.Random) -> None:
    known = problems.load().values()
    gates = Counter(problem.stopped_by for problem in known)
    for problem in rng.sample(list(known), len(known)):
        if gates[problem.stopped_by] == 1:
            asks_diagnosis(
                student, evidence(rng, problem.stopped_by), problem.name, "exactly one problem is stopped by it"
            )
    asks_diagnosis(student, evidence(rng, None), None, "no gate said no, so None was asked for")
    asks_diagnosis(student, evidence(rng, word(rng)), None, "it stops none of the ten, so None was asked for")


@worth("diagnose", 12, "smoke: compare the packages that both have. load: memory first, then time, else None.")
def test_gates_that_see_two(student: Student, rng: random.Random) -> None:
    for gate in ("smoke", "smoke", "smoke"):
        given = evidence(rng, gate)
        asks_diagnosis(student, given, "local_utility", "the packages are the same")
        given["service"][word(rng)] = "1.0"
        given["training"] = {**given["training"], word(rng): "2.0"}
        asks_diagnosis(student, given, "local_utility", "packages that one side alone has are no different versions")
        changed = rng.choice(sorted(set(given["service"]) & set(given["training"])))
        given["service"][changed] = "77.1"
        asks_diagnosis(student, given, "library_version", "a package that both have is there in two versions")
    given = evidence(rng, "load")
    asks_diagnosis(student, given, None, "nothing was killed and nothing was slow: the evidence does not say")
    asks_diagnosis(student, {**given, "exits": [0, 1]}, None, "a replica ended, but not for memory")
    asks_diagnosis(student, {**given, "p99": given["limit"]}, None, "exactly the limit is allowed")
    slow = {**given, "p99": given["limit"] * rng.uniform(1.1, 9)}
    asks_diagnosis(
        student, {**slow, "exits": [rng.choice((0, 1, 143))]}, "too_slow", "it was slow, and none was killed for memory"
    )
    for exits in ([137], [137, 0, 0], [0, 137, 1]):
        asks_diagnosis(
            student, {**slow, "exits": exits}, "memory", "a replica was killed for memory, which makes the others slow"
        )
        asks_diagnosis(student, {**given, "exits": exits}, "memory", "a replica was killed for memory")


def service_of(rng: random.Random, leaks: bool) -> dict[str, float]:
    """Draw a service whose limit is not on the edge between two numbers."""
    while True:
        drawn = {
            "base_mb": rng.randint(30, 120),
            "model_mb": rng.randint(5, 400),
            "request_mb": rng.choice((0.25, 0.5, 1.5, 2.75, 6.0)),
            "concurrency": rng.randint(2, 64),
            "headroom": rng.choice((0.1, 0.2, 0.25, 0.3, 0.5)),
            "leak_mb": rng.choice((0.5, 1.5, 4, 12)) if leaks else 0,
        }
        exact = peak_of(drawn) * (1 + Fraction(str(drawn["headroom"])))
        if 0.001 < exact % 1 < 0.999:
            return drawn


def peak_of(service: dict[str, float]) -> Fraction:
    """Return what a replica uses at most."""
    return service["base_mb"] + service["model_mb"] + service["concurrency"] * Fraction(service["request_mb"])


def asks_plan(student: Student, service: dict[str, float], machine: int) -> None:
    """Judge one plan."""
    got = a_dictionary(student.call("plan", service, machine), {"peak_mb", "limit_mb", "replicas", "hours"}, "plan")
    peak = peak_of(service)
    limit = math.ceil(peak * (1 + Fraction(str(service["headroom"]))))
    for name in ("peak_mb", "limit_mb", "replicas"):
        assert type(got[name]) in (int, float), f"{name} is a number, not {got[name]!r}"
    assert abs(got["peak_mb"] - peak) < 1e-6, "peak_mb: base and model once, and each request under way"
    assert got["limit_mb"] == limit, (
        "limit_mb: the smallest whole number that holds the peak and the headroom, a share of the peak"
    )
    assert got["replicas"] == machine // limit, "replicas: as many whole ones as the machine holds by their limits"
    if not service["leak_mb"]:
        assert got["hours"] is None, "hours: None when nothing leaks"
        return
    assert type(got["hours"]) in (int, float), f"hours is a number where something leaks, not {got['hours']!r}"
    assert abs(got["hours"] - (limit - peak) / Fraction(service["leak_mb"])) < 1e-6, "hours: from the peak to the limit"


@worth("plan", 12, "Round the limit up and the replicas down; the leak begins at the peak and ends at the limit.")
def test_plans_of_drawn_services(student: Student, rng: random.Random) -> None:
    for _ in range(12):
        asks_plan(student, service_of(rng, leaks=True), rng.randint(1000, 16_000))


@worth("plan", 8, "A whole number needs no rounding; a machine may be too small; nothing may leak.")
def test_edges_of_plans(student: Student, rng: random.Random) -> None:
    asks_plan(student, service_of(rng, leaks=False), rng.randint(1000, 16_000))
    asks_plan(student, service_of(rng, leaks=True), rng.randint(10, 30))
    whole = {
        "base_mb": 60,
        "model_mb": 4 * rng.randint(5, 50),
        "request_mb": 2,
        "concurrency": 10,
        "headroom": 0.25,
        "leak_mb": 2,
    }
    limit = int(peak_of(whole) * Fraction(5, 4))
    asks_plan(student, whole, limit * rng.randint(2, 5))
    asks_plan(student, whole, limit * rng.randint(2, 5) - 1)
    asks_plan(student, {**whole, "headroom": 0.5}, rng.randint(500, 900))


STANDARD = ("json", "pathlib", "asyncio", "sqlite3", "dataclasses", "urllib.request", "xml.etree.ElementTree")
FORMS = (
    "import {0}",
    "import {0} as short",
    "import {0}.inner",
    "import {0}.inner as x",
    "from {0} import thing",
    "from {0}.inner.deep import thing",
)


def release(rng: random.Random) -> tuple[dict[str, str], str, list[str]]:
    """Draw sources and requirements, and what they lack."""
    packages = [word(rng, 8) for _ in range(8)]
    packages[0], packages[1] = packages[0].title() + "_Kit", word(rng, 5) + "_" + word(rng, 4)
    own, text_only = word(rng, 9), [word(rng, 8) for _ in range(3)]
    lines = [rng.choice(FORMS).format(package) for package in packages[:5]]
    lines += [
        f"import {rng.choice(STANDARD)}, {packages[5]}",
        f"from {rng.choice(STANDARD)} import thing",
        f"from {own} import thing",
    ]
    rng.shuffle(lines)
    late = [
        f"def later():\n    if True:\n        {rng.choice(FORMS).format(packages[6])}",
        f"class Late:\n    def work(self):\n        {rng.choice(FORMS).format(packages[7])}",
    ]
    other = [
        f'"""Text.\nimport {text_only[0]}\nfrom {text_only[1]} import x\n"""',
        f"# import {text_only[2]}",
        "from . import sibling",
        "from .. import cousin as relative",
        "from .neighbour import thing",
    ]
    sources = {"main.py": "\n".join([*lines, *late]) + "\n", f"{own}.py": "\n".join(other) + "\n"}
    lacking = sorted(rng.sample(packages[2:6], 2) + rng.sample(packages[6:], 1))
    declared = ["# pinned by hash", "", f"# {lacking[0]} was tried, and {lacking[1]}"]
    for package in packages:
        if package not in lacking:
            name = package.replace("_", rng.choice("-_")) if package != packages[1] else package.replace("_", "-")
            declared.append(
                f"{name.lower()}=={rng.randint(0, 9)}.{rng.randint(0, 9)}.0" + rng.choice(("", " --hash=sha256:0a1b"))
            )
    return sources, "\n".join(declared) + "\n", lacking


@worth("undeclared", 12, "Walk the syntax tree, and compare top-level names in lower case with - and _ alike.")
def test_what_a_drawn_release_lacks(student: Student, rng: random.Random) -> None:
    for _ in range(6):
        sources, requirements, lacking = release(rng)
        got = student.call("undeclared", sources, requirements)
        assert isinstance(got, list) and all(isinstance(name, str) for name in got), "a list of names was asked for"
        missing, wrong = set(lacking) - set(got), set(got) - set(lacking)
        assert not missing, f"{len(missing)} package(s) that are imported and not declared were not found"
        assert not wrong, (
            f"{min(wrong)} need not be declared, or is: it is standard, own, relative, in a text, or spelled otherwise"
        )
        assert got == lacking, "each name once, and sorted"


@worth("undeclared", 8, "An import may stand in any block; several may stand in one line; a comment declares nothing.")
def test_where_imports_hide(student: Student, rng: random.Random) -> None:
    a, b, c, d = (word(rng, 9) for _ in range(4))
    hidden = f"try:\n    import {a}, {b}.inner\nexcept ImportError:\n    {a} = None\n"
    hidden += f"async def f():\n    from {c}.x import (\n        y,\n    )\n"
    got = student.call("undeclared", {"one.py": hidden}, f"# {b}==1.0\n")
    assert got == sorted([a, b, c]), (
        "imports within try, in one line, in several lines and in functions all count; comments declare nothing"
    )
    assert student.call("undeclared", {"one.py": hidden, f"{a}.py": f"import {c}"}, f"{b}==1\n{c}==2\n") == [], (
        "all of it is own or declared"
    )
    assert student.call("undeclared", {"one.py": f"import {d}\nimport {d}.x"}, "") == [d], (
        "a name that is imported twice is one package"
    )
    relative = "from . import a\nfrom .x import b\nfrom ..y import c\nimport os.path\n"
    assert student.call("undeclared", {"one.py": relative}, "") == [], (
        "relative imports and the standard library need no package"
    )
    assert student.call("undeclared", {}, "") == [], "no sources need nothing"


def typo(rng: random.Random, name: str) -> str:
    """Return a name with one letter too many or too few."""
    at = rng.randrange(1, len(name) - 1)
    return name[:at] + name[at] * 2 + name[at + 1 :] if rng.random() < 0.5 else name[:at] + name[at + 1 :]


def unknown(settings: dict[str, Any], accepted: dict[str, Any], path: str = "") -> list[list[str | None]]:
    """Return what is right for question unknown_settings."""
    found: list[list[str | None]] = []
    for name, value in settings.items():
        if name not in accepted:
            found.append([path + name, next(iter(difflib.get_close_matches(name, list(accepted), n=1)), None)])
        elif isinstance(value, dict) and isinstance(accepted[name], dict):
            found += unknown(value, accepted[name], f"{path}{name}.")
    return sorted(found, key=lambda pair: str(pair[0]))


def asks_unknown(student: Student, settings: dict[str, Any], accepted: dict[str, Any], what: str) -> None:
    """Judge one list."""
    got, wanted = student.call("unknown_settings", settings, accepted), unknown(settings, accepted)
    assert isinstance(got, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in got), (
        "a list of pairs was asked for"
    )
    paths, right = [pair[0] for pair in got], [pair[0] for pair in wanted]
    assert not set(right) - set(map(str, paths)), f"{what}: not all unknown settings are reported by their path"
    assert not set(map(str, paths)) - set(right), (
        f"{what}: something is reported that is accepted there, or lies in what is not looked into"
    )
    assert paths == right, f"{what}: one pair for each, sorted by path"
    assert got == wanted, f"{what}: a nearest name is not the one of its own section that difflib finds, or None"


def known_settings(rng: random.Random) -> dict[str, Any]:
    """Draw accepted settings with sections within sections."""
    leaves = lambda n: {word(rng, rng.randint(7, 10)): rng.random() for _ in range(n)}  # noqa: E731
    return {
        **leaves(3),
        word(rng, 8): {**leaves(3), word(rng, 9): {**leaves(3), word(rng, 9): leaves(2)}},
        word(rng, 8): leaves(3),
    }


def with_typos(rng: random.Random, accepted: dict[str, Any]) -> dict[str, Any]:
    """Return settings with a typo and a stranger in every section, in mixed order."""
    kept = {name: with_typos(rng, value) if isinstance(value, dict) else "anything" for name, value in accepted.items()}
    plain = [name for name, value in accepted.items() if not isinstance(value, dict)]
    kept[typo(rng, rng.choice(plain))] = 1
    kept[rng.choice(("q", "x")) * 9] = 1
    return dict(rng.sample(list(kept.items()), len(kept)))


@worth("unknown_settings", 12, "Compare with the names of the same section; go into sections that both have.")
def test_typos_in_sections(student: Student, rng: random.Random) -> None:
    for _ in range(6):
        accepted = known_settings(rng)
        asks_unknown(student, with_typos(rng, accepted), accepted, "settings with typos")


@worth("unknown_settings", 8, "Look at sections that are unknown, or that are a section on one side only.")
def test_sections_and_values(student: Student, rng: random.Random) -> None:
    a, b, c, d = (word(rng, 9) for _ in range(4))
    accepted = {a: 1, b: {c: 2, d: 3}}
    asks_unknown(student, {typo(rng, b): {c: 1, "stranger": 2}}, accepted, "an unknown section")
    asks_unknown(student, {a: {c: 1}, b: 5}, accepted, "a section for a value, a value for a section")
    asks_unknown(student, {a: "text", b: {c: None, d: [1]}}, accepted, "only known settings")
    asks_unknown(student, {c: 1, b: {a: 1}}, accepted, "names of other sections")
    asks_unknown(student, {}, accepted, "no settings")
    asks_unknown(student, {a: 1, b: {}}, {}, "nothing accepted")


def breaks(columns: list[str], needs: list[str], steps: list[dict[str, Any]]) -> int | None:
    """Return what is right for question first_break."""
    table, versions = list(columns), [list(needs)]
    for number, step in enumerate(steps):
        kind, column = step["do"], step.get("column")
        if kind in ("drop", "rename"):
            if column not in table:
                return number
            table.remove(column)
        fresh = column if kind == "add" else step.get("to")
        if kind in ("add", "rename"):
            if fresh in table:
                return number
            table.append(fresh)
        if kind == "deploy":
            versions.append(step["needs"])
        if {name for version in versions[-2:] for name in version} - set(table):
            return number
    return None


def asks_break(student: Student, columns: list[str], needs: list[str], steps: list[dict[str, Any]], what: str) -> None:
    """Judge one plan of steps."""
    wanted, got = breaks(columns, needs, steps), student.call("first_break", columns, needs, steps)
    if wanted is None:
        assert got is None, f"{what}: nothing breaks, so None was asked for, not {got!r}"
        return
    assert got is not None, f"{what}: a step breaks something, and None came"
    assert type(got) is int, f"{what}: the number of a step was asked for, not {got!r}"
    assert got == wanted, (
        f"{what}: another step is the first that breaks something ({'earlier' if wanted < got else 'later'})"
    )


@worth("first_break", 12, "After each step, what the running code and the code before it need must be there.")
def test_plans_with_names(student: Student, rng: random.Random) -> None:
    old, new, other = (word(rng, 6) for _ in range(3))
    add, drop = {"do": "add", "column": new}, {"do": "drop", "column": old}
    both, later = {"do": "deploy", "needs": ["id", old, new]}, {"do": "deploy", "needs": ["id", new]}
    start, needs = ["id", old, other], ["id", old]
    plans = {
        "expand and contract": [add, both, later, later, drop],
        "contracted too early": [add, both, later, drop],
        "contracted while it is read": [add, both, drop],
        "code before its column": [both, add],
        "renamed under the running code": [{"do": "rename", "column": old, "to": new}, later],
        "a column that nobody reads is renamed": [{"do": "rename", "column": other, "to": new}, later, later, drop],
        "a column that nobody reads is dropped": [{"do": "drop", "column": other}],
        "added twice": [add, both, add],
        "dropped twice": [{"do": "drop", "column": other}, {"do": "drop", "column": other}],
        "renamed to a column that is there": [{"do": "rename", "column": other, "to": "id"}],
        "code that lacks a column, which comes later": [later, add, later],
        "a column that comes back": [add, both, later, later, drop, {"do": "add", "column": old}],
        "nothing": [],
    }
    for what, steps in rng.sample(list(plans.items()), len(plans)):
        asks_break(student, start, needs, steps, what)


@worth(
    "first_break", 8, "Remember three things: the columns, what runs, what ran before. Look at them after each step."
)
def test_drawn_plans(student: Student, rng: random.Random) -> None:
    for _ in range(60):
        names = [word(rng, 4) for _ in range(6)]
        columns = names[:4]
        needs, steps, table = rng.sample(columns, 2), [], set(columns)
        for _ in range(rng.randint(4, 9)):
            kind = rng.choices(("deploy", "add", "drop", "rename"), (5, 2, 2, 1))[0]
            column = rng.choice(sorted(table) or names) if kind in ("drop", "rename") else rng.choice(names)
            step: dict[str, Any] = {"do": kind, "column": column}
            if kind == "deploy":
                step = {"do": kind, "needs": rng.sample(sorted(table), min(len(table), 1))}
            elif kind == "rename":
                step["to"] = rng.choice(names)
            table = table - ({column} if kind in ("drop", "rename") else set()) | (
                {step.get("to", column)} if kind in ("add", "rename") else set()
            )
            steps.append(step)
        asks_break(student, columns, needs, steps, "a drawn plan")
