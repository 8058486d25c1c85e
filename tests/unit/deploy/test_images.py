"""The image of the services: packages, what the lock says of them, daemons that fail, and what the command prints."""

import argparse
import hashlib
import importlib.metadata
from types import SimpleNamespace

import pytest
import requests
from packaging.requirements import Requirement

from mlops_helpers.deploy import docker_engine, image_build, image_commands, images, wheels
from mlops_helpers.errors import ImageError


def test_wheel_that_is_not_what_the_lock_says_is_refused(tmp_path, monkeypatch):
    lock = tmp_path / "lock"
    content = b"a wheel"
    pins = {name: hashlib.sha256(content).hexdigest() for name in wheels.SERVICE}
    lock.write_text("".join(f"{name}==1.0 \\\n    --hash=sha256:{digest}\n" for name, digest in pins.items()))
    listed = wheels.requirements(lock=lock)
    monkeypatch.setattr(wheels, "requirements", lambda packages: listed)
    for name in wheels.SERVICE:
        (tmp_path / f"{name.replace('-', '_')}-1.0-py3-none-any.whl").write_bytes(content)
    assert len(wheels.verified(tmp_path)) == len(wheels.SERVICE)
    assert wheels.download(tmp_path) == tmp_path, "what is there is not downloaded again"
    (tmp_path / "h11-1.0-py3-none-any.whl").write_bytes(b"another wheel")
    with pytest.raises(ImageError, match=r"h11-1.0.* has the hash .*which requirements.lock does not name"):
        wheels.verified(tmp_path)


def test_lock_is_the_source_of_what_is_installed(tmp_path):
    lock = (images._PACKAGE.parent / "requirements.lock").read_text()
    listed = wheels.requirements()
    assert [line.split("==")[0] for line in listed.splitlines() if "==" in line] == [*wheels.SERVICE]
    assert {*listed.splitlines()} < {*lock.splitlines()}
    (tmp_path / "lock").write_text(lock.replace("\nuvloop==", "\nuvloop-lite=="))
    with pytest.raises(ImageError, match=r"does not pin uvloop. Next: make lock"):
        wheels.requirements(lock=tmp_path / "lock")
    with pytest.raises(ImageError, match="no lock"):
        wheels.requirements(lock=tmp_path / "missing")


def test_packages_of_the_services_are_what_is_imported_and_what_that_needs():
    needed, todo = set(), list(wheels._IMPORTED)
    target = {"extra": "", "python_version": wheels._PYTHON, "sys_platform": "linux"}
    while todo:
        needed.add(name := todo.pop())
        for line in importlib.metadata.requires(name) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate(target):
                todo.append(requirement.name.lower().replace("_", "-"))
    assert needed == set(wheels.SERVICE)


def failing_build(monkeypatch, after):
    """Build with a daemon that fails after a step: by a message, or by raising."""

    def build(**settings):
        yield {"stream": "Step 9/22 : COPY mlops_helpers/ /application\n"}
        if isinstance(after, Exception):
            raise after
        yield {"error": after}

    api = SimpleNamespace(build=build, images=lambda **given: [], containers=lambda **given: [])
    monkeypatch.setattr(docker_engine, "connect", lambda: SimpleNamespace(api=api, close=lambda: None))
    monkeypatch.setattr(image_build, "_QUIET_SECONDS", 0)
    with docker_engine.engine() as client:
        image_build.build(client, "opslab-test-images:failing", {"Dockerfile": b""}, {})


def test_full_disk_of_the_daemon_is_reported_with_the_step(monkeypatch):
    with pytest.raises(ImageError, match=r"cannot be built:\n  Step 9/22 : COPY .*\n  write .*: no space left"):
        failing_build(monkeypatch, "write /var/lib/docker/x: no space left on device")


def test_daemon_that_dies_while_it_builds_is_reported(monkeypatch):
    with pytest.raises(ImageError, match=r"Docker went away: .*Next: docker version"):
        failing_build(monkeypatch, requests.exceptions.ChunkedEncodingError("cut"))


def test_command_says_what_there_is_now(monkeypatch, capsys):
    built = images.ServiceImage("name:1", "sha256:1", (), 23_600_000)
    monkeypatch.setattr(images, "build_service_image", lambda *given, **settings: built)
    parser = argparse.ArgumentParser()
    image_commands.image_arguments(parser)
    assert image_commands.image(parser.parse_args(["build", "--base", "python:3.11-slim"])) == 0
    assert capsys.readouterr().out == "name:1 is sha256:1, 24 MB over python:3.11-slim\n"
