"""The image of the services: its size, whether it is reproduced, how soon a container answers, beside a plain one."""

import http.client
import pickle
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.harness import Figure
from mlops_helpers.deploy import image_build, images, wheels
from mlops_helpers.deploy.base_image import BASE_IMAGE, base_image
from mlops_helpers.deploy.docker_engine import engine
from mlops_helpers.model import artifact, data, training
from mlops_helpers.workspace import cache

if TYPE_CHECKING:
    import docker

__all__ = ["image_figures"]

STARTS = 15
INTERRUPTS = (0.5, 1.5, 3.0, 5.0, 8.0)  # seconds after a build was begun
OURS, PLAIN = "opslab-bench-service:latest", "opslab-bench-plain:latest"
_HERE = Path(__file__).parent
_PLAIN_PACKAGES = (
    *("annotated-doc", "annotated-types", "anyio", "click", "cloudpickle", "fastapi", "h11", "idna", "joblib"),
    *("narwhals", "numpy", "opentelemetry-api", "pydantic", "pydantic-core", "scikit-learn", "scipy", "starlette"),
    *("threadpoolctl", "typing-extensions", "typing-inspection", "uvicorn"),
)
_PATHS = {OURS: "/readyz", PLAIN: "/docs"}
_HARDENED = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"], "init": True}


def image_figures() -> list[Figure]:
    """Build both images, start containers of them in turn, interrupt builds; what was made is removed."""
    base_image()
    wheels.download()
    with engine() as client, TemporaryDirectory() as scratch:
        try:
            return [*_builds(client), *_starts(client, Path(scratch)), _interrupts(client)]
        finally:
            for name in (OURS, PLAIN):
                if client.images.list(name):
                    client.images.remove(name, force=True)


def _builds(client: "docker.DockerClient") -> Iterator[Figure]:
    began = time.monotonic()
    first = images.build_service_image(OURS, fresh=True)
    seconds = time.monotonic() - began
    again = images.build_service_image(OURS, fresh=True)
    began = time.monotonic()
    images.build_service_image(OURS)
    reused = time.monotonic() - began
    _build_plain(client)
    plain = client.images.get(PLAIN).attrs["Size"] - client.images.get(BASE_IMAGE).attrs["Size"]
    said = f"a plain one with scikit-learn and FastAPI: {plain / 1e6:.0f} MB"
    yield Figure("image: size over its base", first.added_bytes / 1e6, "MB", "<= 120", said)
    differing = sum(one != other for one, other in zip(first.layers, again.layers, strict=True))
    said = f"{len(first.layers)} layers over the base, built twice from scratch"
    yield Figure("image: layers that differ between two builds", differing, "count", "<= 0", said)
    yield Figure("image: built from scratch", seconds, "s", "", "without a network, packages in the cache")
    yield Figure("image: the same files again", reused, "s", "", "nothing is built")


def _build_plain(client: "docker.DockerClient") -> None:
    folder = wheels.download(cache("wheels") / "bench-plain", _PLAIN_PACKAGES)
    files = {
        "Dockerfile": (_HERE / "plain.Dockerfile").read_bytes(),
        "app.py": (_HERE.parent / "peers" / "app_fastapi.py").read_bytes(),
        "requirements.txt": wheels.requirements(_PLAIN_PACKAGES).encode(),
        **{f"wheels/{path.name}": path.read_bytes() for path in wheels.verified(folder, _PLAIN_PACKAGES)},
    }
    image_build.build(client, PLAIN, files, {"BASE_IMAGE": BASE_IMAGE})


def _starts(client: "docker.DockerClient", scratch: Path) -> Iterator[Figure]:
    comments = data.load("simulated", n_comments=4_000, seed=3)
    model = training.train(comments.frame, comments.sha256)
    folder = artifact.export(model, scratch / "artifact").folder
    (scratch / "plain").mkdir()
    (scratch / "plain" / "pipeline.pickle").write_bytes(pickle.dumps(model.pipeline, protocol=5))
    folders = {OURS: folder, PLAIN: scratch / "plain"}
    seen: dict[str, list[tuple[float, float]]] = {OURS: [], PLAIN: []}
    for number in range(-1, STARTS):  # in turn, so that a slow minute hits both; the first is not counted
        for name in seen:
            taken = _start(client, name, folders[name])
            if number >= 0:
                seen[name].append(taken)
    ours, plain = ([sum(parts) for parts in seen[name]] for name in (OURS, PLAIN))
    goal, said = "<= 0.6", f"{STARTS} starts, {min(ours):.2f} to {max(ours):.2f}; create, start, until /readyz is 200"
    yield Figure("container: start to first healthy answer, median", statistics.median(ours), "s", goal, said)
    docker_part = statistics.median(parts[0] for parts in seen[OURS])
    said = "creating and starting the container, with its network"
    yield Figure("container: of this, Docker", docker_part, "s", "", said)
    inside = statistics.median(parts[1] for parts in seen[OURS])
    said = "interpreter, imports, artifact read and verified, first request"
    yield Figure("container: of this, the service", inside, "s", "", said)
    said = f"scikit-learn and FastAPI, {min(plain):.2f} to {max(plain):.2f}, in turn with ours"
    yield Figure("container of a plain image: start to first answer, median", statistics.median(plain), "s", "", said)


def _start(client: "docker.DockerClient", name: str, folder: Path) -> tuple[float, float]:
    """Return the seconds until Docker said that it runs, and from then on to its first answer."""
    volumes = {str(folder): {"bind": "/artifact", "mode": "ro"}}
    began = time.perf_counter()
    container = client.containers.create(name, volumes=volumes, tmpfs={"/data": "mode=1777", "/tmp": ""}, **_HARDENED)
    try:
        container.start()
        running = time.perf_counter()
        container.reload()
        _wait_answered(container.attrs["NetworkSettings"]["IPAddress"], _PATHS[name], began + 60)
        return running - began, time.perf_counter() - running
    finally:
        container.remove(force=True)


def _wait_answered(host: str, path: str, limit: float) -> None:
    while True:
        connection = http.client.HTTPConnection(host, 8080, timeout=1)
        try:
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        except OSError:
            if time.perf_counter() > limit:
                raise
        finally:
            connection.close()
        time.sleep(0.002)


def _interrupts(client: "docker.DockerClient") -> Figure:
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # also below one that is deaf
    build = f"{heard}\nfrom mlops_helpers.deploy import images\nimages.build_service_image({OURS!r}, fresh=True)"
    left, ended = 0, 0
    for seconds in INTERRUPTS:
        before = _held(client)
        process = subprocess.Popen([sys.executable, "-c", build], stderr=subprocess.DEVNULL)
        try:
            time.sleep(seconds)
            process.send_signal(signal.SIGINT)
            ended += process.wait(60) != 0
        finally:
            process.kill()
            process.wait()
        left += len(_held(client) - before)
    said = f"{ended} builds interrupted, {', '.join(map(str, INTERRUPTS))} s after their start"
    return Figure("containers and images that interrupted builds left", left, "count", "<= 0", said)


def _held(client: "docker.DockerClient") -> set[str]:
    label = {"label": image_build.BUILD}
    found = [*client.api.images(filters={**label, "dangling": True}), *client.api.containers(all=True, filters=label)]
    return {one["Id"] for one in found if one["Labels"][image_build.BUILD] != "finished"}  # services run from that
