"""Scenarios: incidents as YAML that a published JSON Schema describes, checked before anything is started."""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from mlops_helpers.errors import DrillError, OpsLabError
from mlops_helpers.respond.faults import Fault, fault
from mlops_helpers.respond.guards import Guard, guard
from mlops_helpers.respond.operator import ACTIONS

__all__ = ["Fix", "Responder", "Scenario", "choose", "load", "names", "parse", "schema"]

_FOLDER = "mlops_helpers.respond"


@dataclass(frozen=True)
class Responder:
    """What somebody does, written down: a ``diagnosis``, then ``steps`` (action and arguments), one after the other."""

    name: str
    steps: tuple[tuple[str, dict[str, Any]], ...]
    diagnosis: str = ""
    tells: bool = True


@dataclass(frozen=True)
class Fix:
    """What is said to prevent an incident: ``guards`` by name. ``expect`` is what a replay says, ``prevented`` or
    ``refuted``; ``because`` says why one that is refuted does not help.
    """

    name: str
    guards: tuple[tuple[str, Guard], ...]
    expect: str = "prevented"
    because: str = ""


@dataclass(frozen=True)
class Scenario:
    """An incident. ``steady_state`` gives the least share of good events by SLI; ``breach`` is the SLI that leaves it,
    empty for a drill in which acting is wrong. ``seconds`` from the fault to the mitigation earn half of its points.
    ``cause`` is what a diagnosis should say, ``causes`` what it may say; ``fixes`` are tried in replays, by name.
    """

    id: str
    title: str
    story: str
    area: str
    difficulty: int
    steady_state: Mapping[str, float]
    faults: tuple[Fault, ...]
    fault_names: tuple[tuple[str, dict[str, Any]], ...]
    breach: str
    cause: str
    causes: tuple[str, ...]
    fix: str
    fixes: Mapping[str, Fix]
    hints: tuple[tuple[str, int], ...]
    solutions: tuple[Responder, ...]
    not_solutions: tuple[Responder, ...]
    seconds: float = 20.0

    def responder(self, name: str) -> Responder:
        """Return a reference solution, or one that must fail, by name. Raises ``DrillError`` naming them."""
        every = {one.name: one for one in (*self.solutions, *self.not_solutions)}
        if name not in every:
            raise DrillError(f"{self.id} has no responder {name!r}; accepted: {', '.join(every)}")
        return every[name]


@cache
def schema() -> dict[str, Any]:
    """Return the published JSON Schema of a scenario."""
    found: dict[str, Any] = json.loads(files(_FOLDER).joinpath("scenarios/schema.json").read_text("utf-8"))
    return found


def names() -> list[str]:
    """Return the ids of all scenarios, in order."""
    return sorted(one.name[:-5] for one in files(_FOLDER).joinpath("scenarios").iterdir() if one.name.endswith(".yaml"))


def load(which: str | Path) -> Scenario:
    """Return a scenario by its id, or from a file. Raises ``DrillError`` saying what is wrong with it."""
    path = Path(which)
    if path.suffix in (".yaml", ".yml"):
        try:
            return parse(path.read_text("utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise DrillError(f"{path} cannot be read: {error}. Next: opslab drill list") from error
    if str(which) not in names():
        raise DrillError(f"there is no scenario {which!s}; accepted: a file.yaml, or {', '.join(names())}")
    return _of_catalogue(str(which))


@cache
def _of_catalogue(name: str) -> Scenario:
    return parse(files(_FOLDER).joinpath(f"scenarios/{name}.yaml").read_text("utf-8"), f"{name}.yaml")


def choose(seed: int, *, area: str = "", difficulty: int = 0) -> Scenario:
    """Return a scenario that a seed chooses, of an area and a difficulty. Raises ``DrillError`` if there is none."""
    fitting = [one for one in map(load, names()) if area in ("", one.area) and difficulty in (0, one.difficulty)]
    if not fitting:
        raise DrillError(f"no scenario of area {area!r} and difficulty {difficulty}. Next: opslab drill list")
    return random.Random(seed).choice(fitting)


def parse(text: str, source: str = "the scenario") -> Scenario:
    """Return the scenario that a text describes.

    Raises ``DrillError`` when it is no YAML, breaks the schema, or names a fault, guard, action or cause that is
    not there.
    """
    import jsonschema

    try:
        told = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DrillError(f"{source} is no YAML: {error}") from error
    problems = sorted(
        jsonschema.Draft202012Validator(schema()).iter_errors(told), key=lambda one: list(map(str, one.path))
    )
    if problems:
        at = "/".join(map(str, problems[0].absolute_path)) or "the whole"
        raise DrillError(
            f"{source}, {at}: {problems[0].message}. Accepted: mlops_helpers/respond/scenarios/schema.json"
        )
    try:
        return _made(told)
    except OpsLabError as error:
        raise DrillError(f"{source}: {error}") from error


def _made(told: dict[str, Any]) -> Scenario:
    given = [dict(one) for one in told["faults"]]
    named = tuple((one.pop("fault"), one) for one in given)
    made = tuple(fault(name, **arguments) for name, arguments in named)
    if told["cause"] not in told["causes"]:
        raise DrillError(f"cause is {told['cause']!r}; accepted: one of the causes, {', '.join(told['causes'])}")
    fixes = [_fix(one) for one in told["fixes"]]
    if len({one.name for one in fixes}) < len(fixes):
        raise DrillError(f"fixes are {', '.join(one.name for one in fixes)}; accepted: a name of its own for each")
    breach = told["expect"].get("breach", "")
    if breach and breach not in told["steady_state"]:
        raise DrillError(f"breach is {breach}; accepted: an SLI of steady_state, {', '.join(told['steady_state'])}")
    return Scenario(
        id=told["id"],
        title=told["title"],
        story=told["story"].strip(),
        area=told["area"],
        difficulty=told["difficulty"],
        steady_state=told["steady_state"],
        faults=made,
        fault_names=named,
        breach=breach,
        cause=told["cause"],
        causes=tuple(told["causes"]),
        fix=told["fix"],
        fixes={one.name: one for one in fixes},
        hints=tuple((one["text"], one["cost"]) for one in told.get("hints", ())),
        solutions=tuple(map(_responder, told["solutions"])),
        not_solutions=tuple(map(_responder, told["not_solutions"])),
        seconds=told.get("seconds", 20.0),
    )


def _fix(told: dict[str, Any]) -> Fix:
    given = [dict(one) for one in told["guards"]]
    named = [(one.pop("guard"), one) for one in given]
    guards = tuple((name, guard(name, **arguments)) for name, arguments in named)
    return Fix(told["name"], guards, told.get("expect", "prevented"), told.get("because", ""))


def _responder(told: dict[str, Any]) -> Responder:
    steps = [dict(one) for one in told["steps"]]
    done = tuple((one.pop("do"), one) for one in steps)
    for action, _ in done:
        if action not in ACTIONS:
            raise DrillError(f"{told['name']} does {action!r}; accepted: {', '.join(ACTIONS)}")
    return Responder(told["name"], done, told.get("diagnosis", ""), told.get("tells", True))
