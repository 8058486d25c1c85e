"""Drills that the grader runs itself, with what a student's responder says, and signs.

What comes from a student is data from a sandbox: an answer to what the grader saw, of which nothing is believed. The
drill happens in the grader's process and is judged by its readers; its journal is signed with a key that never enters a
sandbox, over the student's name as well, so that a journal that somebody brings along shows who earned it, and that
nothing was added. A drill is timed, and two at once would spoil each other: one runs at a time on a machine.
"""

import fcntl
import hashlib
import hmac
import json
import math
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_helpers.errors import DrillError, OpsLabError
from mlops_helpers.respond import drill, scenario
from mlops_helpers.respond.operator import Operator
from mlops_helpers.teach.grading_steps import answer_of
from mlops_helpers.workspace import workspace

__all__ = ["Drilled", "Respond", "drill_with", "grader_key", "signed", "verified"]

Respond = Callable[[dict[str, Any]], object]
"""Is told what was seen, as JSON data: ``story``, ``causes``, ``services``, ``weights``, ``slis``, ``tolerances``."""

_PAGE_SECONDS, _SHOWS_SECONDS, _LOOK_SECONDS = 12.0, 8.0, 0.25
_TURN_SECONDS = 60.0  # for other drills to end
_TRIES = 2  # a drill that is void says nothing about anybody
_SIGNATURE = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Drilled:
    """What a drill gave: ``reason`` says why it was not passed; ``journal`` is signed for the student."""

    passed: bool
    points: float
    reason: str
    journal: dict[str, Any]


def grader_key() -> bytes:
    """Return this grader's key, made when there is none: a file of its workspace that only its owner can read."""
    path = workspace("grading") / "drill.key"
    if not path.exists():
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        with suppress(FileExistsError):  # several graders begin at once: the first one's key is everybody's
            os.link(fresh, path)
        fresh.unlink()
    key = path.read_bytes()
    if len(key) != 32:
        raise DrillError(f"{path} holds {len(key)} bytes; accepted: 32. Next: remove it; what it signed is then void")
    return key


def signed(journal: Sequence[Mapping[str, Any]], key: bytes, *, student: str) -> dict[str, Any]:
    """Return a journal with the student's name and the signature over both, as JSON data."""
    records = json.loads(json.dumps([dict(record) for record in journal], default=str))
    return {"student": student, "journal": records, "signature": _signature(records, key, student)}


def verified(brought: object, key: bytes, *, student: str) -> list[dict[str, Any]]:
    """Return the records of a signed journal, if it was signed with the key, for this student.

    Raises ``DrillError`` when it was not: forged, altered, cut, or earned by somebody else.
    """
    fields = {"student", "journal", "signature"}
    if type(brought) is not dict or set(brought) != fields or type(brought["journal"]) is not list:
        raise DrillError(f"that is no signed journal; accepted: a dict with {', '.join(sorted(fields))}")
    signature = brought["signature"]
    if type(signature) is not str or not _SIGNATURE.fullmatch(signature):
        raise DrillError("its signature is no signature; accepted: 64 hexadecimal digits")
    if brought["student"] != student:
        raise DrillError("it was signed for somebody else; accepted: a journal of one's own drill")
    if not hmac.compare_digest(signature, _signature(brought["journal"], key, student)):
        raise DrillError("its signature does not fit: not written, or not left, by this grader")
    return list(brought["journal"])


def _signature(records: object, key: bytes, student: str) -> str:
    try:
        text = json.dumps(["drill journal 1", student, records], sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise DrillError(f"the journal is no JSON data: {type(error).__name__}") from error
    return hmac.new(key, text.encode("ascii"), hashlib.sha256).hexdigest()


def drill_with(
    answer: Respond | object, scenario_id: str, folder: Path, key: bytes, seed: int, *, student: str
) -> Drilled:
    """Run a drill with a student's answer to it, and sign its journal.

    ``answer`` is ``{"diagnosis": text, "steps": [...]}`` or a function that is told what is seen and returns that.
    Lasts about half a minute, after other drills of this machine have ended.

    Raises ``DrillError`` for an answer that is none, when other drills do not end, and when this one was void
    twice: that is nobody's fault.
    """
    chosen, why = scenario.load(scenario_id), ""
    for number in range(_TRIES):
        with _alone(), drill.Drill(chosen, seed=seed, folder=folder / f"try-{number + 1}") as running:
            if not running.void:
                _respond(running.hands, answer, chosen)
            result = running.close()
        why = result.reason
        if result.outcome != "void":
            return Drilled(result.passed, result.points, why, signed(result.journal, key, student=student))
    raise DrillError(f"the drill was void {_TRIES} times: {why}. Next: grade again on a machine that is less busy")


def _respond(hands: Operator, answer: Respond | object, chosen: scenario.Scenario) -> None:
    if chosen.breach:
        hands.wait_for_page(_PAGE_SECONDS)
    hands.acknowledge()
    hands.tell("We have seen that something is wrong, and look into it.")
    said = answer(_seen(hands, chosen)) if callable(answer) else answer
    diagnosis, steps = answer_of(said, chosen.causes)
    hands.diagnose(diagnosis)
    for action, arguments in steps:
        hands.act(action, **arguments)
    hands.resolve(f"done: {', '.join(action for action, _ in steps) or 'nothing was to be done'}")


def _seen(hands: Operator, chosen: scenario.Scenario) -> dict[str, Any]:
    """Look until what readers meet shows in the indicators, which come seconds later than the readers."""
    limit = time.monotonic() + (_SHOWS_SECONDS if chosen.breach else 0.0)
    while True:
        slis = hands.slis()
        shows = slis.get(chosen.breach, math.nan) < chosen.steady_state.get(chosen.breach, 0.0)
        if shows or time.monotonic() >= limit:
            break
        time.sleep(_LOOK_SECONDS)
    try:
        weights: dict[str, float] | None = hands.weights()
    except OpsLabError:  # who knows the weights is away, which says something as well
        weights = None
    return {
        "story": chosen.story,
        "causes": list(chosen.causes),
        "services": {row["name"]: row["state"] for row in hands.status().to_dict("records")},
        "weights": weights,
        "slis": {name: None if math.isnan(share) else share for name, share in slis.items()},
        "tolerances": dict(chosen.steady_state),
    }


@contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other drill of a grader runs on this machine. Raises ``DrillError`` when that takes too long."""
    limit = time.monotonic() + _TURN_SECONDS
    with (workspace("grading") / "drill.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= limit:
                    raise DrillError(
                        f"other drills have taken this machine for {_TURN_SECONDS:g} s. Next: grade with one worker"
                    ) from None
                time.sleep(_LOOK_SECONDS)
        yield
