"""Logs of several processes as one table."""

import json
import zlib

import pandas as pd
import pytest

from mlops_helpers.errors import EventLogError, ParameterError
from mlops_helpers.observe.logs import read_logs, trace

START = 1_700_000_000


def line(ts, **fields):
    return json.dumps({"ts": START + ts, **fields}) + "\n"


def framed(ts, **fields):
    record = json.dumps({"ts": START + ts, **fields}).encode()
    return b"%08x %b\n" % (zlib.crc32(record), record)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "blog.log").write_text(
        line(3, level="INFO", message="asked", request_id="r-1")
        + line(9, level="ERROR", msg="failed", service="blog-2")
        + "Traceback (most recent call last):\n  ZeroDivisionError\n"
    )
    (tmp_path / "blog.log.1").write_text("started\n" + line(1, message="earlier"))
    access = tmp_path / "gateway" / "access"
    access.mkdir(parents=True)
    (access / "00000001.log").write_bytes(framed(5, request_id="r-1", status=200, ms=2.5) + framed(6, request_id="r-2"))
    (access / "lock").write_text("no log")
    return tmp_path


def test_all_processes_are_one_table_in_the_order_of_time(folder):
    logs = read_logs(folder)
    assert logs.columns.tolist() == ["time", "service", "level", "message", "request_id", "status", "ms"]
    assert (logs["time"] - pd.Timestamp(START, unit="s", tz="UTC")).dt.total_seconds().tolist()[1:] == [
        1, 3, 5, 6, 9, 9, 9,
    ]  # fmt: skip
    assert pd.isna(logs["time"][0]) and logs["message"][0] == "started"  # nothing before it tells the time
    assert logs["service"].tolist() == ["blog"] * 3 + ["gateway/access"] * 2 + ["blog-2"] + ["blog"] * 2
    assert logs["level"].dropna().tolist() == ["info", "error"]
    assert logs["message"].dropna().tolist()[-2:] == ["Traceback (most recent call last):", "  ZeroDivisionError"]
    assert logs["status"].dtype == "Int64" and logs["status"].dropna().tolist() == [200]
    named = read_logs({"front": folder / "blog.log", "back": [folder / "gateway"]})
    assert named["service"].unique().tolist() == ["front", "back"]


def test_a_request_is_followed_through_all_of_them(folder):
    way = trace(read_logs(folder), "r-1")
    assert way[["service", "after"]].values.tolist() == [["blog", 0.0], ["gateway/access", 2.0]]
    with pytest.raises(ParameterError, match=r"no line has the request id 'r-9'.*r-1, r-2"):
        trace(read_logs(folder), "r-9")


def test_what_is_being_written_is_left_out_and_counted_and_what_is_damaged_is_a_message(tmp_path):
    whole, torn = line(1, message="whole"), framed(2)[:-5]
    bad = framed(3).replace(b"1700000003", b"1700000004")
    (tmp_path / "a.log").write_bytes(whole.encode() + bad + torn)
    (tmp_path / "b.jsonl").write_bytes(b'{"ts": 17')
    (tmp_path / "c.log").write_bytes(line(5, message="complete, without its newline").encode()[:-1])
    (tmp_path / "d.log").write_bytes(b"Killed")
    logs = read_logs(tmp_path)
    assert logs.attrs["torn"] == 2
    assert logs["message"].tolist() == ["Killed", "whole", bad.decode().strip(), "complete, without its newline"]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ({"ts": START}, 0),
        ({"time": "2023-11-14T22:13:21+00:00"}, 1),
        ({"@timestamp": "2023-11-14T22:13:23.000000001"}, 3),
        ({"ts": "soon"}, None),
        ({"ts": START * 1000}, None),
    ],
)
def test_times_are_read_as_they_are_commonly_written(tmp_path, written, seconds):
    path = tmp_path / "a.log"
    path.write_text(json.dumps(written) + "\n")
    time = read_logs(path)["time"][0]
    assert pd.isna(time) if seconds is None else time == pd.Timestamp(START + seconds, unit="s", tz="UTC")


def test_odd_records_lose_nothing(tmp_path):
    path = tmp_path / "a.log"
    lines = ["[1, 2]", "null", '{"level": 3, "message": {"a": 1}}', '{"n": 9999999999999999999999}', "[" * 9000]
    path.write_text("\n".join(lines) + "\n")
    logs = read_logs(path)
    assert len(logs) == len(lines)
    assert logs["message"].dropna().tolist()[:2] == ["[1, 2]", "null"]
    assert logs["level_"].dropna().tolist() == [3] and logs["message_"].dropna().tolist() == [{"a": 1}]


def test_logs_that_are_not_there_are_an_error_and_empty_ones_are_none(tmp_path):
    with pytest.raises(EventLogError, match="no log in"):
        read_logs(tmp_path)
    with pytest.raises(EventLogError, match="cannot be read"):
        read_logs(tmp_path / "a.log")
    (tmp_path / "a.log").touch()
    assert read_logs(tmp_path).empty
