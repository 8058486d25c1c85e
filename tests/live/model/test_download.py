"""A corpus that is downloaded: verified, kept, and when that fails nothing stays behind."""

import functools
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlops_helpers.errors import DownloadError
from mlops_helpers.model import data
from tests.support import small_corpus


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder's files on loopback."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=functools.partial(server.serve_forever, 0.01))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/archive.zip"
        server.shutdown()
        thread.join()


def test_a_download_is_verified_and_kept(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = small_corpus.archive()
    (tmp_path / "archive.zip").write_bytes(content)
    with serving(tmp_path) as url:
        small_corpus.pin(monkeypatch, tmp_path, content, url=url)
        loaded = data.load("youtube")
    assert len(loaded) == small_corpus.ROWS
    assert not loaded.frame.astype(str).apply(lambda column: column.str.contains("Somebody")).any(axis=None)
    small_corpus.pin(monkeypatch, tmp_path, content)  # to be found nowhere, but in the cache
    assert data.load("youtube").sha256 == loaded.sha256


@pytest.mark.parametrize("case", ["another file", "nobody answers"])
def test_a_failed_download_says_what_to_do_and_leaves_nothing(case, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pooch.core.time.sleep", lambda _: None)  # between retries
    (tmp_path / "archive.zip").write_bytes(b"<html>gone</html>")
    with serving(tmp_path) as url:
        url = small_corpus.NOWHERE if case == "nobody answers" else url
        small_corpus.pin(monkeypatch, tmp_path, small_corpus.archive(), url=url)
        with pytest.raises(DownloadError, match=r"could not be downloaded.*fetch http.*by hand.*MLOPS_DATA_DIR"):
            data.load("youtube")
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
