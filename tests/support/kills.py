"""Kills at random moments under load: whatever a process was doing, what it had promised is kept."""

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mlops_helpers.deploy.platform import Platform
from mlops_helpers.model import data
from mlops_helpers.model.artifact import Artifact
from mlops_helpers.serve import archive, sli
from mlops_helpers.serve.plan import Arrival, Comment, comments_from, plan
from mlops_helpers.serve.store import DATABASE
from mlops_helpers.serve.traffic import Traffic
from tests.support import accounts
from tests.support.waiting import until

# Seconds that a process lives on average once it is ready. Each of the two filters is killed half as often.
LIVES = {"blog": 0.4, "gateway": 0.4, "filter-v1-0": 1.2, "filter-v2-0": 1.2}
IN_TURN = ("blog", "gateway", "filter-v1-0", "blog", "gateway", "filter-v2-0")
EARLY = 0.1  # share of the kills that do not wait until the process is ready: recovery is killed, too
ROUND_SECONDS = 60.0  # a plan is kept in memory, so a long run has several
COMMENTS_PER_SECOND, READS_PER_COMMENT, PREDICTIONS_PER_SECOND = 40.0, 0.5, 120.0
ANSWER_SECONDS = 60.0  # a deadline, never a wait


@dataclass(frozen=True)
class KillReport:
    """What kills (their number by service) did.

    ``comments`` and ``predictions`` (asked of gateway and filter directly) count what was acknowledged, ``retried`` the
    acknowledged ones whose first try broke, ``repeated`` the records of a comment beyond its first: an answer got lost
    and was asked for again. ``availability`` is that of visits to the blog. ``broken`` names the offenders of each
    promise; all should be empty.
    """

    kills: Mapping[str, int]
    seconds: float
    comments: int
    predictions: int
    retried: int
    repeated: int
    availability: sli.Share
    broken: Mapping[str, Sequence[str]]


def run(count: int, seed: int, *, artifact: Artifact | Path, folder: Path) -> KillReport:
    """Kill ``count`` times: blog, gateway and filters alike, about three times a second, while comments arrive.

    ``folder`` must be empty, and has all the evidence afterwards. Moments and traffic are drawn by ``seed``.

    Raises ``ServiceError`` when a service does not come back.
    """
    texts = comments_from(data.load("simulated", n_comments=400, seed=seed).frame)
    kills = Counter(itertools.islice(itertools.cycle(IN_TURN), count))
    versions = {"v1": artifact, "v2": artifact}
    with Platform(versions, folder=folder / "platform", comments_per_minute=accounts.UNLIMITED) as platform:
        platform.set_weights(dict.fromkeys(versions, 0.5))
        blog = platform.folder / "blog"
        accounts.note_verdicts(blog / DATABASE)
        began = time.monotonic()
        sent = _kill_under_load(platform, kills, seed, texts, folder)
        seconds = time.monotonic() - began
        for name in LIVES:
            platform.wait_ready(name)
        with suppress(AssertionError):  # the report names them
            until(lambda: archive.comments(blog)["outcome"].notna().all(), "every comment has a verdict")
        restarts = sum(service.restarts for service in platform.status())
        shares = platform.weights()
    stored = archive.comments(blog)
    recorded, damaged = accounts.verdicts_in([log for version in versions for log in platform.predictions(version)])
    frames = [(traffic.settings.api, traffic.frame(), arrivals) for traffic, arrivals in sent]
    ok = pd.concat([frame[frame["kind"].eq("comment") & frame["outcome"].eq("ok")] for _, frame, _ in frames])
    promised = set().union(*(accounts.acknowledged(frame, plan) for api, frame, plan in frames if api == "blog"))
    answers = pd.concat([frame[frame["outcome"].eq("ok")] for api, frame, _ in frames if api == "classify"])
    predictions = set(zip(answers["comment_id"], answers["version"], answers["state"].eq("spam"), strict=True))
    on_record = {(name, version, spam) for name, verdicts in recorded.items() for version, spam, _ in verdicts}
    return KillReport(
        kills=dict(kills),
        seconds=seconds,
        comments=len(promised),
        predictions=len(predictions),
        retried=int(ok["attempts"].gt(1).sum()),
        repeated=sum(len(verdicts) - 1 for verdicts in recorded.values()),
        availability=sli.availability(pd.concat([frame for api, frame, _ in frames if api == "blog"])),
        broken={
            "acknowledged comments lost": accounts.missing(promised, stored),
            "comments stored twice": list(stored.loc[stored["author"].duplicated(), "author"]),
            "comments classified twice": accounts.judged_twice(blog / DATABASE),
            "verdicts that no filter has on record": accounts.misjudged(stored, recorded),
            "comments without a verdict in the end": accounts.unclassified(stored),
            "acknowledged predictions lost": sorted(map(str, predictions - on_record)),
            "damaged logs": damaged,
            "weights that the gateway forgot": [version for version in versions if shares[version] != 0.5],
            "processes that died by themselves": [] if restarts == count else [f"{restarts} restarts, {count} kills"],
        },
    )


