"""The gates of staging: the bundle runs as it would in production, and does what was judged, under load as well."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mlops_helpers.deploy import bundle
from mlops_helpers.deploy.calls import call
from mlops_helpers.deploy.gates import Gate, Job, Target
from mlops_helpers.deploy.release import Release
from mlops_helpers.deploy.runtime import Runtime, runtime_class
from mlops_helpers.errors import GateRefused, ServiceError
from mlops_helpers.serve import sli
from mlops_helpers.serve.filter import MAX_CHARACTERS
from mlops_helpers.serve.plan import Comment, plan
from mlops_helpers.serve.traffic import Traffic

__all__ = ["load", "smoke"]

_NAME = "staging"
_SAME = 1e-9  # scores are those that were judged, but for the last bits
_LONG_EVERY = 20
_TRIES = 3
_ON_TIME = 0.95  # of the comments: below it, the generator is to blame for what was slow


def _runtime(target: Target) -> object:
    return target.runtime


@contextmanager
def _staging(job: Job) -> Iterator[tuple[bundle.Bundle, Runtime]]:
    """Run the bundle of a job as production would, with its limits and variables, and nothing after it."""
    made = bundle.load(job.needs["package"], job.facts["package"]["bundle"])
    with runtime_class(job.target.runtime)(job.scratch / "runtime") as place:
        release = Release(
            _NAME,
            made.version,
            made.artifact,
            replicas=made.service.replicas,
            limits=made.service.limits,
            **made.placed(job.target.runtime),
        )
        try:
            place.deploy(release)
        except ServiceError as error:
            job.say(str(error))
            raise GateRefused(f"the service does not start: {error}") from error
        job.say(f"{made.version} answers at {', '.join(place.endpoints(_NAME))}")
        yield made, place


def _smoke(job: Job) -> Mapping[str, Any]:
    """Refuse a bundle that does not start, does not answer, or scores otherwise than the quality gate has seen."""
    with _staging(job) as (made, place):
        texts, judged = made.probes()
        comments = [{"id": str(number), "text": text} for number, text in enumerate(texts)]
        try:
            answer = call("POST", place.endpoints(_NAME)[0], "/v1/classify", {"comments": comments})
        except ServiceError as error:
            raise GateRefused(f"the service starts, and does not answer: {error}") from error
        scores = [one["score"] for one in answer["verdicts"]]
    far = [abs(one - other) for one, other in zip(scores, judged, strict=True)]
    shifted = sum(one > _SAME for one in far)
    job.say(f"{len(far)} probes, {shifted} shifted, at most by {max(far):.2g}")
    if shifted:
        worst = far.index(max(far))
        raise GateRefused(
            f"{shifted} of {len(far)} comments get another score than the one that was judged, such as "
            f"{scores[worst]:.3f} instead of {judged[worst]:.3f} for {texts[worst][:60]!r}. Next: ship the text "
            "utility and the packages that the model was trained with"
        )
    return {"probes": len(far)}


def _load(job: Job) -> Mapping[str, Any]:
    """Refuse a bundle that fails or is slow under load: comments as they come, each 20th as long as one may be.

    Settings: ``comments_per_second`` for ``seconds``, of which the share ``available`` must be answered, and the share
    ``fast`` within ``within_ms``.
    """
    limit, least, quick = (job.setting(*one) for one in (("within_ms", 250), ("available", 0.999), ("fast", 0.99)))
    with _staging(job) as (made, place):
        rate, seconds = job.setting("comments_per_second", 40), job.setting("seconds", 3)
        arrivals = plan(_comments(made.probes()[0]), rate=rate, seconds=seconds, seed=0)
        for _ in range(_TRIES):  # of which the first that is as it should be, or could be measured well, decides
            with Traffic(place.endpoints(_NAME)[0], arrivals, job.scratch / "record.jsonl", api="classify") as traffic:
                traffic.wait(60 + 2 * seconds)
            seen = traffic.frame()
            answered, fast = sli.availability(seen), sli.fast(seen, limit / 1000)
            bad = answered.ratio < least or fast.ratio < quick
            status = place.status(_NAME)
            ended = "; ".join(f"{one.name} ended: {one.exit_reason}" for one in status if one.exit_reason)
            if not bad or ended or sli.generator_on_time(seen).ratio >= _ON_TIME:
                break
            job.say("this machine was too busy to send in time, so that what was late may not be the service's fault")
    slow = float(seen["latency"].quantile(0.99)) * 1000
    said = f"{answered.good} of {answered.total} answered, {fast.good} within {limit:g} ms, p99 {slow:.0f} ms"
    job.say(f"{said}; {ended or 'nothing ended'}")
    if ended or bad:
        raise GateRefused(
            f"under load: {said}{'; ' + ended if ended else ''}. Accepted: {least:.1%} answered, {quick:.1%} within "
            f"{limit:g} ms, and no filter that ends. Next: profile the filter with the longest comments"
        )
    return {"answered": answered.good, "p99_ms": round(slow, 1)}


smoke = Gate(_smoke, depends=_runtime)
load = Gate(_load, depends=_runtime)


def _comments(texts: list[str]) -> list[Comment]:
    """Return comments in their order, each 20th another one that is as long as one may be."""
    words = " ".join(texts)
    endless = words * (2 + MAX_CHARACTERS // len(words))
    found = []
    for number in range(_LONG_EVERY * len(texts)):
        start = 31 * number % len(words)
        long = number % _LONG_EVERY == _LONG_EVERY - 1
        text = endless[start : start + MAX_CHARACTERS] if long else texts[number % len(texts)]
        found.append(Comment(text, None, "reader"))
    return found
