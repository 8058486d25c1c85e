"""Framing, recovery and reading: every whole record comes back, damage is named, and tables are typed."""

from pathlib import Path

import orjson
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_helpers.errors import EventLogError
from mlops_helpers.serve.records import read, records, unique
from mlops_helpers.serve.segments import SegmentWriter, frame, segments, unframe


def write(folder: Path, *events: dict, name: str = "00000001.log") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(b"".join(frame(orjson.dumps(event)) for event in events))
    return path


def reopen(folder: Path) -> None:
    SegmentWriter(folder, segment_bytes=10**6, keep_segments=0).close()


@given(st.binary().filter(lambda record: b"\n" not in record), st.data())
def test_any_changed_byte_of_a_line_is_noticed(record, data):
    line = frame(record)
    assert unframe(line) == record
    at = data.draw(st.integers(0, len(line) - 1))
    changed = bytearray(line)
    changed[at] ^= data.draw(st.integers(1, 255))
    assert unframe(bytes(changed)) is None


def test_a_tail_torn_at_any_byte_is_ignored_cut_off_and_kept(tmp_path):
    events = [{"n": number, "text": "spam, ham\n\x00é"} for number in range(3)]
    path = write(tmp_path, *events)
    content = path.read_bytes()
    line = len(content) // 3
    torn = tmp_path / "00000001.log.torn"
    for size in range(line, len(content)):
        path.write_bytes(content[:size])
        whole = size // line
        assert list(records(tmp_path)) == events[:whole]
        torn.unlink(missing_ok=True)
        reopen(tmp_path)
        assert path.read_bytes() == content[: whole * line]
        assert (torn.read_bytes() if torn.exists() else b"") == content[whole * line : size]


def test_damage_before_the_last_whole_record_is_named_never_skipped(tmp_path):
    path = write(tmp_path, {"n": 1}, {"n": 2}, {"n": 3})
    content = path.read_bytes()
    line = len(content) // 3
    for at in range(line, 2 * line - 1):  # a newline that is gone makes one line of two: a torn tail
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        reopen(tmp_path)  # leaves it for the reader
        found = []
        with pytest.raises(EventLogError, match=rf"00000001\.log is damaged at byte {line} \(line 2\).*sed -i"):
            found.extend(records(tmp_path))
        assert found == [{"n": 1}]


def test_a_missing_segment_and_a_missing_log_are_errors(tmp_path):
    for number in (9, 10, 12):  # order is by number; the oldest may be gone
        write(tmp_path, {"n": number}, name=f"{number:08d}.log")
    with pytest.raises(EventLogError, match=r"12\.log after 00000010\.log"):
        list(records(tmp_path))
    segments(tmp_path)[-1].unlink()
    assert [record["n"] for record in records(tmp_path)] == [9, 10]
    with pytest.raises(EventLogError, match="no event log"):
        list(records(tmp_path / "elsewhere"))


def prediction(ts: float, comment: str, *, shadow: bool = False, score: float = 0.0, request: str = "r") -> dict:
    return {
        "ts": ts,
        "request_id": request,
        "comment_id": comment,
        "version": "v1",
        "artifact": "0123456789ab",
        "score": score,
        "spam": score >= 0.5,
        "chars": 10,
        "shadow": shadow,
    }


def test_a_table_is_typed_and_an_empty_one_alike(tmp_path):
    write(tmp_path / "full", prediction(1_700_000_000.25, "a"), prediction(1_700_000_001.0, "b", score=1.0))
    write(tmp_path / "empty")
    full, empty = read(tmp_path / "full"), read(tmp_path / "empty")
    assert full["ts"].tolist()[0] == pd.Timestamp("2023-11-14 22:13:20.25", tz="UTC")
    assert list(full.columns) == list(empty.columns)
    assert full.dtypes.to_dict() == empty.dtypes.to_dict()
    assert unique(empty).empty


def test_unique_keeps_the_first_delivery(tmp_path):
    write(tmp_path, prediction(1.0, "a", request="1"), prediction(2.0, "b", request="2"), prediction(3.0, "a"))
    assert unique(read(tmp_path))["request_id"].tolist() == ["1", "2"]
