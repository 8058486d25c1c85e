"""The command line in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from mlops_helpers import cli
from tests.support.tiny_notebooks import check, code, parameters, save


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=100)


def test_run_prints_a_line_a_notebook_and_a_summary(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "good.ipynb", parameters("n: int = 3  # how many"), check("print(n)", "3\n"))
    out = ["--out", str(tmp_path / "out")]
    good = python("-m", "mlops_helpers.cli", "run", str(path), *out, "-p", "n", "4")
    assert (good.returncode, "1 of 1 passed" in good.stdout) == (0, True), good.stderr
    assert "not compared (parameters changed: n)" in good.stderr
    bad = save(tmp_path / "bad.ipynb", code("1 / 0"))
    assert cli.main(["run", str(bad), *out]) == 1
    printed = capfd.readouterr()
    assert "0 of 1 passed" in printed.out  # of this run's: the good one stays in the index
    assert "ZeroDivisionError" in printed.err
    assert "\x1b" not in printed.out + printed.err
    assert cli.main(["refresh", str(bad)]) == 1
    assert cli.main(["run", str(path), *out]) == 0


def test_iri_grammar_is_missing_for_commands_only() -> None:
    code = (
        "import sys\n"
        "from mlops_helpers import cli\n"
        "cli.main(['check', '--rules'])\n"
        "assert 'rfc3987_syntax' not in sys.modules\n"
        "import rfc3987_syntax\n"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import contextlib, sys\n"
        "from mlops_helpers import cli\n"
        "with contextlib.suppress(SystemExit):\n    cli.main(['--help'])\n"
        "heavy = {'nbformat', 'papermill', 'pydantic', 'tqdm', 'jupyter_client', 'mlops_helpers.teach'}\n"
        "sys.exit(repr(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr


def test_reader_that_has_enough_is_no_error() -> None:
    command = f"{sys.executable} -m mlops_helpers.cli check --rules | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
