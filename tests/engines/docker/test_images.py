"""The image of the services; each of two builds takes seconds."""

import contextlib
import importlib.metadata
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile

import pytest

from mlops_helpers.deploy import base_image, image_build, images, wheels
from mlops_helpers.deploy.calls import call
from mlops_helpers.deploy.docker_engine import engine
from mlops_helpers.deploy.ownership import owner, owner_lives
from mlops_helpers.errors import ImageError, ServiceError
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(400)  # two builds

NAME = "opslab-test-images:first"
AGAIN = "opslab-test-images:again"
TOKEN = "0123456789abcdef"
SECONDS = 60
HARDENED = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"], "pids_limit": 64}


def left_by_builds(client):
    """What builds have left: of this process, and of others that are gone."""
    label = {"label": image_build.BUILD}
    made = [*client.api.images(filters=label), *client.api.containers(all=True, filters=label)]
    builders = {entry["Id"]: entry["Labels"][image_build.BUILD] for entry in made}
    return {entry for entry, builder in builders.items() if builder == owner() or not owner_lives(builder)}


@pytest.fixture(scope="module")
def client():
    with engine() as connected:
        yield connected


@pytest.fixture(scope="module")
def wheel_folder():
    """The services' wheels, in the cache that the tests of one checkout share."""
    return wheels.download()


@pytest.fixture(scope="module")
def image(client, wheel_folder):
    base_image.base_image()
    yield images.build_service_image(NAME, wheels=wheel_folder)
    for name in (NAME, AGAIN):
        with contextlib.suppress(Exception):
            client.images.remove(name)


@pytest.fixture
def nothing_stays(client):
    before = left_by_builds(client)
    yield
    assert left_by_builds(client) <= before


@pytest.fixture
def run(client, image):
    """Return a function that runs a hardened container and gives its address once it answers."""
    started = []

    def start(name, *command, **settings):
        container = client.containers.run(
            NAME, command or None, name=f"opslab-test-{name}-{os.getpid()}", detach=True, **HARDENED, **settings
        )
        started.append(container)

        def answers():
            container.reload()
            assert container.status in {"created", "running"}, container.logs().decode()
            address = f"{container.attrs['NetworkSettings']['IPAddress']}:8080"
            try:
                call("GET", address, "/readyz", seconds=1)
            except ServiceError:
                return None
            return address

        return container, until(answers)

    yield start
    for container in started:
        container.remove(force=True, v=True)


def test_filter_gateway_and_blog_run_hardened_from_one_image(run, artifact):
    settings = {"tmpfs": {"/data": "mode=1777"}}
    bind = {str(artifact.folder): {"bind": "/artifact", "mode": "ro"}}
    filtering, at = run("filter", volumes=bind, **settings)
    assert call("GET", at, "/version")["artifact_sha256"] == artifact.sha256
    listening = ("--host", "0.0.0.0", "--port", "8080")
    _, gateway = run("gateway", "gateway", *listening, "--upstream", f"v1={at}", **settings)
    assert call("POST", gateway, "/v1/classify", {"id": "c1", "text": "hello"})["version"] == "v1"
    environment = {"OPSLAB_MODERATOR_TOKEN": TOKEN}
    _, blog = run("blog", "blog", *listening, "--gateway", gateway, environment=environment, **settings)
    assert call("POST", blog, "/posts/first-frost/comments", {"author": "a", "text": "hello"})["state"]

    def health():
        filtering.reload()
        return filtering.attrs["State"]["Health"]["Status"]

    until(lambda: health() == "healthy")
    code, said = filtering.exec_run(["sh", "-c", "id -u; touch /opt/x /artifact/x; touch /data/y && echo written"])
    assert code == 0
    lines = said.decode().splitlines()
    assert {"10001", "written"} < {*lines}
    assert sum("Read-only file system" in line for line in lines) == 2
    filtering.stop(timeout=30)
    assert filtering.wait()["StatusCode"] in {0, 128 + signal.SIGTERM}  # it drained; killed would be 137
    filtering.reload()
    assert not filtering.attrs["State"]["OOMKilled"]


def test_image_is_lean_and_says_what_it_is(client, image):
    config = client.images.get(NAME).attrs["Config"]
    assert image.added_bytes <= 120e6
    assert config["User"].split(":")[0].isdigit()
    assert config["User"] != "0:0"
    assert config["Healthcheck"]["Test"][0] == "CMD"
    labels = config["Labels"]
    assert labels["org.opencontainers.image.version"] == importlib.metadata.version("mlops-helpers")
    assert labels["org.opencontainers.image.revision"]
    code = """
from importlib.util import cache_from_source, find_spec
from pathlib import Path
print([name for name in ("pip", "sklearn", "pandas", "numpy", "mlflow", "docker") if find_spec(name)])
print([path for path in Path("/opt/opslab").rglob("*.py") if not Path(cache_from_source(path)).exists()])
print([path for path in ("/pip", "/context", "/packages", "/root/.cache") if Path(path).exists()])"""
    settings = {"entrypoint": "python3", "network_mode": "none", "user": "0", "remove": True}
    said = client.containers.run(NAME, ["-P", "-c", code], name=f"opslab-test-lean-{os.getpid()}", **settings)
    assert said.decode().splitlines() == ["[]", "[]", "[]"]


