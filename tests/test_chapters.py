"""The chapters with other parameters than their defaults: real comments, a file of one's own, other seeds.

Where a chapter takes most of a minute, it runs with one choice of parameters, another one each day.
"""

import csv
import json
from datetime import date
from pathlib import Path

import pytest

from mlops_helpers.teach import notebooks

CHAPTERS = Path(__file__).resolve().parent.parent / "notebooks"
TRAIN = CHAPTERS / "01_train_a_spam_filter.ipynb"
TODAY = date.today().toordinal()
REAL = [
    ("youtube", {"load": "1,956 comments", "time-split": "train on 271 early comments, test on 1,440 late ones"}),
    ("sms", {"time-split": "train on 1,674 early comments, test on 3,900 late ones"}),
]
OBJECTIVES = [{"target": 0.99, "seed": 3}, {"target": 0.9, "release_hour": 18}]


def printed(executed: Path, cell_id: str) -> str:
    cells = json.loads(executed.read_text(encoding="utf-8"))["cells"]
    (cell,) = [cell for cell in cells if cell["id"] == cell_id]
    parts = [out.get("text") or out.get("data", {}).get("text/plain", []) for out in cell["outputs"]]
    return "".join("".join(part) for part in parts)


def ran(path: Path, given: dict[str, object], out: Path) -> Path:
    (result,) = notebooks.run([path], given, out=out).results
    assert result.status == "passed", result.explain()
    assert result.executed is not None
    assert '"name": "stderr"' not in result.executed.read_text(encoding="utf-8")
    return result.executed


@pytest.mark.engine("data")
def test_chapter_01_on_real_comments(tmp_path: Path) -> None:
    source, said = REAL[TODAY % len(REAL)]
    executed = ran(TRAIN, {"source": source}, tmp_path / "out")
    for cell, text in said.items():
        assert text in printed(executed, cell)


@pytest.mark.parametrize("columns", [("text", "label"), ("text", "label", "created_at", "group")], ids=len)
def test_chapter_01_on_a_file_of_ones_own(columns: tuple[str, ...], comments, tmp_path: Path) -> None:
    path = tmp_path / "my comments.csv"
    comments.frame.to_csv(path, columns=list(columns), index=False, quoting=csv.QUOTE_ALL)
    executed = ran(TRAIN, {"source": str(path)}, tmp_path / "out")
    assert "1,000 comments" in printed(executed, "load")
    assert ("One group" in printed(executed, "strangers")) is (len(columns) == 2)


def test_chapter_00_with_other_objectives(tmp_path: Path) -> None:
    given = {"hour_seconds": 0.4, **OBJECTIVES[TODAY % len(OBJECTIVES)]}
    executed = ran(CHAPTERS / "00_start_here.ipynb", given, tmp_path / "out")
    assert "hours served by the candidate: [" in printed(executed, "day-check")


def test_chapter_02_with_three_candidates(tmp_path: Path) -> None:
    executed = ran(CHAPTERS / "02_track_and_register.ipynb", {"strengths": [1.0, 3.0, 10.0]}, tmp_path / "out")
    assert "runs found: True" in printed(executed, "search-check")
