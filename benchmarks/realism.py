"""How close the simulated comments come to real ones, judged by models, and how fast they are made.

The two real corpora are the yardstick (``MLOPS_DATA_DIR``, or downloaded once): a model that saw simulated
comments only must rank real ones, and spam must not be told by length or signs more easily than in reality.
"""

import statistics

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from benchmarks.harness import Figure, interleaved, ratios, report
from mlops_helpers.model.data import load
from mlops_helpers.model.simulate import simulate
from mlops_helpers.model.training import make_pipeline, near_duplicate_groups, split_random

SEEDS = range(5)
N_COMMENTS = 6_000
MONTH = 300_000
PUNCTUATION = {
    "exclamation marks": r"!",
    "question marks": r"\?",
    "full stops": r"\.",
    "commas": r",",
    "slashes": r"/",
    "other signs": r"[^\w\s!?.,/]",
    "digits": r"\d",
    "capitals": r"[A-Z]",
    "beyond ASCII": r"[^\x00-\x7f]",
}


def lengths(texts: pd.Series) -> pd.DataFrame:
    """Characters and words of each text."""
    return pd.DataFrame({"characters": texts.str.len(), "words": texts.str.split().str.len()})


def punctuation(texts: pd.Series) -> pd.DataFrame:
    """How often each kind of sign, digit, capital and emoji occurs in each text."""
    return pd.DataFrame({name: texts.str.count(pattern) for name, pattern in PUNCTUATION.items()})


def separability(features: pd.DataFrame, label: pd.Series) -> float:
    """ROC-AUC of gradient boosting on the features alone, cross-validated."""
    model = HistGradientBoostingClassifier(max_iter=60, random_state=0)
    return roc_auc_score(label, cross_val_predict(model, features, label, cv=5, method="predict_proba")[:, 1])


def near_duplicates_in_test(frame: pd.DataFrame, label: int) -> float:
    """Per cent of a class's test comments that have a near-duplicate in train, in a random 70/30 split."""
    group = pd.Series(near_duplicate_groups(frame["text"]), index=frame.index)
    train, test = split_random(frame, 0.3, seed=0, keep_apart=False)
    ours = test.index[test["label"] == label]
    return 100 * group[ours].isin(group[train.index]).mean()


def in_domain(frame: pd.DataFrame) -> tuple[object, float, float]:
    """Train on the first 70 % in time; return the model, accuracy in per cent and ROC-AUC on the rest.

    Comments of the rest that have a near-duplicate in train are left out.
    """
    frame = frame.sort_values("created_at", kind="stable", ignore_index=True)
    cut = round(0.7 * len(frame))
    group = near_duplicate_groups(frame["text"])
    train, test = frame[:cut], frame[cut:][~np.isin(group[cut:], group[:cut])]
    model = make_pipeline().fit(train["text"], train["label"])
    score = model.predict_proba(test["text"])[:, 1]
    return model, 100 * ((score >= 0.5) == test["label"]).mean(), roc_auc_score(test["label"], score)


def spread(values: list[float]) -> str:
    """Return the range of the seeds' values in words."""
    return f"{len(values)} seeds, {min(values):.3g} to {max(values):.3g}"


