"""Running and checking eight small notebooks: ``opslab run`` against nbval and papermill's command line.

They are generated (import, fit, check): a figure depends on the runners, not on what the chapters do.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat

from benchmarks.measure import Figure, interleaved, ratio, run
from mlops_helpers.teach import notebooks

ROUNDS, NOTEBOOKS = 3, 8
CELLS = {
    "seed: int = {seed}  # seed of the data": ["parameters"],
    "import pandas as pd\nfrom sklearn.datasets import make_classification": [],
    "from sklearn.linear_model import LogisticRegression": [],
    "X, y = make_classification(500, random_state=seed)\nframe = pd.DataFrame(X).assign(y=y)": [],
    "model = LogisticRegression().fit(X, y)\nprint(len(frame), f'{{model.score(X, y):.2f}}')": ["nbval-check-output"],
}


def figures() -> Iterator[Figure]:
    """Compare the runners, each with a workspace of its own."""
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    with tempfile.TemporaryDirectory(prefix="opslab-bench-") as scratch:
        folder = Path(scratch) / "notebooks"
        folder.mkdir()
        for seed in range(NOTEBOOKS):
            sources = [(source.format(seed=seed), {"tags": tags}) for source, tags in CELLS.items()]
            cells = [nbformat.v4.new_code_cell(source, metadata=metadata) for source, metadata in sources]
            nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / f"{seed}_fit.ipynb")
        notebooks.refresh([folder])

        def call(*module: str) -> None:
            run(sys.executable, "-m", *module, folder=Path(scratch), OPSLAB_WORKSPACE=f"{scratch}/workspace")

        def papermill(path: Path) -> None:
            call("papermill", "--no-progress-bar", str(path), f"{scratch}/papermill.ipynb")

        ways: dict[str, Callable[[], object]] = {
            "opslab run": lambda: call("mlops_helpers.cli", "run", str(folder), "--out", f"{scratch}/out"),
            "nbval": lambda: call("pytest", "-q", "-p", "no:cacheprovider", "--nbval-lax", str(folder)),
            "papermill": lambda: [*map(papermill, sorted(folder.iterdir()))],
        }
        times = interleaved(ways, ROUNDS)
    for peer, goal in (("nbval", "<= 0.5"), ("papermill", "")):
        yield ratio(f"time / {peer}'s", times["opslab run"], times[peer], goal, f"{NOTEBOOKS} small notebooks")
