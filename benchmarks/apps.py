"""Plain Starlette around the same model; factories for uvicorn, which import only what they need to start."""

import os
from collections.abc import Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def echo(score: Callable[[str], float | None] = lambda text: None) -> Starlette:
    """Answer without scoring: what HTTP and JSON cost."""

    async def classify(request: Request) -> Response:
        return JSONResponse({"score": score((await request.json())["text"])})

    return Starlette(routes=[Route("/classify", classify, methods=["POST"])])


def pipeline() -> Starlette:
    """Answer with scikit-learn's pipeline."""
    import pickle

    fitted = pickle.loads(Path(os.environ["WORKLOAD"], "pipeline.pickle").read_bytes())
    return echo(lambda text: float(fitted.predict_proba([text])[0, 1]))


def scorer() -> Starlette:
    """Answer with this project's scorer: no log, no metrics, no limits."""
    from mlops_helpers.model import artifact

    return echo(artifact.load(Path(os.environ["WORKLOAD"], "artifact")).scorer.score)
