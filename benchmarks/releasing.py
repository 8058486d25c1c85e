"""How often a canary errs, and what rollbacks and canaries under load cost readers."""

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import Figure, median, none_of
from benchmarks.reliability import small_model
from mlops_helpers.deploy.canary import Verdict, release_canary
from mlops_helpers.deploy.canary_plan import DEFAULT, Plan, Stage
from mlops_helpers.deploy.canary_simulation import Harm, World, simulate_releases
from mlops_helpers.deploy.platform import Platform
from mlops_helpers.deploy.rollback import rollback
from mlops_helpers.model import data
from mlops_helpers.serve import archive, sli
from mlops_helpers.serve.plan import comments_from, plan
from mlops_helpers.serve.traffic import Traffic
from tests.support.accounts import UNLIMITED, acknowledged, missing, with_own_authors

RELEASES, POWER = 1_000, 0.9  # the power that chapter 09 states
WORLDS = {"usual day": World(), "bad day": World(drift=4.0), "a tenth labelled": World(labelled=0.1)}
HARMS = {"quality -2 points": Harm(wrong=0.02), "p99 +20 %": Harm(slower=1.2), "errors +0.5 points": Harm(errors=0.005)}
ROLLBACKS = 50
CANARIES, MOST_ABORTS = 8, 2  # of equal versions: more than 2 of 8 have a probability of 0.6 % at 5 % each
SMALL = Plan((Stage(0.25, 150), Stage(0.5, 250)), window=50, slow_share=0.04, burst_seconds=0.1, stage_seconds=60.0)


def figures() -> Iterator[Figure]:
    """Simulate canaries; roll back and release canaries under traffic of readers."""
    with TemporaryDirectory() as scratch:
        for name, world in WORLDS.items():
            result = simulate_releases(DEFAULT, world=world, releases=RELEASES)
            about, goal = f"{result.aborted} of {RELEASES} aborted", f"<= {DEFAULT.alpha}"
            yield Figure(f"equal, {name}: false aborts, upper end", result.interval()[1], "share", goal, about)
        for name, harm in HARMS.items():
            result = simulate_releases(DEFAULT, harm, releases=RELEASES)
            about = f"{result.aborted} of {RELEASES} aborted, after {result.comments:.0f} comments (median)"
            yield Figure(f"{name}: noticed, lower end", result.interval()[0], "share", f">= {POWER}", about)
        yield from _live(Path(scratch))


def _live(folder: Path) -> Iterator[Figure]:
    exported = small_model(folder / "artifact")
    texts = comments_from(data.load("simulated", n_comments=400, seed=5).frame)
    arrivals = plan(texts, seconds=400.0, seed=5, rate=40.0, reads_per_comment=0.5)  # ended when all has happened
    arrivals, versions = with_own_authors(arrivals), dict.fromkeys(("v1", "v2"), exported)
    with Platform(versions, folder=folder / "platform", comments_per_minute=UNLIMITED) as platform:
        with Traffic(platform.blog, arrivals, folder / "traffic.jsonl") as traffic:
            yield from _rollbacks(platform)
            ends = [_canary(platform) for _ in range(CANARIES)]
            aborted = [end.reason for end in ends if end.outcome == "aborted"]
            about = f"of {CANARIES}, 400 comments each. {'; '.join(aborted)}"
            yield Figure("equal canaries on a platform: aborted", len(aborted), "", f"<= {MOST_ABORTS}", about)
            traffic.stop()
        frame = traffic.frame()
        lost = missing(acknowledged(frame, arrivals), archive.comments(platform.folder / "blog"))
    visits = sli.availability(frame[frame["outcome"] != "stopped"])
    about = f"{ROLLBACKS} rollbacks, {CANARIES} canaries; {visits}"
    yield Figure("visits of readers that failed meanwhile", visits.total - visits.good, "", "<= 0", about)
    yield none_of("accepted comments that were lost", lost, about)


def _canary(platform: Platform) -> Verdict:
    end = release_canary(platform, "v2", "v1", SMALL, every=0.05)
    rollback(platform, "v1")
    return end


def _rollbacks(platform: Platform) -> Iterator[Figure]:
    """Roll back under load, each time twice."""
    taken, wrong = [], []
    for number in range(ROLLBACKS):
        platform.set_weights({"v1": 0.5, "v2": 0.5})
        time.sleep(0.1)  # some comments of both
        end, again = rollback(platform, "v1"), rollback(platform, "v1")
        taken.append(1000 * end.seconds)
        if end.serves != "v1" or not end.changed or again.changed:
            wrong.append(number)
    yield median("rollback: command to 100 % of the old version", taken, "ms", "<= 100", "40 comments a second")
    yield none_of("rollbacks without v1, or changing something when repeated", wrong, f"of {ROLLBACKS}")