def _kill_under_load(
    platform: Platform, kills: Mapping[str, int], seed: int, texts: Sequence[Comment], folder: Path
) -> list[tuple[Traffic, list[Arrival]]]:
    """Send traffic, round after round, until all kills are done; return it with what was to be sent."""
    numbers = itertools.count(seed * 10_000)
    sent: list[tuple[Traffic, list[Arrival]]] = []
    killers: list[Future[None]] = []
    ended = threading.Event()
    with ThreadPoolExecutor(len(kills)) as pool:
        try:
            while not killers or not all(killer.done() for killer in killers):
                with ExitStack() as stack:
                    now = list(_traffic(platform, numbers, texts, folder))
                    for traffic, _ in now:
                        stack.enter_context(traffic)
                    killers = killers or [
                        pool.submit(_kill, platform, name, number, random.Random(f"{seed} {name}"), ended)
                        for name, number in kills.items()
                    ]
                    while all(traffic.running for traffic, _ in now) and wait(killers, 0.1).not_done:
                        pass
                sent += [(traffic.wait(ANSWER_SECONDS), arrivals) for traffic, arrivals in now]
        finally:
            ended.set()
    for killer in killers:
        killer.result()
    return sent


def _traffic(
    platform: Platform, numbers: Iterator[int], texts: Sequence[Comment], folder: Path
) -> Iterator[tuple[Traffic, list[Arrival]]]:
    """Yield the traffic of a round, with what it will send: to the blog, the gateway and a filter."""
    for target in (platform.blog, platform.gateway, platform.filters["v1"][0]):
        api, rate, reads = "classify", PREDICTIONS_PER_SECOND, 0.0
        if target == platform.blog:
            api, rate, reads = "blog", COMMENTS_PER_SECOND, READS_PER_COMMENT
        number = next(numbers)  # as seed it makes the keys differ from those of all other rounds
        arrivals = plan(texts, rate=rate, seconds=ROUND_SECONDS, seed=number, reads_per_comment=reads)
        arrivals = accounts.with_own_authors(arrivals)
        yield Traffic(target, arrivals, folder / f"traffic-{number}.jsonl", api=api, retries=4), arrivals


def _kill(platform: Platform, name: str, kills: int, rng: random.Random, ended: threading.Event) -> None:
    """Kill one service again and again, each process at a random age."""

    def state() -> str:
        return next(service.state for service in platform.status() if service.name == name)

    for _ in range(kills):
        if rng.random() < EARLY:
            until(lambda: state() != "restarting", f"{name} is started again")
        else:
            platform.wait_ready(name)
        if ended.wait(rng.uniform(0, 2 * LIVES[name])):
            return
        platform.kill(name)
