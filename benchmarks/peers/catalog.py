"""The peers by name."""

from collections.abc import Callable, Mapping
from functools import partial

from benchmarks.peers.mlflow_models import mlflow_serve
from benchmarks.peers.mlserver import BATCHING, mlserver
from benchmarks.peers.python_apps import echo, fastapi_def
from benchmarks.peers.server import Peer
from benchmarks.peers.workload import Workload

__all__ = ["PEERS"]

PEERS: Mapping[str, Callable[[Workload], Peer]] = {
    "http-echo": echo,
    "fastapi-def": fastapi_def,
    "mlflow-serve": mlflow_serve,
    **{name: partial(mlserver, name=name) for name in BATCHING},
}
"""What makes each peer ready to be started: its environment, its model and its settings."""
