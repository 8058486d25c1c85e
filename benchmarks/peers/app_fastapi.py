"""The FastAPI application that a good developer writes first: a ``def`` endpoint around the pipeline."""

import os
import pickle
from pathlib import Path

from fastapi import FastAPI
from pydantic import BaseModel

__all__ = ["app"]

app = FastAPI()
pipeline = pickle.loads(Path(os.environ["PIPELINE"]).read_bytes())


class Comment(BaseModel):
    """What is asked about."""

    text: str


class Verdict(BaseModel):
    """What is answered: the spam score, 0 to 1."""

    spam_score: float


@app.post("/classify")
def classify(comment: Comment) -> Verdict:
    """Score one comment."""
    return Verdict(spam_score=pipeline.predict_proba([comment.text])[0, 1])
