"""Peers that are a small ASGI application on uvicorn: a plain FastAPI endpoint, and an echo as the ceiling."""

import json
import sys

from benchmarks.peers.server import HOST, Peer, post
from benchmarks.peers.workload import Workload

__all__ = ["echo", "fastapi_def"]


def fastapi_def(workload: Workload) -> Peer:
    """Return a FastAPI ``def`` endpoint: each request calls the pipeline in a thread of the pool."""
    return Peer(
        "fastapi-def",
        lambda port: _uvicorn("benchmarks.peers.app_fastapi:app", port),
        lambda text: post("/classify", {"text": text}),
        lambda body: float(json.loads(body)["spam_score"]),
        {"PIPELINE": str(workload.pickle_path)},
    )


def echo(_: Workload) -> Peer:
    """Return the smallest server that reads a JSON body: what HTTP itself costs in Python."""
    return Peer(
        "http-echo",
        lambda port: _uvicorn("benchmarks.peers.app_echo:app", port),
        lambda text: post("/classify", {"text": text}),
        lambda body: None,
    )


def _uvicorn(app: str, port: int) -> list[str]:
    quiet = ["--no-access-log", "--log-level", "warning"]
    return [
        *(sys.executable, "-m", "uvicorn", app, "--host", HOST, "--port", str(port)),
        *("--loop", "uvloop", "--http", "httptools", "--lifespan", "off", "--interface", "asgi3", *quiet),
    ]
