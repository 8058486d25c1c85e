"""``opslab platform up`` looks for the champion where chapter 02 registers it."""

import json
from pathlib import Path

from mlops_helpers.model.registry import Registry
from mlops_helpers.workspace import workspace

CHAPTER = Path(__file__).resolve().parents[3] / "notebooks" / "02_track_and_register.ipynb"


def test_registry_of_chapter_02_is_the_one_that_platform_up_opens() -> None:
    cells = json.loads(CHAPTER.read_text("utf-8"))["cells"]
    (line,) = [line for cell in cells for line in cell["source"] if line.startswith("registry = ")]
    names = {"Registry": Registry, "workspace": workspace}
    exec(line, names)
    assert names["registry"].folder == Registry().folder
    assert (workspace("registry") / "mlflow.db").exists()  # which platform up sees before it loads MLflow