def test_two_builds_have_the_same_layers(client, image, wheel_folder, tmp_path, monkeypatch):
    """The second one from another folder, with files of another age."""
    nameless = {"label": image_build.BUILD, "dangling": True}
    before = client.api.images(quiet=True, filters=nameless)
    copy = tmp_path / "elsewhere" / "mlops_helpers"
    shutil.copytree(images._PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(wheel_folder, tmp_path / "wheels")
    for path in tmp_path.rglob("*"):
        os.utime(path, (10**9, 10**9))
    monkeypatch.setattr(images, "_PACKAGE", copy)
    monkeypatch.setattr(images, "_RECIPE", copy / "deploy" / "images")
    again = images.build_service_image(AGAIN, wheels=tmp_path / "wheels", fresh=True)
    assert again.layers == image.layers
    assert len(image.layers) == 2
    assert client.api.images(quiet=True, filters=nameless) == before


def test_unchanged_files_are_not_built_again_and_others_are(client, image, wheel_folder, monkeypatch):
    built = []
    monkeypatch.setattr(images, "build", lambda *given, **settings: built.append(given[2]))
    assert images.build_service_image(NAME, wheels=wheel_folder) == image
    assert not built
    monkeypatch.setattr(images, "_SERVING", images._SERVING[:-1])
    images.build_service_image(NAME, wheels=wheel_folder)
    (files,) = built
    assert {"Dockerfile", "healthcheck.py", "requirements.txt", "mlops_helpers/serve/blog.sql"} < set(files)
    assert sum(path.startswith("wheels/") for path in files) == len(wheels.SERVICE)
    assert not [path for path in files if "deploy" in path or "teach" in path or path.endswith(".pyc")]


def test_image_that_somebody_makes_of_ours_is_neither_taken_for_it_nor_removed(client, image):
    other = 'LABEL mine=yes\nENTRYPOINT ["/bin/sh"]'
    with contextlib.ExitStack() as stack:
        for name in (f"opslab-test-derived:{os.getpid()}", None):  # labels are inherited, with a name or without
            recipe = io.BytesIO(f"FROM {NAME}\n{other}\nENV NAME={name}\n".encode())
            derived, _ = client.images.build(fileobj=recipe, tag=name, rm=True)
            stack.callback(client.images.remove, derived.id, force=True)
        assert images.build_service_image(AGAIN).layers == image.layers
        assert "mine" not in client.images.get(AGAIN).labels
        image_build.remove_nameless(client)
        assert client.images.get(derived.id).tags == []


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """Return a function that puts an instruction behind the Dockerfile's first label."""

    def change(instruction):
        folder = tmp_path / "recipe"
        shutil.copytree(images._RECIPE, folder, dirs_exist_ok=True)
        text = (folder / "service.Dockerfile").read_text()
        label = f"LABEL {image_build.BUILD}=by-hand\n"
        assert text.count(label) == text.count("\nFROM ") == 2, "each stage is labelled"
        (folder / "service.Dockerfile").write_text(text.replace(label, f"{label}{instruction}\n", 1))
        monkeypatch.setattr(images, "_RECIPE", folder)
        return folder

    return change


def test_failing_step_is_shown_with_its_last_lines_and_nothing_stays(client, recipe, wheel_folder, nothing_stays):
    base_image.base_image()
    # the pause keeps the order: Docker reads errors and other output from two pipes
    recipe("RUN for n in $(seq 30); do echo line $n; done; sleep 1; ls /no/such/folder")
    with pytest.raises(ImageError) as failure:
        images.build_service_image(AGAIN, wheels=wheel_folder)
    said = str(failure.value)
    for part in ("Step ", "seq 30", "line 30\n", "cannot access '/no/such/folder'", "non-zero code: 2"):
        assert part in said
    assert "line 10\n" not in said


def test_interrupted_build_leaves_nothing(client, recipe, wheel_folder, nothing_stays):
    base_image.base_image()
    folder = recipe("RUN echo waiting; sleep 600")
    code = f"""
import signal
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in the background
from mlops_helpers.deploy import images
images._RECIPE = Path({str(folder)!r})
images.build_service_image({AGAIN!r}, wheels=Path({str(wheel_folder)!r}))"""
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: process.poll() is not None or f"{process.pid}/" in str(client.api.containers()))
        process.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in process.communicate(timeout=SECONDS)[1]
    finally:
        process.kill()
        process.wait()


def test_missing_base_image_or_wheel_is_named_with_the_command_that_provides_it(wheel_folder, tmp_path, nothing_stays):
    base_image.base_image()
    with pytest.raises(ImageError, match=r"base image opslab-test-none:1 is not .* Next: opslab image base"):
        images.build_service_image(AGAIN, base="opslab-test-none:1", wheels=wheel_folder)
    with pytest.raises(ImageError, match=r"has no wheel of anyio, .*, uvloop. Next: opslab image wheels"):
        images.build_service_image(AGAIN, wheels=tmp_path / "missing", fresh=True)
    some = shutil.copytree(wheel_folder, tmp_path / "wheels")
    (orjson,) = some.glob("orjson-*.whl")
    orjson.rename(orjson.with_suffix(".gone"))
    with pytest.raises(ImageError, match=r"has no wheel of orjson. Next: opslab image wheels"):
        images.build_service_image(AGAIN, wheels=some, fresh=True)


def test_base_image_is_imported_from_a_tarball(client, tmp_path, monkeypatch):
    name = "opslab-test-base:tiny"
    monkeypatch.setattr(base_image, "BASE_IMAGE", name)
    with pytest.raises(ImageError, match=r"no base image's tarball: .*missing.tar.gz.*Next: opslab image base"):
        base_image.base_image(tmp_path / "missing.tar.gz")
    with pytest.raises(ImageError, match=r"no base image's tarball: .*Is a directory"):
        base_image.base_image(tmp_path)
    with tarfile.open(tmp_path / "tiny.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("hello"))
    try:
        identity = base_image.base_image(tmp_path / "tiny.tar.gz")
        assert client.images.get(name).id == identity
        assert base_image.base_image(tmp_path / "missing.tar.gz") == identity, "it is there"
    finally:
        client.images.remove(name)
