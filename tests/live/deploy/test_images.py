"""Images without a daemon, wheels that cannot be had, and a base image that cannot be made."""

import os

import pytest

from mlops_helpers.deploy import base_image, images, wheels
from mlops_helpers.errors import ImageError, RuntimeUnavailable


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
