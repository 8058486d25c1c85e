"""A small archive in the shape of the YouTube corpus, with text of our own."""

import io
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from mlops_helpers.model import data

NOWHERE = "http://127.0.0.1:9/none"
ROWS = 4


def archive() -> bytes:
    """Return the bytes of the archive."""
    lines = ["COMMENT_ID,AUTHOR,DATE,CONTENT,CLASS"]
    lines += [f"z1{i},Somebody,2014-0{i % 5 + 1}-01T10:00:00,comment number {i},{i % 2}" for i in range(ROWS)]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("Youtube01-Band.csv", "\n".join(lines))
        file.writestr("__MACOSX/._Youtube01-Band.csv", "litter")
    return stream.getvalue()


def pin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, **changes: object) -> data.Corpus:
    """Make ``content`` the YouTube corpus for a test, to be found at ``url`` only; its cache is empty."""
    known = {"sha256": sha256(content).hexdigest(), "rows": ROWS, "url": NOWHERE}
    pinned = replace(data.CORPORA["youtube"], **known | changes)
    monkeypatch.setitem(data.CORPORA, "youtube", pinned)
    monkeypatch.delenv("MLOPS_DATA_DIR", raising=False)
    monkeypatch.setenv("OPSLAB_CACHE", str(tmp_path / "cache"))
    return pinned
