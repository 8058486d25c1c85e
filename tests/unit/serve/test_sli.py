"""Indicators count what readers saw; the numbers are worked out by hand on a record of ten lines."""

import math

import orjson
import pytest

from mlops_helpers.errors import ServiceError
from mlops_helpers.serve.blackbox import Record, Recorder, read_record
from mlops_helpers.serve.sli import (
    Share,
    availability,
    by_window,
    fast,
    generator_on_time,
    honest_published_at_once,
    spam_held,
)


def line(at: float, kind: str, outcome: str, seconds: float | None = 0.1, label=None, state="", status=200) -> Record:
    done = None if seconds is None else at + seconds
    return Record(at, kind, "10.0.0.1", 0.001, at, done, None, None, status, outcome, 1, "", state, "", label)


LINES = [
    line(0.1, "comment", "ok", 0.1, 0, "published"),
    line(0.2, "comment", "ok", 0.4, 0, "held"),
    line(0.3, "comment", "ok", 0.1, 1, "held"),
    line(0.4, "comment", "ok", 0.1, 1, "published"),
    line(0.5, "comment", "shed", 0.1, 1, status=429),
    line(2.1, "comment", "shed", 0.1, 0, status=429),
    line(2.2, "read", "ok", 0.2),
    line(2.3, "read", "timeout", 2.0, status=0),
    line(2.4, "read", "no_connection", None, status=0),
    line(2.5, "moderate", "error", 0.1, status=500),
]


@pytest.fixture
def frame(tmp_path):
    with (tmp_path / "record").open("wb") as file:
        recorder = Recorder(file, {"started_at": "2026-01-01T00:00:00+00:00", "planned": 10})
        for record in reversed(LINES):
            recorder.add(record)
        recorder.flush()
        file.write(b'{"intended": 9.0, "ki')  # a line that is being written
    return read_record(tmp_path / "record")


def test_a_record_is_read_in_order_and_without_its_torn_end(frame) -> None:
    assert frame["intended"].tolist() == [record.intended for record in LINES]
    assert frame["latency"].isna().sum() == 1 and frame["label"].isna().sum() == 4
    assert frame.attrs["planned"] == 10 and frame.attrs["started_at"].year == 2026


def test_indicators_count(frame) -> None:
    assert availability(frame) == Share(5, 8)  # neither the moderator nor the limited sender of spam
    assert fast(frame, 0.25) == Share(4, 8)
    assert honest_published_at_once(frame) == Share(1, 2)
    assert spam_held(frame) == Share(1, 2)
    assert generator_on_time(frame) == Share(10, 10)
    assert generator_on_time(frame, 0.0005) == Share(0, 10)
    assert availability(frame).ratio == 0.625
    assert math.isnan(availability(frame.iloc[:0]).ratio)


def test_indicators_by_window(frame) -> None:
    windows = by_window(frame, availability, "1s")
    assert windows.index.tolist() == [0.0, 1.0, 2.0]
    assert windows[["good", "total"]].to_numpy().tolist() == [[4, 4], [0, 0], [1, 4]]
    assert windows["ratio"].tolist()[::2] == [1.0, 0.25] and math.isnan(windows["ratio"][1.0])
    assert by_window(frame, lambda part: fast(part, 0.25), "500ms")["good"].sum() == fast(frame, 0.25).good
    assert by_window(frame.iloc[:0], availability).empty


def test_no_record_is_an_error_that_says_so(tmp_path) -> None:
    with pytest.raises(ServiceError, match="no record"):
        read_record(tmp_path / "nothing")
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ServiceError, match="no record"):
        read_record(tmp_path / "empty")
    (tmp_path / "header").write_bytes(orjson.dumps({"started_at": "2026-01-01T00:00:00+00:00"}) + b"\n")
    assert read_record(tmp_path / "header").empty
