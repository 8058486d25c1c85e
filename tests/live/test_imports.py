"""What importing costs: the command line and a service in a container load nothing that they do not need."""

import subprocess
import sys

import pytest

SCIENTIFIC = {"numpy", "pandas", "sklearn", "scipy", "mlflow"}
HEAVY = SCIENTIFIC | {"papermill", "nbformat", "pydantic", "matplotlib", "tqdm"}


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import mlops_helpers, mlops_helpers.errors, mlops_helpers.workspace", HEAVY),
        ("import mlops_helpers.cli", HEAVY),
        ("from mlops_helpers.model import artifact", SCIENTIFIC),
        ("import mlops_helpers.serve.blog, mlops_helpers.serve.archive", SCIENTIFIC),
        ("import mlops_helpers.serve.drive", SCIENTIFIC | {"uvicorn", "prometheus_client", "starlette"}),
    ],
)
def test_import_loads_nothing_unwanted(statement: str, unwanted: set[str]) -> None:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not unwanted & set(done.stdout.split())
