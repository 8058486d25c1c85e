"""What a responder may answer to an incident: a diagnosis and steps, as data of which nothing is believed.

It comes from a sandbox, or out of a file: types are compared exactly, names and values with what there is.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mlops_helpers.errors import DrillError

__all__ = ["ARGUMENTS", "MOST_STEPS", "Steps", "answer_of", "steps_of"]

MOST_STEPS = 6
LONGEST_WAIT = 5.0  # seconds, of the action "wait"
ARGUMENTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "restart": {"name": ("blog", "gateway", "filter-v1-0", "filter-v2-0")},
    "roll_back": {"to": ("v1", "v2")},
    "restore_configuration": {},
    "replace_filter": {},
    "repair_network": {"wire": ("edge", "filter-v1-0")},
    "release": {"model": ("good", "strict", "lax", "inverted", "deaf")},
    "block_campaign": {},
    "reconnect_telemetry": {},
    "renew_token": {},
    "delete_service": {},
    "scale_to_zero": {},
    "mute_alerts": {},
    "raise_threshold": {},
    "wait": {"seconds": ()},
}
"""What a step may say: each action of ``respond.operator``, its arguments, and the values that they may have."""

_SHOWN = 80  # characters of what was said, in a message

Steps = tuple[tuple[str, dict[str, Any]], ...]
"""Actions with their arguments, in order."""


def steps_of(said: object) -> Steps:
    """Return the steps that a list of ``{"do": action, argument: value}`` describes.

    Raises ``DrillError`` for anything else: other types, too many, unknown actions, arguments or values.
    """
    if type(said) is not list or len(said) > MOST_STEPS:
        raise DrillError(f"steps are {_shown(said)}; accepted: a list of at most {MOST_STEPS} steps")
    return tuple(_step(number, one) for number, one in enumerate(said, 1))


def _step(number: int, said: object) -> tuple[str, dict[str, Any]]:
    if type(said) is not dict or type(said.get("do")) is not str:
        raise DrillError(f'step {number} is {_shown(said)}; accepted: such as {{"do": "restart", "name": "blog"}}')
    action = said["do"]
    if action not in ARGUMENTS:
        raise DrillError(f"step {number} does {_shown(action)}; accepted: {', '.join(ARGUMENTS)}")
    given = {name: value for name, value in said.items() if name != "do"}
    wanted = ARGUMENTS[action]
    if set(given) != set(wanted):
        found = _shown(sorted(map(str, given)))
        raise DrillError(f"step {number}, {action}, has {found}; accepted: {', '.join(wanted) or 'no argument'}")
    for name, value in given.items():
        if not (_is_wait(value) if action == "wait" else type(value) is str and value in wanted[name]):
            accepted = ", ".join(wanted[name]) or f"a number of seconds, 0 to {LONGEST_WAIT:g}"
            raise DrillError(f"step {number}, {action}: {name} is {_shown(value)}; accepted: {accepted}")
    return action, given


def _is_wait(value: object) -> bool:
    return (type(value) is float or type(value) is int) and 0 <= value <= LONGEST_WAIT


def answer_of(said: object, causes: Sequence[str]) -> tuple[str, Steps]:
    """Return the diagnosis, one of ``causes``, and the steps of ``{"diagnosis": text, "steps": [...]}``.

    Raises ``DrillError`` for anything else.
    """
    if type(said) is not dict or set(said) != {"diagnosis", "steps"}:
        raise DrillError(f"the answer is {_shown(said)}; accepted: a dict with diagnosis and steps, and nothing else")
    diagnosis, steps = said["diagnosis"], steps_of(said["steps"])
    if type(diagnosis) is not str or diagnosis not in causes:
        raise DrillError(f"the diagnosis is {_shown(diagnosis)}; accepted: {', '.join(causes)}")
    return diagnosis, steps


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