def main() -> bool:
    """Measure, print, store; return whether every goal holds."""
    real = {name: load(name).frame for name in ("youtube", "sms")}
    other = {"youtube": "sms", "sms": "youtube"}
    across = {}  # what a model reaches that was trained on the other real corpus
    for name, corpus in real.items():
        peer = make_pipeline().fit(real[other[name]]["text"], real[other[name]]["label"])
        across[name] = roc_auc_score(corpus["label"], peer.predict_proba(corpus["text"])[:, 1])
    rows: dict[str, list[float]] = {}
    for seed in SEEDS:
        frame = load("simulated", n_comments=N_COMMENTS, seed=seed).frame
        model, accuracy, auc = in_domain(frame)
        measured = {"accuracy": accuracy, "auc": auc}
        for name, corpus in real.items():
            measured[name] = roc_auc_score(corpus["label"], model.predict_proba(corpus["text"])[:, 1])  # type: ignore[attr-defined]
        measured["length"] = separability(lengths(frame["text"]), frame["label"])
        measured["punctuation"] = separability(punctuation(frame["text"]), frame["label"])
        measured["near-duplicates"] = near_duplicates_in_test(frame, 1)
        measured["distinct"] = 100 * frame["text"].nunique() / len(frame)
        for key, value in measured.items():
            rows.setdefault(key, []).append(float(value))

    figures = [
        Figure(
            "trained on simulated only, ROC-AUC on YouTube",
            statistics.median(rows["youtube"]),
            "ROC-AUC",
            ">= 0.86",
            f"median of {spread(rows['youtube'])}; trained on SMS: {across['youtube']:.3f}",
        ),
        Figure(
            "trained on simulated only, ROC-AUC on SMS",
            statistics.median(rows["sms"]),
            "ROC-AUC",
            "",
            f"median of {spread(rows['sms'])}; trained on YouTube: {across['sms']:.3f}",
        ),
    ]
    for which, value in (("lowest", min(rows["accuracy"])), ("highest", max(rows["accuracy"]))):
        conditions = f"{N_COMMENTS} comments, first 70 % in time train, no near-duplicates; {spread(rows['accuracy'])}"
        figures.append(Figure(f"in-domain accuracy, {which} of the seeds", value, "%", ">= 94 <= 98", conditions))
    figures.append(
        Figure(
            "in-domain ROC-AUC",
            statistics.median(rows["auc"]),
            "ROC-AUC",
            "",
            f"median of {spread(rows['auc'])}",
        )
    )
    for what, features in (("length", lengths), ("punctuation", punctuation)):
        reality = {name: separability(features(c["text"]), c["label"]) for name, c in real.items()}
        conditions = f"gradient boosting, 5-fold; highest of {spread(rows[what])}"
        figures.append(
            Figure(f"simulated, spam told by {what} alone", max(rows[what]), "ROC-AUC", "<= 0.80", conditions)
        )
        for name, value in reality.items():
            figures.append(Figure(f"{name}, spam told by {what} alone", value, "ROC-AUC", "", "the same classifier"))
        excess = max(rows[what]) - max(reality.values())
        figures.append(
            Figure(f"{what}: simulated minus the more separable corpus", excess, "ROC-AUC", "<= 0", conditions)
        )
    duplicated = {"simulated": statistics.median(rows["near-duplicates"])}
    duplicated |= {name: near_duplicates_in_test(corpus, 1) for name, corpus in real.items()}
    for name, value in duplicated.items():
        conditions = "near-duplicate: cosine of character trigrams >= 0.8, chained"
        figures.append(Figure(f"{name}, test spam with a near-duplicate in train", value, "%", "", conditions))
    distinct = 100 * float(simulate(MONTH)["text"].nunique()) / MONTH
    small = f"of {MONTH} comments; {statistics.median(rows['distinct']):.3g} % of {N_COMMENTS}"
    figures.append(Figure("distinct texts", distinct, "%", "", small))
    figures.append(speed())
    return report("realism", figures)


def speed() -> Figure:
    """Time a month of traffic against hashing the same comments' words with scikit-learn."""
    texts = simulate(MONTH, seed=1)["text"]
    hashing = HashingVectorizer(ngram_range=(1, 2))
    contenders = {"simulate": lambda: simulate(MONTH, seed=1), "hash": lambda: hashing.transform(texts)}
    seconds = interleaved(contenders, rounds=3)
    value, rounds = ratios(seconds["simulate"], seconds["hash"])
    conditions = f"simulate({MONTH}) over HashingVectorizer (words 1-2) of the same texts; {rounds}"
    return Figure("time of a month of traffic", value, "ratio", "<= 1.0", conditions)
