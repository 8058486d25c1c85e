"""The last gates: is there error budget for a risk, and then the release itself."""

from collections.abc import Mapping
from datetime import UTC
from typing import Any

from mlops_helpers.deploy import bundle
from mlops_helpers.deploy.gates import Gate, Job
from mlops_helpers.deploy.release_settings import ReleaseSettings, read
from mlops_helpers.errors import GateRefused, PipelineError, ServiceError
from mlops_helpers.observe import policy

__all__ = ["error_budget", "production"]


def _error_budget(job: Job) -> Mapping[str, Any]:
    """Refuse a change that has to wait until there is error budget again."""
    change = read(ReleaseSettings, job.source).change
    decision = policy.decide(job.target.remaining, change)
    job.say(decision.reason)
    if not decision.allowed:
        raise GateRefused(decision.reason)
    return {"change": change, "reason": decision.reason}


def _production(job: Job) -> Mapping[str, Any]:
    """Let readers be served by the bundle that the gates have judged, and by no other."""
    if job.target.production is None:
        raise PipelineError("there is no production. Next: Target(production=...), or end='delivery'")
    settings = read(ReleaseSettings, job.source)
    made = bundle.load(job.needs["package"], job.facts["package"]["bundle"])
    try:
        job.target.production.release(made, job.tell)
    except ServiceError as error:
        raise GateRefused(f"production is as it was before: {error}") from error
    committed = settings.committed_at
    at = committed if committed.tzinfo else committed.replace(tzinfo=UTC)
    return {"bundle": made.sha256, "version": made.version, "committed_at": at.isoformat(), "rework": settings.rework}


error_budget = Gate(_error_budget, always=True)
production = Gate(_production, always=True)
