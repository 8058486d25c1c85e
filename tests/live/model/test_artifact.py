"""What other programs see of an artifact, and that no number of threads shows in it."""

import os
import subprocess
import sys

TRAIN = """
import sys, pathlib
from mlops_helpers.model import artifact, data, training
comments = data.load("simulated", n_comments=600, seed=1)
model = training.train(comments.frame, comments.sha256)
print(artifact.export(model, pathlib.Path(sys.argv[1])).sha256)
"""
SCORE = """
import sys, pathlib
from mlops_helpers.model import artifact
artifact.load(pathlib.Path(sys.argv[1])).is_spam("hello")
print(*sys.modules)
"""


def test_the_number_of_threads_does_not_show_in_the_artifact(tmp_path) -> None:
    processes = []
    for threads in ("1", "2"):
        settings = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "PYTHONHASHSEED"), threads)
        command = [sys.executable, "-c", TRAIN, str(tmp_path / threads)]
        processes.append(subprocess.Popen(command, env=os.environ | settings, stdout=subprocess.PIPE, text=True))
    hashes = [process.communicate(timeout=100)[0] for process in processes]
    assert hashes[0] == hashes[1]
    assert len(hashes[0].strip()) == 64


def test_standard_tools_can_verify_the_folder(artifact) -> None:
    subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=artifact.folder, check=True, timeout=30)


def test_a_service_loads_no_scientific_library(artifact) -> None:
    command = [sys.executable, "-c", SCORE, str(artifact.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert not {"numpy", "pandas", "sklearn", "scipy", "mlflow"} & set(done.stdout.split())
