"""MLServer with its scikit-learn runtime and adaptive batching, in an environment of its own."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.peers.server import HOST, Peer, free_port, post
from benchmarks.peers.workload import Workload
from mlops_helpers.workspace import project_root

__all__ = ["BATCHING", "mlserver"]

REQUIREMENTS = Path(__file__).with_name("requirements-mlserver.txt")
BATCHING: Mapping[str, Mapping[str, Any]] = {
    "mlserver-eager": {"max_batch_size": 64, "max_batch_time": 0.0001},
    "mlserver-patient": {"max_batch_size": 64, "max_batch_time": 0.02},
}
"""Settings by name; times in seconds.

A single request waits for the whole time, so one setting is made for one connection and one for many: they were chosen
from sizes 16 to 128 and times from 0.1 to 50 ms. Which of them is the faster at 64 connections differs from run to run,
so the better of the two counts in each round. Workers of its own (``parallel_workers``) were slower on two processors.
"""


def mlserver(workload: Workload, name: str) -> Peer:
    """Return MLServer with a batching of :data:`BATCHING`.

    Raises ``RuntimeError`` when its environment cannot be made.
    """
    python = _environment()
    folder = project_root() / "build" / "peers" / f"{name}-models"
    (folder / "spam").mkdir(parents=True, exist_ok=True)
    model: dict[str, Any] = {
        "name": "spam",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {
            "uri": str(workload.pickle_path),
            "content_type": "str",
            "extra": {"predict_fn": "predict_proba"},
        },
    }
    (folder / "spam" / "model-settings.json").write_text(json.dumps({**model, **BATCHING[name]}), encoding="utf-8")

    def command(port: int) -> list[str]:
        server = {
            "host": HOST,
            "http_port": port,
            "grpc_port": free_port(),
            "metrics_port": free_port(),
            "parallel_workers": 0,
            "debug": False,
        }
        (folder / "settings.json").write_text(json.dumps(server), encoding="utf-8")
        return [str(python.with_name("mlserver")), "start", str(folder)]

    return Peer(
        name,
        command,
        lambda text: post(
            "/v2/models/spam/infer",
            {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]},
        ),
        lambda body: float(json.loads(body)["outputs"][0]["data"][1]),
    )


def _environment() -> Path:
    """Return the Python of an environment with exactly the locked packages, made when they change."""
    folder = project_root() / "build" / "peers" / "mlserver"
    python, ready = folder / "bin" / "python", folder / ".ready"
    locked = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not ready.is_file() or ready.read_text(encoding="utf-8") != locked:
        uv = [sys.executable, "-m", "uv"]
        _run(*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
        _run(
            *(*uv, "pip", "install", "--quiet", "--python", str(python)),
            *("--compile-bytecode", "--require-hashes", "--requirement", str(REQUIREMENTS)),
        )
        ready.write_text(locked, encoding="utf-8")  # last: an interrupted installation is made again
    return python


def _run(*command: str) -> None:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "UV_SYSTEM_CERTS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"MLServer's environment cannot be made: {' '.join(command)}\n{done.stderr[-2000:]}")
