"""Two older ways to release: blue/green (everybody at once, the old one stays warm) and rolling (one after the other).

Neither compares anything: a version that answers and judges badly gets through. They are cheaper than a canary and
enough for a change that cannot be worse by a little.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlops_helpers.deploy.calls import call
from mlops_helpers.deploy.platform import Platform
from mlops_helpers.deploy.rollback import Tell, answers, rollback, silent
from mlops_helpers.deploy.undoing import undone_by
from mlops_helpers.errors import ParameterError, ServiceError
from mlops_helpers.model import artifact as artifacts

__all__ = ["Switch", "blue_green", "rolling"]

Source = artifacts.Artifact | Path | str


@dataclass(frozen=True)
class Switch:
    """Who served, who serves, in how many ``seconds`` it was ready, and in how many readers were ``moved``."""

    old: str
    new: str
    ready: float
    moved: float


def blue_green(
    platform: Platform,
    green: str,
    artifact: Source,
    *,
    check: Callable[[str], object] | None = None,
    tell: Tell = silent,
) -> Switch:
    """Start ``green`` beside the version that serves (blue), as large as it; ask it, then move everybody at once.

    ``check(green)`` may ask more of it before a reader meets it, and raises when it is not content. Blue keeps
    running: :func:`~mlops_helpers.deploy.rollback.rollback` brings everybody back; ``platform.remove_version`` ends it.

    Raises ``ParameterError`` when more than one version serves, ``ServiceError`` when green does not answer, or what
    ``check`` raises: blue serves as before then, and green is gone.
    """
    serving = [version for version, weight in platform.weights().items() if weight]
    if len(serving) != 1:
        raise ParameterError(f"{' and '.join(serving)} serve; accepted: one version. Next: end that canary first")
    (blue,), began = serving, time.perf_counter()
    platform.add_version(green, artifact, replicas=len(platform.filters[blue]))

    def undo() -> None:
        rollback(platform, blue, tell=tell)
        platform.remove_version(green)

    with undone_by(undo):
        tell("green_started", blue=blue, green=green)
        if complaint := answers(platform, green):
            raise ServiceError(f"{complaint}; all comments stay at {blue}")
        if check is not None:
            check(green)
        ready = time.perf_counter()
        platform.set_weights({green: 1.0})
    done = Switch(blue, green, ready - began, time.perf_counter() - ready)
    tell("switched", serves=green, **vars(done))
    return done


def rolling(platform: Platform, version: str, artifact: Source, *, tell: Tell = silent) -> Switch:
    """Replace the artifact of a version, one filter after the other, while the others answer.

    Its name stays, so that old and new answers are told apart only by the artifact's hash in their records; and the
    way back is another such update. ``old`` and ``new`` are these hashes.

    Raises ``ParameterError`` for an unknown version, ``ArtifactError`` when there is no artifact, ``ServiceError`` when
    a new filter does not get ready: the old ones serve then, as before.
    """
    new = artifact if isinstance(artifact, artifacts.Artifact) else artifacts.load(Path(artifact))
    if version not in platform.filters:
        raise ParameterError(f"there is no version {version!r}; there are: {', '.join(platform.filters)}")
    old, began = _hash(platform, version), time.perf_counter()
    try:
        platform.update(version, new)
    except ServiceError as error:
        tell("rolled_back", wanted=new.sha256, serves=version, reason=str(error))
        raise
    seconds = time.perf_counter() - began
    done = Switch(old, new.sha256, seconds, seconds)
    tell("rolled_out", serves=version, **vars(done))
    return done


def _hash(platform: Platform, version: str) -> str:

    return str(call("GET", platform.filters[version][0], "/version")["artifact_sha256"])
