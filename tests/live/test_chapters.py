"""Chapters with other parameters than their defaults; the seed decides which (``make nightly``: all of them)."""

import csv
import os
from pathlib import Path

import pytest

from tests.support.chapters import NOTEBOOKS, TRAIN, printed, run

pytestmark = pytest.mark.timeout(300)

COLUMNS = [("text", "label", "created_at", "group"), ("text", "label")]
OBJECTIVES = [{"target": 0.99, "seed": 3}, {"target": 0.9, "release_hour": 18}]
STRENGTHS = [[1.0, 3.0, 10.0], [0.1, 1.0, 100.0]]


def test_chapter_01_on_a_file_of_ones_own(seed: int, comments, tmp_path: Path) -> None:
    columns, path = COLUMNS[seed % 2], tmp_path / "my comments.csv"
    comments.frame.to_csv(path, columns=list(columns), index=False, quoting=csv.QUOTE_ALL)
    executed = run(TRAIN, {"source": str(path), "seed": seed}, tmp_path / "out")
    assert "1,000 comments" in printed(executed, "load")
    assert ("One group" in printed(executed, "strangers")) is (len(columns) == 2)


def test_chapter_02_with_three_candidates(seed: int, tmp_path: Path) -> None:
    parameters = {"strengths": STRENGTHS[seed % 2], "seed": seed}
    executed = run(NOTEBOOKS / "02_track_and_register.ipynb", parameters, tmp_path / "out")
    assert "runs found: True" in printed(executed, "search-check")


@pytest.mark.skipif("OPSLAB_SEEDS" not in os.environ, reason="takes a minute: make nightly")
def test_chapter_00_with_other_objectives(seed: int, tmp_path: Path) -> None:
    parameters = {"hour_seconds": 0.4, **OBJECTIVES[seed % 2]}
    executed = run(NOTEBOOKS / "00_start_here.ipynb", parameters, tmp_path / "out")
    assert "hours served by the candidate: [" in printed(executed, "day-check")
