"""The image of the services: its size and how long it takes to build; what rollouts cost readers on each runtime."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from docker.errors import ImageNotFound

from benchmarks.measure import Figure, median, none_of, seconds
from benchmarks.reliability import small_model
from mlops_helpers.deploy import images, wheels
from mlops_helpers.deploy.base_image import base_image
from mlops_helpers.deploy.docker_engine import engine
from mlops_helpers.deploy.platform import Platform
from mlops_helpers.errors import ServiceError
from mlops_helpers.model import data
from mlops_helpers.model.artifact import Artifact
from mlops_helpers.serve import sli
from mlops_helpers.serve.plan import comments_from, plan
from mlops_helpers.serve.traffic import Traffic
from tests.support.accounts import UNLIMITED
from tests.support.engines import ENGINES

KILLS, UPDATES = 4, 2
IMAGE = "opslab-bench:latest"


def figures() -> Iterator[Figure]:
    """Build the image; kill, update and break replicas under traffic, on each runtime that is here."""
    with TemporaryDirectory() as scratch:
        exported = small_model(Path(scratch) / "artifact")
        yield from _rollouts("process", exported, Path(scratch))
        if not ENGINES["docker"].works():
            yield Figure("images, rollouts of containers", None, "", "", f"to get it: {ENGINES['docker'].remedy}")
            return
        try:
            yield from _builds()
            for runtime in ("docker", "swarm"):
                yield from _rollouts(runtime, exported, Path(scratch), image=IMAGE)
        finally:
            with engine() as client, suppress(ImageNotFound):
                client.images.remove(IMAGE)


def _builds() -> Iterator[Figure]:
    base_image()
    wheels.download()
    built: list[images.ServiceImage] = []
    times = [seconds(lambda: built.append(images.build_service_image(IMAGE, fresh=True))) for _ in range(2)]
    again = seconds(images.build_service_image, IMAGE)
    yield Figure("image: size over its base", built[0].added_bytes / 1e6, "MB", "<= 120")
    about = f"packages from the cache, no network; the same files again: {again:.2f} s"
    yield median("image: built from scratch", times, "s", "", about)
    differing = [one for one, other in zip(built[0].layers, built[1].layers, strict=True) if one != other]
    yield none_of("image: layers that differ between two builds", differing, f"of {len(built[0].layers)}")


def _rollouts(runtime: str, exported: Artifact, folder: Path, **options: Any) -> Iterator[Figure]:
    texts = comments_from(data.load("simulated", n_comments=400, seed=5).frame)
    arrivals = plan(texts, seconds=400.0, seed=5, rate=20.0, reads_per_comment=1.0)  # ended when all has happened
    options |= {"folder": folder / runtime, "replicas": 2, "runtime": runtime, "comments_per_minute": UNLIMITED}
    damaged = replace(exported, sha256="0" * 64)  # refused by each filter that starts
    replaced, updated, broken = [], [], []
    with (
        Platform({"v1": exported}, **options) as platform,
        Traffic(platform.blog, arrivals, folder / f"{runtime}.jsonl") as traffic,
    ):
        for number in range(KILLS):
            platform.kill(name := f"filter-v1-{number % 2}")
            replaced.append(seconds(platform.wait_ready, name))
        for number in range(UPDATES):
            before = set(platform.filters["v1"])
            with suppress(ServiceError):
                platform.update("v1", damaged)
                broken.append(f"{number} took place")
            broken += [f"{number} has other replicas"] * (set(platform.filters["v1"]) != before)
            updated.append(seconds(platform.update, "v1", exported))
        scaled = seconds(platform.scale, "v1", 4)
        platform.scale("v1", 1)
        traffic.stop()
    visits = sli.availability(traffic.frame())
    about = f"{KILLS} kills, {UPDATES} broken updates, {UPDATES} good ones, from 2 to 4 to 1 replicas; {visits}"
    yield Figure(f"{runtime}: visits that failed meanwhile", visits.total - visits.good, "", "<= 0", about)
    yield none_of(f"{runtime}: broken updates not rolled back", broken, f"of {UPDATES}")
    yield median(f"{runtime}: a killed replica ready again", replaced, "s")
    yield median(f"{runtime}: update of 2 replicas", updated, "s", "", f"from 2 to 4 replicas: {scaled:.1f} s")
