"""Images without a daemon, or with one that fails: a pretended one, since this machine may have none."""

import json
import os
import socketserver
import threading
from http.server import BaseHTTPRequestHandler

import pytest

from mlops_helpers.deploy import base_image, images, wheels
from mlops_helpers.errors import ImageError, RuntimeUnavailable

NAME = "opslab-test-images:first"


class Daemon(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A Docker daemon that has the base image, and whose builds say what they are told to."""

    daemon_threads = True
    build = b""
    cut = False


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "unix"

    def log_message(self, *_):
        pass

    def answer(self, status, value):
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        if self.path.endswith("/version"):
            self.answer(200, {"ApiVersion": "1.41"})
        elif base_image.BASE_IMAGE in self.path:
            self.answer(200, {"Id": "sha256:0", "RootFS": {"Layers": []}, "Size": 0})
        else:
            self.answer(*(404, {"message": "No such image"}) if NAME in self.path else (200, []))

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(self.server.build), self.server.build))
        self.wfile.write(b"" if self.server.cut else b"0\r\n\r\n")
        self.close_connection = True


@pytest.fixture
def daemon(tmp_path, monkeypatch):
    path = tmp_path / "docker.sock"
    with Daemon(str(path), Answers) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        yield server
        server.shutdown()


STEP = json.dumps({"stream": "Step 9/22 : COPY mlops_helpers/ /application\n"}).encode() + b"\n"


def test_full_disk_of_the_daemon_is_reported(daemon):
    full = "write /var/lib/docker/x: no space left on device"
    daemon.build = STEP + json.dumps({"errorDetail": {"message": full}, "error": full}).encode()
    with pytest.raises(ImageError, match=r"cannot be built:\n  Step 9/22 : COPY .*\n  write .*: no space left"):
        images.build_service_image(NAME)


def test_daemon_that_dies_while_it_builds_is_reported(daemon):
    daemon.build, daemon.cut = STEP, True
    with pytest.raises(ImageError, match=r"Docker went away: .*Next: docker version"):
        images.build_service_image(NAME)


def test_missing_daemon_is_reported_with_what_starts_one(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    for ask in (images.build_service_image, base_image.base_image):
        with pytest.raises(RuntimeUnavailable, match=r"no Docker at unix://.*none.sock: .*Next: "):
            ask()


def test_failed_download_says_why_and_replaces_nothing(tmp_path, monkeypatch):
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / "kept").touch()
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "no-index").as_uri())
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(ImageError, match=r"pip cannot download(.|\n)*  ERROR: .*\nNext: check network and disk"):
        wheels.download(folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["wheels", "kept"]


def test_base_image_that_cannot_be_made_says_what_would_make_it_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("OPSLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageError, match=r"Next: apt-get install debootstrap, then as root: opslab image base"):
        base_image.base_tarball()
    tool = tmp_path / "unshare"
    tool.write_text("#!/bin/sh\necho 'E: Failed getting release file'\nexit 1\n")
    tool.chmod(0o755)
    (tmp_path / "debootstrap").symlink_to(tool)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(ImageError, match=r"debootstrap failed:\n  E: Failed getting release file\nNext: "):
        base_image.base_tarball()
    assert list((tmp_path / "cache" / "images").iterdir()) == []
