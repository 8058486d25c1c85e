"""Kills at random moments under load: whatever a process was doing, what it had promised is kept."""

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving.accounts import (
    accepted,
    judged_twice,
    misjudged,
    named,
    recorded_in,
    told_apart,
    until,
    witness_verdicts,
)
from mlops_helpers.deploy.platform import Platform
from mlops_helpers.model import data
from mlops_helpers.model.artifact import Artifact
from mlops_helpers.serve import archive
from mlops_helpers.serve.plan import Arrival, Comment, comments_from, plan
from mlops_helpers.serve.sli import Share, availability, by_window
from mlops_helpers.serve.store import DATABASE
from mlops_helpers.serve.traffic import Traffic

__all__ = ["KillReport", "run"]

# Seconds that a process lives on average once it is ready. Each of the two filters is killed half as often.
LIVES = {"blog": 0.4, "gateway": 0.4, "filter-v1-0": 1.2, "filter-v2-0": 1.2}
IN_TURN = ("blog", "gateway", "filter-v1-0", "blog", "gateway", "filter-v2-0")
EARLY = 0.1  # share of the kills that do not wait until the process is ready: recovery is killed, too
ROUND_SECONDS = 60.0  # a plan is kept in memory, so a long run has several
COMMENTS_PER_SECOND, READS_PER_COMMENT, PREDICTIONS_PER_SECOND = 40.0, 0.5, 120.0
RETRIES = 4
UNLIMITED = 1_000_000  # comments a minute: all of the traffic comes from one address
ANSWER_SECONDS = 60.0  # a deadline, never a wait


@dataclass(frozen=True)
class KillReport:
    """What kills (their number by service) did in ``seconds``. All tuples name offenders, and should be empty.

    ``comments`` and ``predictions`` (asked of gateway and filter directly) count what was acknowledged, ``retried`` the
    acknowledged ones whose first try broke. ``availability`` is that of visits to the blog; ``seconds_unavailable``
    adds up each second's share of failed ones. ``repeated`` counts records of a comment beyond its first: an answer got
    lost and was asked for again.

    ``lost`` and ``predictions_lost``: acknowledged, and not on disk. ``doubled``: stored more than once.
    ``classified_twice``: more than one verdict was recorded. ``misjudged``: the verdict that the blog has is in no
    filter's log. ``unclassified``: without a filter's verdict in the end. ``damaged``: logs that cannot be read up to
    their tail. ``crashes`` counts deaths that were not ours.
    """

    kills: Mapping[str, int]
    seconds: float
    comments: int
    predictions: int
    retried: int
    repeated: int
    availability: Share
    seconds_unavailable: float
    lost: tuple[str, ...]
    doubled: tuple[str, ...]
    classified_twice: tuple[str, ...]
    misjudged: tuple[str, ...]
    unclassified: tuple[str, ...]
    predictions_lost: tuple[str, ...]
    damaged: tuple[str, ...]
    crashes: int


@dataclass
class _Promises:
    """What clients have seen so far."""

    comments: set[tuple[str, str]] = field(default_factory=set)  # author, id
    predictions: set[tuple[str, str, bool]] = field(default_factory=set)  # id, version, spam
    retried: int = 0
    good: int = 0
    visits: int = 0
    seconds_unavailable: float = 0.0

    def note(self, traffic: Traffic, arrivals: Sequence[Arrival]) -> None:
        frame = traffic.wait(ANSWER_SECONDS).frame()
        ok = frame[frame["kind"].eq("comment") & frame["outcome"].eq("ok")]
        self.retried += int(ok["attempts"].gt(1).sum())
        if traffic.settings.api == "classify":
            self.predictions.update(zip(ok["comment_id"], ok["version"], ok["state"].eq("spam"), strict=True))
            return
        self.comments |= accepted(frame, arrivals)
        share = availability(frame)
        self.good, self.visits = self.good + share.good, self.visits + share.total
        self.seconds_unavailable += float((1 - by_window(frame, availability)["ratio"]).sum())


