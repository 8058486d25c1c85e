"""Back to the old version, by one command: nothing is restarted, the gateway sends everything there from now on.

Only weights change, so that what is under way is answered by whom it was asked, and no comment is in between. The old
version must still run: that is why a release keeps it until the new one has proved itself.
"""

import contextlib
import http.client
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mlops_helpers.deploy.platform import Platform
from mlops_helpers.errors import ParameterError, ServiceError

__all__ = ["Rollback", "Tell", "answers", "last_good", "rollback", "silent"]

PROBE_SECONDS = 0.5  # for one comment, of a version that is about to get all of them


class Tell(Protocol):
    """Takes what happens in a release: an event's name and facts that JSON knows."""

    def __call__(self, event: str, /, **facts: Any) -> object:
        """Take one event."""


def silent(event: str, /, **facts: Any) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Rollback:
    """Who was ``wanted`` and who ``serves`` all comments now; ``reason`` says why these differ, empty if they do not.

    ``changed`` is False when it was so before. ``seconds`` from the command until the gateway had changed the weights.
    """

    wanted: str
    serves: str
    changed: bool
    seconds: float
    reason: str = ""


def rollback(platform: Platform, to: str, *, fallbacks: Sequence[str] = (), tell: Tell = silent) -> Rollback:
    """Give all comments to version ``to``; if that does not answer, to the first of ``fallbacks`` that does.

    A version is asked for a verdict before it gets comments. Rolling back twice changes nothing the second time.

    Raises ``ParameterError`` for an unknown version, ``ServiceError`` when none of them answers: then nothing was
    changed, and the blog holds for its moderators what nobody judges.
    """
    began = time.perf_counter()
    known = platform.filters
    for version in (to, *fallbacks):
        if version not in known:
            raise ParameterError(f"there is no version {version!r} to go back to; there are: {', '.join(known)}")
    broken = []
    for version in (to, *fallbacks):
        complaint = answers(platform, version)
        if not complaint:
            break
        broken.append(complaint)
        tell("rollback_target_broken", version=version, reason=complaint)
    else:
        reason = f"nothing was changed: {'; '.join(broken)}"
        tell("rollback_failed", wanted=to, reason=reason)
        raise ServiceError(f"{reason}. Next: repair one of them, or name another in fallbacks")
    before = {name: weight for name, weight in platform.weights().items() if weight}
    if changed := before != {version: 1.0}:
        platform.set_weights({version: 1.0})
    done = Rollback(to, version, changed, time.perf_counter() - began, "; ".join(broken))
    tell("rolled_back" if changed else "rollback_not_needed", before=before, **vars(done))
    return done


def answers(platform: Platform, version: str) -> str:
    """Return why a version does not give a verdict, empty when it does: one replica that answers will do.

    The question is marked as a shadow's, so that it does not count as a reader's comment.
    """
    complaints = []
    for address in platform.filters[version]:
        host, _, port = address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=PROBE_SECONDS)
        with contextlib.closing(connection):
            try:
                body = json.dumps({"id": "rollback-probe", "text": "Is anybody there?"})
                connection.request("POST", "/v1/classify", body, {"content-type": "application/json", "x-shadow": "1"})
                reply = connection.getresponse()
                reply.read()
            except (OSError, http.client.HTTPException) as error:
                complaints.append(f"{version} at {address} does not answer ({type(error).__name__})")
                continue
        if reply.status == 200:
            return ""
        complaints.append(f"{version} at {address} answers {reply.status}")
    return "; ".join(complaints)


def last_good(events: Iterable[Mapping[str, Any]], *, other_than: str = "") -> str:
    """Return the version that a record of releases saw serve all readers last, apart from ``other_than``.

    ``events`` are what :class:`Tell` was told, the oldest first: mappings with ``event`` and, for one that makes a
    version serve, ``serves``.

    Raises ``ParameterError`` when no such event is on record: a version to go back to is not guessed.
    """
    told = [str(event["serves"]) for event in events if event.get("serves")]
    good = [version for version in told if version != other_than]
    if not good:
        said = f"only {other_than} ever served" if told else "the record is missing or empty"
        raise ParameterError(f"nobody knows what to go back to: {said}. Next: name it: rollback(platform, 'v1')")
    return good[-1]
