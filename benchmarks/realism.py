"""How close the simulated comments come to real ones, judged by models: the two real corpora are the yardstick.

A model that saw simulated comments only must rank real ones about as well as a model that saw the other corpus. On
simulated comments it must be neither perfect nor bad.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from benchmarks.measure import Figure, median
from mlops_helpers.model.data import load
from mlops_helpers.model.training import make_pipeline, near_duplicate_groups
from tests.support.engines import ENGINES

SEEDS, N_COMMENTS = range(4), 6_000


def figures() -> Iterator[Figure]:
    """Train on simulated comments of some seeds; test on later ones, and on real ones if these are here."""
    models, accuracy = zip(*map(_in_time, SEEDS), strict=True)
    about = "first 70 % in time train, no near-duplicates in the rest"
    yield median("tested on simulated: accuracy", accuracy, "%", ">= 94 <= 98", about)
    if ENGINES["data"].works():
        real = {name: load(name).frame for name in ("youtube", "sms")}
        for name, other, goal in (("youtube", "sms", ">= 0.86"), ("sms", "youtube", ">= 0.75")):
            peer = _auc(make_pipeline().fit(real[other]["text"], real[other]["label"]), real[name])
            reached, about = [_auc(model, real[name]) for model in models], f"trained on {other}: {peer:.3f}"
            yield median(f"trained on simulated only, tested on {name}", reached, "ROC-AUC", goal, about)
    else:
        yield Figure("tested on real comments", None, "ROC-AUC", "", f"to get them: {ENGINES['data'].remedy}")


def _in_time(seed: int) -> tuple[Any, float]:
    """Train on the first 70 % in time; return the model and its accuracy in per cent on the rest."""
    frame = load("simulated", n_comments=N_COMMENTS, seed=seed).frame.sort_values("created_at", kind="stable")
    cut, group = round(0.7 * len(frame)), near_duplicate_groups(frame["text"])
    train, test = frame[:cut], frame[cut:][~np.isin(group[cut:], group[:cut])]
    model = make_pipeline().fit(train["text"], train["label"])
    return model, 100 * float((model.predict(test["text"]) == test["label"]).mean())


def _auc(model: Any, frame: pd.DataFrame) -> float:
    return float(roc_auc_score(frame["label"], model.predict_proba(frame["text"])[:, 1]))
