"""A canary: a new version gets few of the comments, then more, while a test watches that it is not worse.

It is compared with the old version at the same time, never with the past: what goes wrong for both is not its fault.
Whatever happens, somebody who interrupts it included, it ends with all comments at one version: the canary when every
stage has passed, the old one otherwise.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from mlops_helpers.deploy.canary_evidence import Labels, Observer
from mlops_helpers.deploy.canary_plan import Plan, Stage
from mlops_helpers.deploy.platform import Platform
from mlops_helpers.deploy.rollback import Tell, rollback, silent
from mlops_helpers.deploy.sequential import threshold
from mlops_helpers.deploy.undoing import undone_by
from mlops_helpers.errors import ParameterError

__all__ = ["Look", "Verdict", "release_canary"]


@dataclass(frozen=True)
class Look:
    """What was known at one moment: ``seconds`` after the start, in a stage (from 1) with ``comments`` and ``labels``.

    ``evidence`` is that of each test, 1: none.
    """

    seconds: float
    stage: int
    weight: float
    comments: int
    labels: int
    evidence: Mapping[str, float]


@dataclass(frozen=True)
class Verdict:
    """How a canary ended: ``promoted``, ``aborted`` or ``inconclusive`` (too little was seen in time), and why.

    ``served`` comments were given to the canary before its end. ``limit`` is the evidence that aborts. ``back`` is how
    many seconds the way back took, None if there was none.
    """

    outcome: str
    reason: str
    served: int
    limit: float
    looks: tuple[Look, ...]
    back: float | None = None


def release_canary(
    platform: Platform,
    canary: str,
    control: str,
    plan: Plan,
    *,
    labels: Labels | None = None,
    tell: Tell = silent,
    every: float = 0.25,
) -> Verdict:
    """Take a version that runs already through the stages of a plan; return how it ended.

    ``labels`` are what moderators decided so far (see :mod:`~mlops_helpers.deploy.canary_evidence`); without them the
    quality of verdicts is not judged, and no stage may wait for labels. It looks ``every`` so many seconds.

    Raises ``ParameterError`` for unknown versions, a plan that waits for labels that never come, or when ``control``
    does not serve all comments; ``ServiceError`` when the gateway does not answer.
    """
    _check(platform, canary, control, plan, labels)
    observer = Observer(platform, control, canary, plan, labels)
    limit, began = threshold(plan.alpha, len(observer.evidence)), time.monotonic()
    looks: list[Look] = []
    served = 0
    tell("canary_started", canary=canary, control=control, alpha=plan.alpha, limit=limit)

    def ended(outcome: str, reason: str) -> Verdict:
        back = rollback(platform, control, tell=tell).seconds
        tell(f"canary_{outcome}", canary=canary, reason=reason, comments=served)
        return Verdict(outcome, reason, served, limit, tuple(looks), back)

    with undone_by(lambda: rollback(platform, control, tell=tell)):
        for number, stage in enumerate(plan.stages, 1):
            platform.set_weights({control: 1 - stage.weight, canary: stage.weight})
            observer.begin(stage.weight)
            tell("canary_stage", canary=canary, stage=number, weight=stage.weight)
            before, deadline = served, time.monotonic() + plan.stage_seconds
            while not _enough(observer, stage):
                time.sleep(every)
                observer.look()
                served = before + observer.served
                evidence = {name: one.e_value for name, one in observer.evidence.items()}
                seconds = time.monotonic() - began
                looks.append(Look(seconds, number, stage.weight, observer.comments, observer.labels, evidence))
                worse = [name for name, e_value in evidence.items() if e_value >= limit]
                if worse:
                    return ended("aborted", _why(observer, worse[0], limit))
                if time.monotonic() > deadline and not _enough(observer, stage):
                    return ended("inconclusive", _too_little(observer, number, stage, plan.stage_seconds))
        platform.set_weights({canary: 1.0})
    reason = f"{len(plan.stages)} stages, no evidence above {limit:.0f}"
    tell("canary_promoted", canary=canary, serves=canary, reason=reason, comments=served)
    return Verdict("promoted", reason, served, limit, tuple(looks))


def _check(platform: Platform, canary: str, control: str, plan: Plan, labels: Labels | None) -> None:
    weights = platform.weights()
    for version in (canary, control):
        if version not in weights:
            known = ", ".join(weights)
            raise ParameterError(f"there is no version {version!r}; there are: {known}. Next: platform.add_version")
    if canary == control or weights[control] != 1:
        raise ParameterError(
            f"the weights are {weights}, control is {control}, the canary {canary}; accepted: all comments at a "
            f"control that is not the canary. Next: rollback(platform, {control!r})"
        )
    if labels is None and any(stage.labels for stage in plan.stages):
        raise ParameterError("the plan waits for labels, and there are none; accepted: labels=, or stages without")


def _enough(observer: Observer, stage: Stage) -> bool:
    return observer.comments >= stage.comments and observer.labels >= stage.labels


def _why(observer: Observer, name: str, limit: float) -> str:
    found = observer.evidence[name]
    return (
        f"{name}: {found.hits} of {found.events} were the canary's, {found.expected:.1f} expected if it is not worse; "
        f"evidence {found.e_value:.3g}, accepted: below {limit:.0f}"
    )


def _too_little(observer: Observer, number: int, stage: Stage, seconds: float) -> str:
    return (
        f"stage {number} saw {observer.comments} of {stage.comments} comments and {observer.labels} of {stage.labels} "
        f"labels in {seconds:g} s; nothing speaks against the canary. Next: a smaller plan, or more time"
    )
