"""The record of releases: what is in it stays, and what was changed, cut or exchanged is seen."""

import json

import pytest

from mlops_helpers.deploy.release_record import ReleaseRecord
from mlops_helpers.errors import PipelineError
from mlops_helpers.observe.delivery_metrics import delivery_metrics


@pytest.fixture
def record(tmp_path):
    made = ReleaseRecord(tmp_path / "record")
    for number in range(1, 4):
        made.append("stage", f"release-{number}", stage="quality", facts={"é": [number, 0.5, None]})
    return made


def test_entries_are_what_was_written_in_order(record):
    entries = ReleaseRecord(record.folder).entries()
    assert [entry["number"] for entry in entries] == [1, 2, 3]
    assert entries[1]["facts"] == {"é": [2, 0.5, None]}
    assert record.entries("release-3") == entries[2:]
    assert record.head == entries[-1]["sha256"]


def test_change_of_any_byte_is_noticed(record):
    whole = record.path.read_bytes()
    for place in range(0, len(whole) - 1, 7):
        record.path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(PipelineError, match=r"was changed|was cut"):
            ReleaseRecord(record.folder).entries()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: lines[1:], "entry 1 .* was changed"),
        (lambda lines: [lines[0], lines[2]], "entry 2 .* was changed"),
        (lambda lines: [lines[1], lines[0], lines[2]], "was changed"),
        (lambda lines: lines[:-1], "was cut"),
        (lambda lines: [], "was cut"),
    ],
)
def test_changed_record_takes_nothing_more(record, damage, message):
    lines = record.path.read_bytes().splitlines(keepends=True)
    record.path.write_bytes(b"".join(damage(lines)))
    for reader in (record, ReleaseRecord(record.folder)):  # whoever has read it before sees it, too
        with pytest.raises(PipelineError, match=message):
            reader.append("deployed", "release-4")


def test_record_without_its_head_is_refused(record):
    (record.folder / "head.json").unlink()
    with pytest.raises(PipelineError, match=r"was cut or exchanged.*[Nn]ext"):
        record.entries()


def test_half_line_of_a_killed_writer_is_dropped(record):
    with record.path.open("ab") as file:
        file.write(b'{"number": 4, "at": "20')
    assert len(record.entries()) == 3
    record.append("ready", "release-4")
    assert [entry["event"] for entry in ReleaseRecord(record.folder).entries()] == ["stage"] * 3 + ["ready"]


def test_head_that_is_behind_is_no_damage(record):
    before = (record.folder / "head.json").read_bytes()
    record.append("ready", "release-3")
    (record.folder / "head.json").write_bytes(before)
    assert len(ReleaseRecord(record.folder).entries()) == 4


@pytest.mark.parametrize("facts", [{"at_last": float("nan")}, {"folder": object()}])
def test_facts_that_are_no_plain_data_are_refused(record, facts):
    with pytest.raises(PipelineError, match="plain data"):
        record.append("stage", "release-4", **facts)
    assert len(record.entries()) == 3


def test_missing_release_is_refused_by_name(record):
    with pytest.raises(PipelineError, match="no release 'release-9'; there are: release-1, release-2, release-3"):
        record.entries("release-9")


def test_delivery_measures_come_from_the_record(record):
    about = {"committed_at": "2026-01-12T09:00:00Z", "rework": False}
    record.append("deployed", "release-1", **about)
    record.append("deployed", "release-2", **about)
    record.append("failed", "release-2", reason="spam is published")
    record.append("recovered", "release-2")
    record.append("deployed", "release-3", **about | {"rework": True})
    record.append("failed", "release-3")
    frame = record.frame()
    assert list(frame.index) == ["release-1", "release-2", "release-3"]
    measures = delivery_metrics(frame, "2026-01-01", "2126-01-01")
    assert measures.deployments == 3
    assert measures.change_fail_rate == pytest.approx(2 / 3)
    assert measures.deployment_rework_rate == pytest.approx(1 / 3)
    assert measures.still_failing == 1


def test_entry_is_a_line_that_a_person_can_read(record):
    first = json.loads(record.path.read_text("utf-8").splitlines()[0])
    assert list(first)[-1] == "sha256"
    assert first["release"] == "release-1"
