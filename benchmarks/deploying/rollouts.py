"""Kills, broken updates and scaling on each runtime, and what readers of the blog saw meanwhile."""

import dataclasses
import io
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from docker.errors import ImageNotFound

from benchmarks.harness import Figure
from mlops_helpers.deploy.docker_engine import engine
from mlops_helpers.deploy.images import SERVICE_IMAGE, build_service_image
from mlops_helpers.deploy.platform import Platform
from mlops_helpers.errors import ServiceError
from mlops_helpers.model import data
from mlops_helpers.model.artifact import Artifact
from mlops_helpers.serve.plan import comments_from, plan
from mlops_helpers.serve.sli import availability
from mlops_helpers.serve.traffic import Traffic

__all__ = ["rollout_figures"]

RUNTIMES = ("process", "docker", "swarm")
KILLS, UPDATES, SCALINGS = 10, 3, 3
COMMENTS_PER_SECOND, READS_PER_COMMENT = 20.0, 1.0
LONGEST_SECONDS = 400.0  # a deadline for the traffic, which ends when everything has happened
UNLIMITED = 1_000_000  # comments a minute: all of the traffic comes from one address
BROKEN = "opslab-bench-broken:latest"


def rollout_figures(exported: Artifact, folder: Path) -> Iterator[Figure]:
    """Do the same to a platform on each runtime, under traffic of readers."""
    build_service_image()
    with engine() as client:
        recipe = f'FROM {SERVICE_IMAGE}\nENTRYPOINT ["/bin/sh", "-c", "echo no model; exit 3"]\n'
        client.images.build(fileobj=io.BytesIO(recipe.encode()), tag=BROKEN, rm=True)
        try:
            for runtime in RUNTIMES:
                yield from _on(runtime, exported, folder / runtime)
        finally:
            with suppress(ImageNotFound):
                client.images.remove(BROKEN, force=True)


def _on(runtime: str, exported: Artifact, folder: Path) -> Iterator[Figure]:
    folder.mkdir()
    texts = comments_from(data.load("simulated", n_comments=400, seed=5).frame)
    arrivals = plan(
        texts, seconds=LONGEST_SECONDS, seed=5, rate=COMMENTS_PER_SECOND, reads_per_comment=READS_PER_COMMENT
    )
    place = folder / "platform"
    with (
        Platform(
            {"v1": exported}, folder=place, replicas=2, runtime=runtime, comments_per_minute=UNLIMITED
        ) as platform,
        Traffic(platform.blog, arrivals, folder / "traffic.jsonl") as traffic,
    ):
        replaced = [_seconds(partial(_kill, platform, f"filter-v1-{number % 2}")) for number in range(KILLS)]
        rolled_back = [_rolled_back(platform, runtime, exported) for _ in range(UPDATES)]
        updated = [_seconds(lambda: platform.update("v1", exported)) for _ in range(UPDATES)]
        platform.scale("v1", 1)
        out = []
        for _ in range(SCALINGS):
            out.append(_seconds(lambda: platform.scale("v1", 4)))
            platform.scale("v1", 1)
        traffic.stop()
    visits = availability(traffic.frame())
    done = f"{KILLS} kills, {UPDATES} broken updates, {UPDATES} good ones, {SCALINGS} times 1 to 4 to 1 replicas"
    yield Figure(
        f"{runtime}: visits that failed meanwhile", visits.total - visits.good, "count", "<= 0", f"{done}; {visits}"
    )
    missed = UPDATES - sum(rolled_back)
    yield Figure(f"{runtime}: broken updates that were not rolled back", missed, "count", "<= 0", f"{UPDATES} tried")
    for what, seconds in (
        ("a killed replica ready again", replaced),
        ("update of 2 replicas", updated),
        ("from 1 to 4 replicas", out),
    ):
        spread = f"{len(seconds)} times, {min(seconds):.2f} to {max(seconds):.2f}"
        if runtime == "docker" and seconds is replaced:
            spread += "; Docker waits twice as long each time for what ran less than 10 s"
        yield Figure(f"{runtime}: {what}, median", statistics.median(seconds), "s", "", spread)


def _seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _kill(platform: Platform, name: str) -> None:
    platform.kill(name)
    platform.wait_ready(name)


def _rolled_back(platform: Platform, runtime: str, exported: Artifact) -> bool:
    """Say whether an update that cannot work was refused and left two replicas as they were."""
    before = set(platform.filters["v1"])
    try:
        if runtime == "process":
            platform.update("v1", dataclasses.replace(exported, sha256="0" * 64))
        else:
            platform.update("v1", image=BROKEN)
    except ServiceError as error:
        return "rolled back" in str(error) and set(platform.filters["v1"]) == before
    return False
