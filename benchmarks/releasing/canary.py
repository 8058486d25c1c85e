"""Canaries, simulated a thousand at a time and on a real platform, and rollbacks under the load of readers."""

import itertools
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from benchmarks.evidence import Claim
from benchmarks.harness import Figure
from mlops_helpers.deploy.canary import Verdict, release_canary
from mlops_helpers.deploy.canary_plan import DEFAULT, Plan, Stage
from mlops_helpers.deploy.canary_simulation import Harm, World, simulate_releases
from mlops_helpers.deploy.platform import Platform
from mlops_helpers.deploy.rollback import Rollback, rollback
from mlops_helpers.deploy.sequential import RATIOS, bursts, increments, mixture, slowest, threshold
from mlops_helpers.errors import ServiceError
from mlops_helpers.model import data
from mlops_helpers.model.artifact import Artifact
from mlops_helpers.serve import archive, records
from mlops_helpers.serve.plan import comments_from, plan
from mlops_helpers.serve.sli import availability
from mlops_helpers.serve.traffic import Traffic

__all__ = ["CLAIMS", "canary_figures"]

RELEASES = 1_000
EQUAL = {
    "equal versions": World(),
    "equal versions on a bad day": World(drift=4.0),
    "equal versions, labels of a tenth": World(labelled=0.1),
}
HARMS = {
    "quality -2 points, labels delayed by 5,000 comments": Harm(wrong=0.02),
    "p99 +20 %": Harm(slower=1.2),
    "errors +0.5 points": Harm(errors=0.005),
}
POWER = 0.9  # stated in chapter 09
LIVE, MOST_LIVE_ABORTS = 15, 3  # of equal versions: more than 3 of 15 has a probability of 0.5 % at 5 % each
SMALL = Plan((Stage(0.25, 150), Stage(0.5, 250)), window=50, slow_share=0.04, burst_seconds=0.1, stage_seconds=60.0)
STALL_EVERY, STALL_SECONDS, STALLED_RATE = 60.0, 0.3, 100.0  # of each process; comments a second
ROLLBACKS, BROKEN = 100, 10
LONGEST_SECONDS = 400.0  # a deadline for the traffic, which ends when everything has happened
COMMENTS_PER_SECOND = 80.0
UNLIMITED = 1_000_000  # comments a minute: all of the traffic comes from one address

CLAIMS = [
    Claim(
        "canary and rollback: bad input and faults tried",
        "canary and rollback: bad input and faults without a clear end",
        ("test_sequential", "test_canary", "test_rollback"),
        ("refused", "no_plan", "no_sense", "interrupted", "away", "broken_target", "nobody_answers", "do_not_come"),
        40,
    )
]


def canary_figures(exported: Artifact, folder: Path) -> Iterator[Figure]:
    """Simulate releases, then make some on a platform of ``exported`` with its state in ``folder``."""
    yield from _simulated()
    texts = comments_from(data.load("simulated", n_comments=400, seed=5).frame)
    arrivals = plan(texts, seconds=LONGEST_SECONDS, seed=5, rate=COMMENTS_PER_SECOND, reads_per_comment=0.5)
    place = folder / "platform"
    versions = dict.fromkeys(("v1", "v2", "v0"), exported)
    with Platform(versions, folder=place, comments_per_minute=UNLIMITED) as platform:
        with Traffic(platform.blog, arrivals, folder / "traffic.jsonl") as traffic:
            yield from _rollbacks(platform)
            yield from _canaries(platform)
            yield from _broken(platform)
            traffic.stop()
        frame = traffic.frame()
        accepted = set(frame.loc[frame["kind"].eq("comment") & frame["outcome"].eq("ok"), "comment_id"])
        lost = accepted - set(archive.comments(platform.folder / "blog")["comment_id"])
    visits = availability(frame[frame["outcome"] != "stopped"])
    meanwhile = f"{ROLLBACKS} rollbacks, {LIVE + 1} canaries, {BROKEN} broken targets; {visits}"
    yield Figure("visits of readers that failed meanwhile", visits.total - visits.good, "count", "<= 0", meanwhile)
    yield Figure("accepted comments that were lost", len(lost), "count", "<= 0", f"of {len(accepted)}; {meanwhile}")


def _simulated() -> Iterator[Figure]:
    for seed, (name, world) in enumerate(EQUAL.items()):
        result = simulate_releases(DEFAULT, world=world, releases=RELEASES, seed=seed)
        low, high = result.interval()
        said = f"{result.aborted} of {RELEASES} aborted, 95 % interval {low:.3f} to {high:.3f}; bound {DEFAULT.alpha}"
        yield Figure(f"{name}: false aborts, upper end", high, "share", f"<= {DEFAULT.alpha}", said)
    for name, harm in HARMS.items():
        result = simulate_releases(DEFAULT, harm, releases=RELEASES)
        low, high = result.interval()
        said = (
            f"{result.aborted} of {RELEASES} aborted, 95 % interval {low:.3f} to {high:.3f}, after "
            f"{result.comments:.0f} comments (median), {result.served:.0f} of these the canary's"
        )
        yield Figure(f"{name}: noticed, lower end", low, "share", f">= {POWER}", said)
    for gap, goal in ((DEFAULT.burst_seconds, f"<= {DEFAULT.alpha}"), (0.0, "")):
        rng = np.random.default_rng(0)
        aborted = sum(_stalling_aborted(rng, gap) for _ in range(RELEASES))
        low, high = binomtest(aborted, RELEASES).proportion_ci(method="exact")
        said = (
            f"{aborted} of {RELEASES}, 95 % interval {low:.3f} to {high:.3f}; each process stalls once in "
            f"{STALL_EVERY:.0f} s for {STALL_SECONDS} s, {STALLED_RATE:.0f} comments/s, test of latency alone"
        )
        yield Figure(
            f"equal versions that stall, bursts of {gap} s count once: false aborts", high, "share", goal, said
        )
    began = time.perf_counter()
    simulate_releases(DEFAULT, releases=RELEASES)
    yield Figure(f"{RELEASES} simulated releases", time.perf_counter() - began, "s", "", "40,000 comments each")


