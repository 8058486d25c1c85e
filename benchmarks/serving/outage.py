"""All filters away for a while: comments are accepted and held as before, and judged afterwards in order of arrival."""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.serving.accounts import accepted, named, told_apart, until
from mlops_helpers.deploy.platform import Platform
from mlops_helpers.model import data
from mlops_helpers.model.artifact import Artifact
from mlops_helpers.serve import archive
from mlops_helpers.serve.plan import comments_from, plan
from mlops_helpers.serve.sli import Share, availability
from mlops_helpers.serve.traffic import Traffic

__all__ = ["OutageReport", "run"]

COMMENTS_PER_SECOND, READS_PER_COMMENT = 20.0, 1.0
UNLIMITED = 1_000_000  # comments a minute: all of the traffic comes from one address
SLACK_SECONDS = 120.0  # a deadline: so long the traffic goes on at most, until everything has happened
HOLD_SECONDS = 20.0  # a deadline: the blog holds what got no verdict within two seconds


@dataclass(frozen=True)
class OutageReport:
    """What readers saw of an outage of all filters. All tuples name comments, and should be empty.

    No filter ran for ``seconds``: those asked for, and until the last comment of them was held. ``accepted`` are visits
    within them that were answered without error; the p99 are latencies (seconds) of accepted comments before and then.
    ``comments`` counts what was acknowledged in the whole run. ``backlog`` comments waited when the filters were
    started; ``drain_seconds`` after that the last of them was judged, and ``published`` of them were.

    ``lost``: acknowledged, and not on disk. ``not_held``: came while no filter ran, and not shown as held for lack of a
    verdict. ``unclassified``: without a filter's verdict in the end. ``out_of_order``: judged before one that came
    earlier. ``not_published``: ham that readers do not see in the end.
    """

    seconds: float
    comments: int
    accepted: Share
    p99_before: float
    p99_during: float
    backlog: int
    published: int
    drain_seconds: float
    lost: tuple[str, ...]
    not_held: tuple[str, ...]
    unclassified: tuple[str, ...]
    out_of_order: tuple[str, ...]
    not_published: tuple[str, ...]


def run(
    seconds: float = 30.0, seed: int = 0, *, artifact: Artifact | Path, folder: Path, before: float = 5.0
) -> OutageReport:
    """Stop all filters for ``seconds`` while comments arrive, after ``before`` seconds of service as usual.

    ``folder`` must be empty, and has all the evidence afterwards. The traffic is drawn by ``seed``.

    Raises ``ServiceError`` when a service does not start.
    """
    texts = comments_from(data.load("simulated", n_comments=400, seed=seed).frame)
    length, rate = before + seconds + SLACK_SECONDS, COMMENTS_PER_SECOND
    arrivals = told_apart(plan(texts, rate=rate, seconds=length, seed=seed, reads_per_comment=READS_PER_COMMENT))
    versions, place = {"v1": artifact, "v2": artifact}, folder / "platform"
    with Platform(versions, folder=place, comments_per_minute=UNLIMITED) as platform:
        platform.set_weights(dict.fromkeys(versions, 0.5))
        blog, filters = place / "blog", [one.name for one in platform.status() if one.version]
        with Traffic(platform.blog, arrivals, folder / "traffic.jsonl", retries=1) as traffic:
            _sleep_until(traffic.started_at + before)
            asked = time.time()
            for name in filters:
                platform.stop(name)
            away = time.time()
            _sleep_until(away + seconds)
            enough = time.time()
            with suppress(TimeoutError):  # the report names them
                until(lambda: not _not_held(blog, away, enough), "what came is held", HOLD_SECONDS)
            not_held = _not_held(blog, away, enough)
            waiting = set(_waiting(blog)["comment_id"])
            started = time.time()
            for name in filters:
                platform.start(name)
            with suppress(TimeoutError):
                until(lambda: waiting.isdisjoint(_waiting(blog)["comment_id"]), "the backlog is drained")
        frame = traffic.wait(SLACK_SECONDS).frame()
        with suppress(TimeoutError):
            until(lambda: _waiting(blog).empty, "every comment has a verdict")
    stored = archive.comments(blog)
    backlog = stored[stored["comment_id"].isin(waiting)]
    then = frame["intended"] + traffic.started_at
    within = frame[then.between(away, started)]
    acknowledged = accepted(frame, arrivals)
    return OutageReport(
        seconds=started - away,
        comments=len(acknowledged),
        accepted=availability(within),
        p99_before=_p99(frame[then.lt(asked)]),
        p99_during=_p99(within),
        backlog=len(backlog),
        published=int(backlog["state"].eq("published").sum()),
        drain_seconds=backlog["classified_at"].max().timestamp() - started,
        lost=named(acknowledged - set(zip(stored["author"], stored["comment_id"], strict=True))),
        not_held=named(not_held),
        unclassified=named(stored.loc[~stored["outcome"].isin(["ham", "spam"]), "comment_id"]),
        out_of_order=named(stored.loc[stored["classified_at"] < stored["classified_at"].cummax(), "comment_id"]),
        not_published=named(stored.loc[stored["outcome"].eq("ham") & stored["state"].ne("published"), "comment_id"]),
    )


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.time()))


def _waiting(blog: Path) -> pd.DataFrame:
    stored = archive.comments(blog)
    return stored[stored["outcome"].isna()]


def _not_held(blog: Path, begin: float, end: float) -> list[str]:
    """Return which comments of a time (seconds since 1970) the blog does not show as held for lack of a verdict."""
    stored = archive.comments(blog)
    came = stored["created_at"].between(pd.Timestamp(begin, unit="s", tz="UTC"), pd.Timestamp(end, unit="s", tz="UTC"))
    held = stored["state"].eq("held") & stored["reason"].eq("unclassified") & stored["outcome"].isna()
    return list(stored.loc[came & ~held, "comment_id"])


def _p99(frame: pd.DataFrame) -> float:
    ok = frame[frame["kind"].eq("comment") & frame["outcome"].eq("ok")]
    return float(ok["latency"].quantile(0.99))
