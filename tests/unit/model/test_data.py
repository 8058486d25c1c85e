"""Sources of comments: what is accepted, what is refused and with which words."""

from pathlib import Path

import pandas as pd
import pytest

from mlops_helpers.errors import DataError, DownloadError
from mlops_helpers.model import data
from tests.support import small_corpus


def test_the_content_hash_is_of_content_not_of_order(comments) -> None:
    frame = comments.frame
    assert data.content_hash(frame.sample(frac=1, random_state=1)) == comments.sha256
    assert data.content_hash(frame.assign(label=1 - frame["label"])) != comments.sha256


def test_an_unknown_source_names_those_that_are_accepted() -> None:
    with pytest.raises(DataError, match=r"'facebook'; accepted: simulated, youtube, sms, or the path of a .csv file"):
        data.load("facebook")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that ``MLOPS_DATA_DIR`` names, without the archive; a small one is pinned."""
    small_corpus.pin(monkeypatch, tmp_path, small_corpus.archive())
    monkeypatch.setenv("MLOPS_DATA_DIR", str(tmp_path / "corpora"))
    (tmp_path / "corpora").mkdir()
    return tmp_path / "corpora"


def test_a_folder_without_the_archive_is_named_with_the_next_step(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no file youtube.*corpora.*export MLOPS_DATA_DIR=FOLDER"):
        data.load("youtube")


def test_an_archive_with_another_hash_is_refused(folder: Path) -> None:
    (folder / data.CORPORA["youtube"].file_name).write_bytes(small_corpus.archive() + b"x")
    with pytest.raises(DownloadError, match=r"its SHA-256 is [0-9a-f]{64}, pinned is"):
        data.load("youtube")


@pytest.mark.parametrize(
    ("content", "rows", "reason"),
    [
        (b"no archive", 4, "is not the youtube archive"),
        (b"PK\x03\x04 truncated", 4, "is not the youtube archive"),
        (b"", 4, "is not the youtube archive"),
        (small_corpus.archive(), 5, "5 rows"),
    ],
)
def test_an_archive_that_is_corrupt_or_lacks_rows_is_refused(
    content: bytes, rows: int, reason: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = small_corpus.pin(monkeypatch, tmp_path, content, rows=rows)
    monkeypatch.setenv("MLOPS_DATA_DIR", str(folder))
    (folder / pinned.file_name).write_bytes(content)
    with pytest.raises(DataError, match=reason):
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