def run(count: int, seed: int, *, artifact: Artifact | Path, folder: Path) -> KillReport:
    """Kill ``count`` times: blog, gateway and filters alike, about three times a second, while comments arrive.

    ``folder`` must be empty, and has all the evidence afterwards. Moments and traffic are drawn by ``seed``.

    Raises ``ServiceError`` when a service does not come back.
    """
    texts = comments_from(data.load("simulated", n_comments=400, seed=seed).frame)
    kills, promises = Counter(itertools.islice(itertools.cycle(IN_TURN), count)), _Promises()
    versions = {"v1": artifact, "v2": artifact}
    with Platform(versions, folder=folder / "platform", comments_per_minute=UNLIMITED) as platform:
        platform.set_weights(dict.fromkeys(versions, 0.5))
        blog = platform.folder / "blog"
        witness_verdicts(blog / DATABASE)
        began = time.monotonic()
        _kill_under_load(platform, kills, seed, texts, folder, promises)
        seconds = time.monotonic() - began
        for name in LIVES:
            platform.wait_ready(name)
        with suppress(TimeoutError):  # the report names them
            until(lambda: archive.comments(blog)["outcome"].notna().all(), "every comment has a verdict")
        restarts = sum(service.restarts for service in platform.status())
    stored = archive.comments(blog)
    recorded, damaged = recorded_in([log for version in versions for log in platform.predictions(version)])
    on_record = {(name, version, spam) for name, verdicts in recorded.items() for version, spam, _ in verdicts}
    return KillReport(
        kills=dict(kills),
        seconds=seconds,
        comments=len(promises.comments),
        predictions=len(promises.predictions),
        retried=promises.retried,
        repeated=sum(len(verdicts) - 1 for verdicts in recorded.values()),
        availability=Share(promises.good, promises.visits),
        seconds_unavailable=promises.seconds_unavailable,
        lost=named(promises.comments - set(zip(stored["author"], stored["comment_id"], strict=True))),
        doubled=named(stored.loc[stored["author"].duplicated(), "author"]),
        classified_twice=named(judged_twice(blog / DATABASE)),
        misjudged=named(misjudged(stored, recorded)),
        unclassified=named(stored.loc[~stored["outcome"].isin(["ham", "spam"]), "comment_id"]),
        predictions_lost=named(promises.predictions - on_record),
        damaged=tuple(damaged),
        crashes=restarts - count,
    )


def _kill_under_load(
    platform: Platform,
    kills: Mapping[str, int],
    seed: int,
    texts: Sequence[Comment],
    folder: Path,
    promises: _Promises,
) -> None:
    """Send traffic, round after round, until all kills are done."""
    numbers = itertools.count(seed * 10_000)
    killers: list[Future[None]] = []
    ended = threading.Event()
    with ThreadPoolExecutor(len(kills)) as pool:
        try:
            while not killers or not all(killer.done() for killer in killers):
                with ExitStack() as stack:
                    sent = list(_traffic(platform, numbers, texts, folder))
                    for traffic, _ in sent:
                        stack.enter_context(traffic)
                    killers = killers or [
                        pool.submit(_kill, platform, name, number, random.Random(f"{seed} {name}"), ended)
                        for name, number in kills.items()
                    ]
                    while all(traffic.running for traffic, _ in sent) and wait(killers, 0.1).not_done:
                        pass
                for traffic, arrivals in sent:
                    promises.note(traffic, arrivals)
        finally:
            ended.set()
    for killer in killers:
        killer.result()


def _traffic(
    platform: Platform, numbers: Iterator[int], texts: Sequence[Comment], folder: Path
) -> Iterator[tuple[Traffic, list[Arrival]]]:
    """Give the traffic of one round, with what it will send: to the blog, the gateway and a filter."""
    for target in (platform.blog, platform.gateway, platform.filters["v1"][0]):
        api, rate, reads = "classify", PREDICTIONS_PER_SECOND, 0.0
        if target == platform.blog:
            api, rate, reads = "blog", COMMENTS_PER_SECOND, READS_PER_COMMENT
        number = next(numbers)  # as seed it makes the keys differ from those of all other rounds
        arrivals = told_apart(plan(texts, rate=rate, seconds=ROUND_SECONDS, seed=number, reads_per_comment=reads))
        yield Traffic(target, arrivals, folder / f"traffic-{number}.jsonl", api=api, retries=RETRIES), arrivals


def _kill(platform: Platform, name: str, kills: int, rng: random.Random, ended: threading.Event) -> None:
    """Kill one service again and again, each process at a random age."""
    for _ in range(kills):
        if rng.random() < EARLY:
            until(lambda: _state(platform, name) != "restarting", f"{name} is started again")
        else:
            platform.wait_ready(name)
        if ended.wait(rng.uniform(0, 2 * LIVES[name])):
            return
        platform.kill(name)


def _state(platform: Platform, name: str) -> str:
    return next(service.state for service in platform.status() if service.name == name)
