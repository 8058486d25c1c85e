"""The services: speed beside peers, kills, bad requests, an outage. ``build/bench/serve.json`` has every figure."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.harness import Figure, report
from benchmarks.serving import kills, outage
from benchmarks.serving.fuzz import Target, fuzz
from benchmarks.serving.speed import speed
from mlops_helpers.deploy.calls import wait_ready
from mlops_helpers.deploy.platform import Platform
from mlops_helpers.model import artifact, data, training
from mlops_helpers.model.artifact import Artifact
from mlops_helpers.serve import records

__all__ = ["main"]

KILLS = 1_000
BAD_REQUESTS = 100_000
OUTAGE_SECONDS = 30.0


def main() -> bool:
    """Measure, print, store; return whether every goal holds."""
    figures = speed()
    comments = data.load("simulated", n_comments=2_000, seed=3)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        exported = artifact.export(training.train(comments.frame, comments.sha256), folder / "artifact")
        figures += _kills(exported, folder / "kills")
        figures += _bad_requests(exported, folder / "fuzz")
        figures += _outage(exported, folder / "outage")
    return report("serve", figures)


def _zero(figure: str, offenders: int, conditions: str) -> Figure:
    return Figure(figure, float(offenders), "count", "<= 0", conditions)


def _kills(exported: Artifact, folder: Path) -> Iterator[Figure]:
    seen = kills.run(KILLS, 1, artifact=exported, folder=folder)
    by = ", ".join(f"{name} {count}" for name, count in sorted(seen.kills.items()))
    yield Figure("kill -9 at random moments", float(sum(seen.kills.values())), "count", f">= {KILLS}", by)
    said = f"{seen.comments} comments acknowledged, {seen.retried} after a retry"
    yield _zero("acknowledged comments lost", len(seen.lost), said)
    yield _zero("comments stored twice", len(seen.doubled), said)
    yield _zero("comments classified twice", len(seen.classified_twice), said)
    yield _zero("comments without a filter's verdict in the end", len(seen.unclassified) + len(seen.misjudged), said)
    said = f"{seen.predictions} predictions acknowledged, {seen.repeated} records of repeated deliveries"
    yield _zero("acknowledged predictions lost", len(seen.predictions_lost), said)
    yield _zero("logs damaged, processes that died unasked", len(seen.damaged) + seen.crashes, said)
    ratio = 100 * seen.availability.ratio
    yield Figure("visits answered meanwhile", ratio, "%", "", f"{seen.seconds:.0f} s; {seen.availability}")


def _bad_requests(exported: Artifact, folder: Path) -> Iterator[Figure]:
    with Platform({"v1": exported}, folder=folder, comments_per_minute=10**6) as platform:
        pids = {service.name: service.pid for service in platform.status()}
        classify = ((b"/v1/classify",), lambda text, key: {"id": key, "text": text})
        targets = {
            "filter": (Target(platform.filters["v1"][0], *classify), 0.5),
            "gateway": (Target(platform.gateway, *classify), 0.25),
            "blog": (
                Target(
                    platform.blog, (b"/posts/first-frost/comments",), lambda text, key: {"author": key, "text": text}
                ),
                0.25,
            ),
        }
        for name, (target, share) in targets.items():
            seen = fuzz(target, round(BAD_REQUESTS * share), seed=4, concurrency=32)
            statuses = ", ".join(f"{status}: {count}" for status, count in sorted(seen.statuses.items()))
            yield _zero(f"{name}: server errors on {seen.sent} bad requests", seen.server_errors, statuses)
        for address in (platform.blog, platform.gateway):
            wait_ready(address, 30)
        gone = sum(pids[service.name] != service.pid or service.restarts for service in platform.status())
        yield _zero("processes that bad requests ended", gone, "same processes before and after")
        memory = max(service.memory or 0 for service in platform.status()) / 1e6
        yield Figure("largest resident memory after bad requests", memory, "MB", "", "of filter, gateway and blog")
        log = [record for one in platform.predictions("v1") for record in records.records(one)]
        strange = sum(set(record) != set(log[0]) or record["comment_id"] == "forged" for record in log)
        yield _zero("forged or malformed log records", strange, f"of {len(log)}")


def _outage(exported: Artifact, folder: Path) -> Iterator[Figure]:
    seen = outage.run(OUTAGE_SECONDS, artifact=exported, folder=folder)
    said = f"no filter for {seen.seconds:.0f} s; {seen.comments} comments, backlog of {seen.backlog}"
    refused = seen.accepted.total - seen.accepted.good
    yield _zero("outage: visits not accepted", refused, f"{said}; {seen.accepted}")
    yield _zero("outage: comments lost", len(seen.lost) + len(seen.unclassified), said)
    yield _zero("outage: comments judged out of order", len(seen.out_of_order), said)
    yield _zero(
        "outage: not held meanwhile, or ham not published after", len(seen.not_held) + len(seen.not_published), said
    )
    yield Figure("outage: backlog drained after", seen.drain_seconds, "s", "", said)
    p99 = f"before {1000 * seen.p99_before:.0f} ms; the blog waits up to 250 ms for a verdict"
    yield Figure("outage: p99 of accepted comments", 1000 * seen.p99_during, "ms", "", p99)
