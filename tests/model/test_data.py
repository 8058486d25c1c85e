"""Sources of comments: what is accepted, what is refused and with which words, what never stays behind."""

import functools
import http.server
import io
import socketserver
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pytest

from mlops_helpers.errors import DataError, DownloadError, WorkspaceError
from mlops_helpers.model import data, schema


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def small_youtube(rows: int = 4) -> bytes:
    """An archive in the shape of the YouTube corpus, with text of our own."""
    lines = ["COMMENT_ID,AUTHOR,DATE,CONTENT,CLASS"]
    lines += [f"z1{i},Somebody,2014-0{i % 5 + 1}-01T10:00:00,comment number {i},{i % 2}" for i in range(rows)]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("Youtube01-Band.csv", "\n".join(lines))
        archive.writestr("__MACOSX/._Youtube01-Band.csv", "litter")
    return stream.getvalue()


@pytest.fixture
def corpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Pin a small archive as the YouTube corpus; the test says where it is to be found."""
    content = small_youtube()
    pinned = replace(data.CORPORA["youtube"], sha256=sha256(content).hexdigest(), rows=4, url="http://127.0.0.1:9/none")
    monkeypatch.setitem(data.CORPORA, "youtube", pinned)
    monkeypatch.delenv("MLOPS_DATA_DIR", raising=False)
    monkeypatch.setenv("OPSLAB_CACHE", str(tmp_path / "cache"))
    return content


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def serve(tmp_path: Path) -> Iterator:
    """Serve bytes on loopback; ``claim`` may promise more bytes than are sent."""
    servers = []

    def start(content: bytes, claim: int | None = None) -> str:
        class Answer(Handler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(claim or len(content)))
                self.end_headers()
                self.wfile.write(content)

        server = socketserver.TCPServer(("127.0.0.1", 0), Answer)
        servers.append(server)
        threading.Thread(target=functools.partial(server.serve_forever, 0.05), daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}/archive.zip"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_simulated_comments_are_clean_and_seeded() -> None:
    first, again, other = (data.load("simulated", n_comments=300, seed=seed) for seed in (1, 1, 2))
    assert tuple(first.frame.columns) == schema.COLUMNS
    assert len(first) == 300
    assert first.sha256 == again.sha256 != other.sha256


def test_the_content_hash_is_of_content_not_of_order(comments) -> None:
    frame = comments.frame
    assert data.content_hash(frame.sample(frac=1, random_state=1)) == comments.sha256
    assert data.content_hash(frame.assign(label=1 - frame["label"])) != comments.sha256


def test_an_unknown_source_names_those_that_are_accepted() -> None:
    with pytest.raises(DataError, match=r"'facebook'; accepted: simulated, youtube, sms, or the path of a .csv file"):
        data.load("facebook")


def test_a_folder_without_the_archive(corpus: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_DATA_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"no file youtube.*nowhere.*export MLOPS_DATA_DIR=FOLDER"):
        data.load("youtube")


def test_an_archive_with_another_hash(corpus: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_DATA_DIR", str(tmp_path))
    (tmp_path / data.CORPORA["youtube"].file_name).write_bytes(corpus + b"x")
    with pytest.raises(DownloadError, match=r"its SHA-256 is [0-9a-f]{64}, pinned is"):
        data.load("youtube")


@pytest.mark.parametrize("content", [b"no archive", b"PK\x03\x04 truncated", b""])
def test_a_corrupt_archive(content: bytes, corpus: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_DATA_DIR", str(tmp_path))
    pinned = replace(data.CORPORA["youtube"], sha256=sha256(content).hexdigest())
    monkeypatch.setitem(data.CORPORA, "youtube", pinned)
    (tmp_path / pinned.file_name).write_bytes(content)
    with pytest.raises(DataError, match="is not the youtube archive"):
        data.load("youtube")


def test_a_corpus_with_rows_missing(corpus: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_DATA_DIR", str(tmp_path))
    (tmp_path / data.CORPORA["youtube"].file_name).write_bytes(corpus)
    monkeypatch.setitem(data.CORPORA, "youtube", replace(data.CORPORA["youtube"], rows=5))
    with pytest.raises(DataError, match="5 rows"):
        data.load("youtube")


def test_a_download_is_verified_and_kept(corpus: bytes, serve, tmp_path: Path, monkeypatch) -> None:
    pinned = replace(data.CORPORA["youtube"], url=serve(corpus))
    monkeypatch.setitem(data.CORPORA, "youtube", pinned)
    loaded = data.load("youtube")
    assert len(loaded) == 4
    assert loaded.frame["group"].unique().tolist() == ["Band"]
    assert not loaded.frame.astype(str).apply(lambda column: column.str.contains("Somebody")).any(axis=None)
    monkeypatch.setitem(data.CORPORA, "youtube", replace(pinned, url="http://127.0.0.1:9/gone"))
    assert data.load("youtube").sha256 == loaded.sha256


@pytest.mark.parametrize("case", ["interrupted", "another file", "nobody answers"])
def test_a_failed_download_says_what_to_do_and_leaves_nothing(
    case: str, corpus: bytes, serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pooch.core.time.sleep", lambda _: None)  # between retries
    if case == "interrupted":
        url = serve(corpus[:100], claim=len(corpus))
    elif case == "another file":
        url = serve(b"<html>gone</html>")
    else:
        url = "http://127.0.0.1:9/none"
    monkeypatch.setitem(data.CORPORA, "youtube", replace(data.CORPORA["youtube"], url=url))
    with pytest.raises(DownloadError, match=r"could not be downloaded.*fetch http.*by hand.*MLOPS_DATA_DIR"):
        data.load("youtube")
    assert files_below(tmp_path / "cache") == []


def test_a_cache_that_cannot_be_written(corpus: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("OPSLAB_CACHE", str(tmp_path / "file"))
    with pytest.raises(WorkspaceError, match="export OPSLAB_CACHE=FOLDER"):
        data.load("youtube")


def test_a_csv_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text('text,label\n"hello, you",ham\nbuy now,SPAM\nfine,0\nwin,1\n', encoding="utf-8")
    frame = data.load(path).frame.sort_values("row")
    assert frame["text"].tolist() == ["hello, you", "buy now", "fine", "win"]
    assert frame["label"].tolist() == [0, 1, 0, 1]
    assert frame["created_at"].isna().all()


BAD_CSV = {
    "empty file": ("", "cannot be read as CSV"),
    "header only": ("text,label\n", "holds no comments"),
    "no label": ("text\nhello\n", "no column label, only text"),
    "another separator": ("text;label\nhello;1\n", "no column text and label"),
    "unknown label": ("text,label\nhello,maybe\n", "row 0: label 'maybe'; accepted: 1, spam, 0, ham"),
    "one class": ("text,label\nhello,0\nthere,0\n", "both classes are there"),
    "ragged": ("text,label\na,1\nb,0,3,4\n", "cannot be read as CSV"),
    "bad date": ("text,label,created_at\na,1,yesterday\nb,0,\n", "created_at is not ISO 8601"),
    "moving date": ("text,label,created_at\na,1,now\nb,0,today\n", "created_at is not ISO 8601"),
    "comma without quotes": ("text,label\nhello, friend,ham\nbuy, now,spam\n", "texts with commas need quotes"),
    "only empty texts": ('text,label\n"  ",1\n,0\n', "no rows"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_a_bad_csv_is_refused_with_the_reason(case: str, tmp_path: Path, workspace_folder: Path) -> None:
    content, reason = BAD_CSV[case]
    path = tmp_path / "bad.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=reason):
        data.load(path)
    assert not workspace_folder.exists()


def test_a_csv_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read as CSV.*Accepted: UTF-8 CSV with a header"):
        data.load(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes("text,label\ncafé,1\nb,0\n".encode("latin-1"))
    with pytest.raises(DataError, match="cannot be read as CSV"):
        data.load(tmp_path / "latin.csv")


def test_dates_of_a_csv_are_read_as_utc(tmp_path: Path) -> None:
    path = tmp_path / "dated.csv"
    path.write_text("text,label,created_at\na,1,2026-01-01T12:00:00+02:00\nb,0,2026-01-02\n", encoding="utf-8")
    frame = data.load(path).frame.sort_values("row")
    assert frame["created_at"].iloc[0] == pd.Timestamp("2026-01-01T10:00:00Z")


def test_the_content_hash_of_a_csv_is_of_content_not_of_place_or_order(tmp_path: Path, monkeypatch) -> None:
    rows = ["hello,0", "win,1", "win,1", "bye,0"]
    hashes = set()
    for folder, order in (("one", rows), ("two", rows), ("three", rows[::-1])):
        path = tmp_path / folder / "my.csv"
        path.parent.mkdir()
        path.write_text("\n".join(["text,label", *order]), encoding="utf-8")
        hashes.add(data.load(path).sha256)
    monkeypatch.chdir(tmp_path / "one")
    hashes.add(data.load("my.csv").sha256)
    assert len(hashes) == 1