def _stalling_aborted(rng: np.random.Generator, gap: float) -> bool:
    """Say whether the test of latency aborts an equal version when each version's process stalls now and then."""
    weight = np.repeat([stage.weight for stage in DEFAULT.stages], [stage.comments for stage in DEFAULT.stages])
    came = np.cumsum(rng.exponential(1 / STALLED_RATE, weight.size))
    canary = rng.random(weight.size) < weight
    seconds = rng.lognormal(np.log(0.003), 0.5, weight.size)
    for version in (True, False):
        begins = came[-1] * rng.random(rng.poisson(came[-1] / STALL_EVERY))
        for begin, end in zip(begins, begins + rng.exponential(STALL_SECONDS, begins.size), strict=True):
            first, last = np.searchsorted(came, [begin, end])
            waiting = first + np.flatnonzero(canary[first:last] == version)
            seconds[waiting] += end - came[waiting]
    sums = np.zeros(len(RATIOS))
    peak = 0.0
    for start in range(0, weight.size, DEFAULT.window):
        slow = start + np.flatnonzero(slowest(seconds[start : start + DEFAULT.window], DEFAULT.slow_share))
        counted = slow[bursts(came[slow], gap)]
        sums += increments(canary[counted].sum(), counted.size, weight[start])
        peak = max(peak, float(mixture(sums)))
    return peak >= np.log(threshold(DEFAULT.alpha, 3))


def _rollbacks(platform: Platform) -> Iterator[Figure]:
    """Roll back under load, each time twice; then see who answered what came afterwards."""
    done: list[Rollback] = []
    again, stretches = 0, []
    for _ in range(ROLLBACKS):
        platform.set_weights({"v1": 0.5, "v2": 0.5})
        time.sleep(0.1)  # some comments of both
        done.append(rollback(platform, "v1"))
        since = time.time()
        again += rollback(platform, "v1").changed
        time.sleep(0.05)
        stretches.append((since, time.time()))
    taken = [1000 * one.seconds for one in done]
    spread = f"{ROLLBACKS} under {COMMENTS_PER_SECOND:.0f} comments/s; median {statistics.median(taken):.1f}"
    yield Figure("rollback: command to 100 % old version, longest", max(taken), "ms", "<= 100", spread)
    missed = sum(one.serves != "v1" or not one.changed for one in done)
    yield Figure("rollbacks that did not bring back v1", missed, "count", "<= 0", f"{ROLLBACKS} tried")
    yield Figure("second rollbacks that changed something", again, "count", "<= 0", f"{ROLLBACKS} tried")
    time.sleep(0.1)  # the access log is on disk soon
    late, begun = 0, 0
    for record in records.records(platform.folder / "gateway" / "access"):
        start = record["ts"] - record["ms"] / 1000
        if any(low < start < high for low, high in stretches):
            begun, late = begun + 1, late + (record["version"] != "v1")
    yield Figure("comments after a rollback that v2 still got", late, "count", "<= 0", f"of {begun}")


def _canaries(platform: Platform) -> Iterator[Figure]:
    ends = [_canary(platform) for _ in range(LIVE)]
    outcomes = Counter(one.outcome for one in ends)
    reasons = "; ".join(one.reason for one in ends if one.outcome == "aborted")
    said = f"{dict(outcomes)} of {LIVE} on real processes, 400 comments each. {reasons}"
    yield Figure("equal canaries on a platform: aborted", outcomes["aborted"], "count", f"<= {MOST_LIVE_ABORTS}", said)
    platform.stop("filter-v2-0")
    end = _canary(platform)
    platform.start("filter-v2-0")
    yield Figure("a canary that is away: aborted", float(end.outcome == "aborted"), "count", ">= 1", end.reason)
    yield Figure("comments it was given until then", end.served, "count", "", f"at {SMALL.stages[0].weight:.0%}")


def _canary(platform: Platform) -> Verdict:
    end = release_canary(platform, "v2", "v1", SMALL, every=0.05)
    rollback(platform, "v1")
    return end


def _broken(platform: Platform) -> Iterator[Figure]:
    """Break the version to go back to, in turn by a stop and a hang; then there is v0, or nobody."""
    engaged = said = 0
    harms = itertools.cycle(((platform.stop, platform.start), (platform.pause, platform.resume)))
    for (harm, heal), _ in zip(harms, range(BROKEN), strict=False):
        platform.set_weights({"v2": 1.0})
        harm("filter-v1-0")
        try:
            rollback(platform, "v1")
        except ServiceError as error:
            said += "does not answer" in str(error) and platform.weights()["v2"] == 1.0
        end = rollback(platform, "v1", fallbacks=["v0"])
        engaged += end.serves == "v0" and "v1 at" in end.reason
        heal("filter-v1-0")
        platform.wait_ready("filter-v1-0")
    yield Figure("broken targets without the fallback engaged", BROKEN - engaged, "count", "<= 0", f"{BROKEN} tried")
    yield Figure("broken targets, no fallback, not said", BROKEN - said, "count", "<= 0", f"{BROKEN} tried")
