"""Running a chapter of the course with other parameters than its defaults."""

import json
from pathlib import Path

from mlops_helpers.teach import notebooks

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
TRAIN = NOTEBOOKS / "01_train_a_spam_filter.ipynb"


def run(path: Path, parameters: dict[str, object], out: Path) -> Path:
    """Execute a chapter, which must pass and write nothing to stderr; return its executed copy."""
    (result,) = notebooks.run([path], parameters, out=out).results
    assert result.status == "passed", result.explain()
    assert result.executed is not None
    assert '"name": "stderr"' not in result.executed.read_text(encoding="utf-8")
    return result.executed


def printed(executed: Path, cell_id: str) -> str:
    """Return what the cell of this id printed and gave."""
    cells = json.loads(executed.read_text(encoding="utf-8"))["cells"]
    (cell,) = [cell for cell in cells if cell["id"] == cell_id]
    parts = [out.get("text") or out.get("data", {}).get("text/plain", []) for out in cell["outputs"]]
    return "".join("".join(part) for part in parts)
