"""All filters away for a while: comments are accepted and held as before, and judged afterwards in order of arrival."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mlops_helpers.deploy.platform import Platform
from mlops_helpers.model import data
from mlops_helpers.model.artifact import Artifact
from mlops_helpers.serve import archive, sli
from mlops_helpers.serve.plan import comments_from, plan
from mlops_helpers.serve.traffic import Traffic
from tests.support import accounts
from tests.support.waiting import until

COMMENTS_PER_SECOND, READS_PER_COMMENT = 20.0, 1.0
PATIENCE = 20.0  # seconds that readers wait: what is judged is whether they are answered; how soon is a figure
SLACK_SECONDS = 120.0  # a deadline: so long the traffic goes on at most, until everything has happened


@dataclass(frozen=True)
class OutageReport:
    """What readers saw of an outage of all filters, which took ``seconds``.

    ``accepted`` are visits within it that were answered without error; the p99 are latencies (seconds) of accepted
    comments before and then. ``backlog`` comments waited when the filters were started; ``drain_seconds`` after that
    the last of them was judged, and ``published`` of them were. ``broken`` names the comments for which each promise
    was not kept; all should be empty.
    """

    seconds: float
    comments: int
    accepted: sli.Share
    p99_before: float
    p99_during: float
    backlog: int
    published: int
    drain_seconds: float
    broken: Mapping[str, Sequence[str]]


def run(seconds: float, seed: int = 0, *, artifact: Artifact | Path, folder: Path, before: float = 5.0) -> OutageReport:
    """Stop all filters for ``seconds`` while comments arrive, after ``before`` seconds of service as usual.

    ``folder`` must be empty, and has all the evidence afterwards. The traffic is drawn by ``seed``.

    Raises ``ServiceError`` when a service does not start.
    """
    texts = comments_from(data.load("simulated", n_comments=400, seed=seed).frame)
    length = before + seconds + SLACK_SECONDS
    arrivals = plan(texts, rate=COMMENTS_PER_SECOND, seconds=length, seed=seed, reads_per_comment=READS_PER_COMMENT)
    arrivals = accounts.with_own_authors(arrivals)
    versions, place = {"v1": artifact, "v2": artifact}, folder / "platform"
    with Platform(versions, folder=place, comments_per_minute=accounts.UNLIMITED) as platform:
        platform.set_weights(dict.fromkeys(versions, 0.5))
        blog, filters = place / "blog", [service.name for service in platform.status() if service.version]
        with Traffic(platform.blog, arrivals, folder / "traffic.jsonl", retries=1, timeout=PATIENCE) as traffic:
            time.sleep(max(0.0, traffic.started_at + before - time.time()))
            asked = time.time()
            for name in filters:
                platform.stop(name)
            away = time.time()
            time.sleep(seconds)
            enough = time.time()
            with suppress(AssertionError):  # the report names them
                until(lambda: not _not_held(blog, away, enough), "what came is held")
            not_held = _not_held(blog, away, enough)
            waiting = set(_waiting(blog))
            started = time.time()
            for name in filters:
                platform.start(name)
            with suppress(AssertionError):
                until(lambda: waiting.isdisjoint(_waiting(blog)), "the backlog is drained")
        frame = traffic.wait(SLACK_SECONDS).frame()
        with suppress(AssertionError):
            until(lambda: not _waiting(blog), "every comment has a verdict")
    stored = archive.comments(blog)
    backlog = stored[stored["comment_id"].isin(waiting)]
    at = frame["intended"] + traffic.started_at
    promised = accounts.acknowledged(frame, arrivals)
    return OutageReport(
        seconds=started - away,
        comments=len(promised),
        accepted=sli.availability(frame[at.between(away, started)]),
        p99_before=_p99(frame[at.lt(asked)]),
        p99_during=_p99(frame[at.between(away, started)]),
        backlog=len(backlog),
        published=int(backlog["state"].eq("published").sum()),
        drain_seconds=backlog["classified_at"].max().timestamp() - started,
        broken={
            "acknowledged comments lost": accounts.missing(promised, stored),
            "comments that came meanwhile and were not held": not_held,
            "comments without a verdict in the end": accounts.unclassified(stored),
            "comments judged before an earlier one": list(
                stored.loc[stored["classified_at"] < stored["classified_at"].cummax(), "comment_id"]
            ),
            "ham that readers do not see in the end": list(
                stored.loc[stored["outcome"].eq("ham") & stored["state"].ne("published"), "comment_id"]
            ),
        },
    )


def _waiting(blog: Path) -> list[str]:
    stored = archive.comments(blog)
    return list(stored.loc[stored["outcome"].isna(), "comment_id"])


def _not_held(blog: Path, begin: float, end: float) -> list[str]:
    """Return which comments of a time (seconds since 1970) the blog does not show as held for lack of a verdict."""
    stored = archive.comments(blog)
    came = stored["created_at"].between(pd.Timestamp(begin, unit="s", tz="UTC"), pd.Timestamp(end, unit="s", tz="UTC"))
    held = stored["state"].eq("held") & stored["reason"].eq("unclassified") & stored["outcome"].isna()
    return list(stored.loc[came & ~held, "comment_id"])


def _p99(frame: pd.DataFrame) -> float:
    ok = frame[frame["kind"].eq("comment") & frame["outcome"].eq("ok")]
    return float(ok["latency"].quantile(0.99))
