"""``mlflow models serve``: the scoring server that MLflow generates for a logged model."""

import json
import logging
import os
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.peers.server import HOST, Peer, post
from benchmarks.peers.workload import Workload
from mlops_helpers.workspace import atomic_folder

__all__ = ["mlflow_serve"]

SETTINGS = {"MLFLOW_DISABLE_TELEMETRY": "true"}


def mlflow_serve(workload: Workload) -> Peer:
    """Return MLflow's own server of the pipeline, one worker, in this environment (the course's).

    The model has no signature, so that MLflow spends nothing on enforcing one.
    """
    model = workload.folder / f"mlflow-{version('mlflow')}"
    if not model.exists():
        _save(workload, model)
    return Peer(
        "mlflow-serve",
        lambda port: [
            *(sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(model)),
            *("--env-manager", "local", "--host", HOST, "--port", str(port), "--workers", "1"),
        ],
        lambda text: post("/invocations", {"inputs": [text]}),
        lambda body: float(json.loads(body)["predictions"][0][1]),
        # the server is started by the name "uvicorn"
        SETTINGS | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
    )


def _save(workload: Workload, folder: Path) -> None:
    os.environ.update(SETTINGS)  # read when mlflow is imported
    import mlflow.sklearn

    logging.getLogger("mlflow").setLevel(logging.ERROR)  # it warns of pickle, which is this workload's own

    with atomic_folder(folder) as fresh:
        mlflow.sklearn.save_model(
            workload.model.pipeline,
            fresh,
            serialization_format="pickle",
            pyfunc_predict_fn="predict_proba",
            pip_requirements=[f"scikit-learn=={version('scikit-learn')}"],
        )
