"""Chapter 01 on real comments."""

from pathlib import Path

import pytest

from tests.support.chapters import TRAIN, printed, run

pytestmark = pytest.mark.timeout(300)

CORPORA = [
    ("youtube", {"load": "1,956 comments", "time-split": "train on 271 early comments, test on 1,440 late ones"}),
    ("sms", {"time-split": "train on 1,674 early comments, test on 3,900 late ones"}),
]


def test_chapter_01_on_real_comments(seed: int, tmp_path: Path) -> None:
    source, expected = CORPORA[seed % len(CORPORA)]
    executed = run(TRAIN, {"source": source, "seed": seed}, tmp_path / "out")
    for cell, text in expected.items():
        assert text in printed(executed, cell)
