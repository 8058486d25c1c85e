"""Running and checking notebooks: ``opslab run`` against nbval, papermill's command line and plain scripts.

Two sets: eight small generated notebooks (import, fit, check), so that a figure does not depend on the chapters, and
the chapters themselves, whose own work no runner can shorten by more than the number of processors.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import Figure, interleaved, ratios, report
from mlops_helpers.teach import documents, notebooks
from mlops_helpers.workspace import project_root

__all__ = ["main"]

SMALL_ROUNDS = 3
CHAPTER_ROUNDS = 2
STARTS = 15
IMPORTS = """\
import pandas as pd
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression"""
CELLS = (
    ("parameters", "seed: int = {seed}  # seed of the data"),
    ("", IMPORTS),
    ("", "X, y = make_classification(500, random_state=seed)\nframe = pd.DataFrame(X).assign(y=y)"),
    ("", "model = LogisticRegression().fit(X, y)"),
    ("nbval-check-output", "print(len(frame), f'{{model.score(X, y):.2f}}')"),
)


def main() -> bool:
    """Measure, report, and return whether every goal holds."""
    folder = project_root() / "build" / "bench" / "notebooks"
    shutil.rmtree(folder, ignore_errors=True)
    small = folder / "small"
    small.mkdir(parents=True)
    for seed in range(8):
        _generate(small / f"{seed:02}_fit.ipynb", seed)
    # Copies, refreshed: a chapter whose stored outputs are not up to date is the tests' business.
    chapters = folder / "chapters"
    shutil.copytree(project_root() / "notebooks", chapters, ignore=shutil.ignore_patterns(".*"))
    for done in notebooks.refresh([small, chapters]):
        if done.error is not None:
            raise done.error
    figures = _runners("8 small ML notebooks", small, folder, SMALL_ROUNDS)
    figures += _runners("the chapters", chapters, folder, CHAPTER_ROUNDS)
    return report("notebooks", figures + _starts())


def _generate(path: Path, seed: int) -> None:
    cells: list[dict[str, object]] = [
        {
            "cell_type": "code",
            "id": f"cell-{number}",
            "metadata": {"tags": [tag] if tag else []},
            "source": source.format(seed=seed),
            "outputs": [],
            "execution_count": None,
        }
        for number, (tag, source) in enumerate(CELLS)
    ]
    kernelspec = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    content = {"cells": cells, "metadata": {"kernelspec": kernelspec}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(content), encoding="utf-8")


def _runners(name: str, source: Path, folder: Path, rounds: int) -> list[Figure]:
    paths = documents.select([source])
    out = folder / "out"
    scripts = folder / "scripts"
    scripts.mkdir(parents=True, exist_ok=True)
    for path in paths:
        code = "\n\n".join(cell.source for cell in documents.read(path).cells if cell.is_code)
        (scripts / f"{path.stem}.py").write_text(f"display = print\n\n{code}\n", encoding="utf-8")

    def alone(command: Callable[[Path], list[str]]) -> Callable[[], None]:
        def call() -> None:
            for path in paths:
                _call(command(path), source, fresh=True)

        return call

    seconds = interleaved(
        {
            "opslab": lambda: _call(["-m", "mlops_helpers.cli", "run", str(source), "--out", str(out)], source),
            "nbval": lambda: _call(
                [
                    "-m",
                    "pytest",
                    "-q",
                    "-p",
                    "no:cacheprovider",
                    "--nbval-lax",
                    "--nbval-cell-timeout=600",
                    str(source),
                ],
                source,
                fresh=True,
            ),
            "papermill": alone(
                lambda path: [
                    "-m",
                    "papermill",
                    "--no-progress-bar",
                    str(path),
                    str(folder / "papermill.ipynb"),
                ]
            ),
            "scripts": alone(lambda path: [str(scripts / f"{path.stem}.py")]),
        },
        rounds,
    )
    figures = []
    for peer, goal, what in (
        ("nbval", "<= 0.25", "pytest --nbval-lax"),
        ("papermill", "", "papermill's command line, one by one"),
        ("scripts", "", "the same code as plain scripts, one by one"),
    ):
        value, spread = ratios(seconds["opslab"], seconds[peer])
        medians = [statistics.median(seconds[key]) for key in ("opslab", peer)]
        conditions = f"{spread}; medians {medians[0]:.1f} s and {medians[1]:.1f} s; {_machine()}"
        figures.append(Figure(f"{name}: opslab run / {what}", value, "ratio", goal, conditions))
    return figures


def _call(arguments: list[str], cwd: Path, *, fresh: bool = False) -> None:
    """Run Python; with ``fresh``, in a workspace of its own, as each notebook has one under ``opslab run``."""
    with tempfile.TemporaryDirectory(prefix="opslab-") as workspace:
        env = {**os.environ, "MPLBACKEND": "agg"} if arguments[0].endswith(".py") else dict(os.environ)
        env.pop("OPSLAB_WORKSPACE", None)
        if fresh:
            env["OPSLAB_WORKSPACE"] = workspace
        done = subprocess.run(
            [sys.executable, *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def _starts() -> list[Figure]:
    """Return what importing the package and asking for help cost above a bare Python."""
    opslab = Path(sys.executable).with_name("opslab")
    commands = {
        "bare": [sys.executable, "-c", "pass"],
        "import mlops_helpers": [sys.executable, "-c", "import mlops_helpers"],
        "opslab --help": [str(opslab), "--help"],
    }
    contenders = {
        name: lambda command=command: subprocess.run(command, check=True, capture_output=True)
        for name, command in commands.items()
    }
    seconds = interleaved(contenders, STARTS, warm_up=2)
    figures = []
    for name, goal in (("import mlops_helpers", "<= 0.05"), ("opslab --help", "<= 0.3")):
        above = [a - b for a, b in zip(seconds[name], seconds["bare"], strict=True)]
        bare = statistics.median(seconds["bare"])
        conditions = f"{STARTS} rounds, {min(above):.3f} to {max(above):.3f}; bare {bare:.3f} s; {_machine()}"
        figures.append(Figure(f"{name} over bare Python", statistics.median(above), "s", goal, conditions))
    return figures


def _machine() -> str:
    return f"{os.cpu_count()} processors, Python {sys.version.split()[0]}"
