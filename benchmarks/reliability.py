"""What disasters lose: a thousand kills, a hundred thousand bad requests, half a minute without any filter."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import Figure, none_of
from mlops_helpers.deploy.platform import Platform
from mlops_helpers.model import artifact, data, training
from mlops_helpers.model.artifact import Artifact
from mlops_helpers.serve import records
from tests.support import accounts, kills, outage
from tests.support.fuzz import fuzz, targets

KILLS, BAD_REQUESTS, OUTAGE_SECONDS = 1_000, 100_000, 30.0


def figures() -> Iterator[Figure]:
    """Kill, send nonsense, take the filters away; count what was promised and not kept."""
    with TemporaryDirectory() as scratch:
        exported, folder = small_model(Path(scratch) / "artifact"), Path(scratch)
        killed = kills.run(KILLS, 1, artifact=exported, folder=folder / "kills")
        about = f"{KILLS} kills of {', '.join(killed.kills)} in {killed.seconds:.0f} s; {killed.comments} comments, "
        about += f"{killed.predictions} predictions acknowledged, {killed.retried} of them by a retry"
        for promise, offenders in killed.broken.items():
            yield none_of(f"kills: {promise}", offenders, about)
        yield Figure("kills: visits answered", 100 * killed.availability.ratio, "%", "", about)
        yield from _bad_requests(exported, folder / "fuzz")
        away = outage.run(OUTAGE_SECONDS, artifact=exported, folder=folder / "outage")
    about = f"no filter for {away.seconds:.0f} s; {away.comments} comments, backlog of {away.backlog}"
    yield Figure("outage: visits not accepted", away.accepted.total - away.accepted.good, "", "<= 0", about)
    for promise, offenders in away.broken.items():
        yield none_of(f"outage: {promise}", offenders, about)
    about = f"backlog drained {away.drain_seconds:.1f} s after; p99 before: {1000 * away.p99_before:.0f} ms"
    yield Figure("outage: p99 of accepted comments", 1000 * away.p99_during, "ms", "", about)


def small_model(folder: Path) -> Artifact:
    """Train on 2,000 comments and export."""
    comments = data.load("simulated", n_comments=2_000, seed=3)
    return artifact.export(training.train(comments.frame, comments.sha256), folder)


def _bad_requests(exported: Artifact, folder: Path) -> Iterator[Figure]:
    with Platform({"v1": exported}, folder=folder, comments_per_minute=accounts.UNLIMITED) as platform:
        before = {service.name: service.pid for service in platform.status()}
        for name, target in targets(platform).items():
            report = fuzz(target, BAD_REQUESTS // 3, seed=4, concurrency=32)
            statuses = ", ".join(f"{status}: {count}" for status, count in sorted(report.statuses.items()))
            about = f"of {report.sent}; by status, 0 for none: {statuses}"
            yield Figure(f"bad requests: {name}, server errors", report.server_errors, "", "<= 0", about)
        after = platform.status()
        ended = [service.name for service in after if before[service.name] != service.pid or service.restarts]
        memory = max(service.memory or 0 for service in after) / 1e6
        yield none_of("bad requests: processes that ended", ended, f"the largest one has {memory:.0f} MB")
        log = [record for place in platform.predictions("v1") for record in records.records(place)]
        strange = [record for record in log if set(record) != set(log[0]) or record["comment_id"] == "forged"]
        yield none_of("bad requests: forged or malformed log records", strange, f"of {len(log)}")
