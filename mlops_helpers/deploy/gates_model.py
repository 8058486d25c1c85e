"""The gates of the model: it is trained, and is not worse than the one that serves, overall and on any slice."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlops_helpers.deploy import noninferiority
from mlops_helpers.deploy.gates import Gate, Job, Target
from mlops_helpers.deploy.gates_data import TEST, TRAIN, read_comments
from mlops_helpers.deploy.release_settings import TrainingSettings, read
from mlops_helpers.deploy.team_code import cleaned, stage_utility
from mlops_helpers.errors import GateRefused, PipelineError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SCORES", "quality", "train"]

SCORES = "scores.json"
"""Texts of the test comments with the scores that the trained model gave them, and its threshold."""


def train(job: Job) -> Mapping[str, Any]:
    """Make the model's artifact, and the scores of the test comments by which it is judged."""
    from mlops_helpers.model import artifact, training

    settings = read(TrainingSettings, job.source)
    app = job.scratch / "app"
    data = job.needs["data_validation"]
    learn, judge = read_comments(data, TRAIN), read_comments(data, TEST)
    try:
        stage_utility(job.source, settings.text_utility, settings.files, settings.requirements, app)
        texts = cleaned([*learn["text"], *judge["text"]], app)
    except PipelineError as error:
        raise GateRefused(f"the text utility does not work where the model is trained: {error}") from error
    learn, judged = learn.assign(text=texts[: len(learn)]), judge.assign(text=texts[len(learn) :])
    about = str(job.facts["data_validation"]["sha256"])
    model = training.train(learn, about, threshold=settings.model.threshold, c=settings.model.c)
    exported = artifact.export(model, job.output / "artifact")
    scores = exported.scorer.scores(judged["text"].tolist())
    content = {"texts": judge["text"].tolist(), "scores": scores, "threshold": model.threshold}
    (job.output / SCORES).write_text(json.dumps(content), encoding="utf-8")
    job.say(f"{len(learn)} comments, artifact {exported.sha256}")
    return {"artifact": exported.sha256, "code": model.code_version, "threshold": model.threshold}


def _champion(target: Target) -> object:
    serving = target.serving()
    return serving.sha256 if serving else None


def _quality(job: Job) -> Mapping[str, Any]:
    """Refuse a model that is not shown to be good enough, and not worse than the champion by more than a margin.

    Both judge the same comments. Overall the margin is ``margin``; on spam, on what is none, and on each slice of at
    least ``smallest_slice`` comments it is ``slice_margin``. Without a champion, ``least_accuracy`` decides alone.
    """
    from scipy.stats import binomtest

    judged = read_comments(job.needs["data_validation"], TEST)
    found = json.loads((job.needs["train"] / SCORES).read_text("utf-8"))
    spam = judged["label"].eq(1).tolist()
    right = [(score >= found["threshold"]) == truth for score, truth in zip(found["scores"], spam, strict=True)]
    n = len(right)
    accuracy = float(binomtest(sum(right), n).proportion_ci(0.9, method="wilson").low)
    job.say(f"accuracy {sum(right) / n:.3f}, above {accuracy:.3f} with 95 % confidence")
    wrong = []
    if accuracy < (least := job.setting("least_accuracy", 0.85)):
        wrong.append(f"accuracy is above {accuracy:.3f} with 95 % confidence; accepted: above {least}")
    facts: dict[str, Any] = {"accuracy": round(sum(right) / n, 4), "champion": "", "slices": {}}
    if champion := job.target.serving():
        try:
            before = champion.scores(judged["text"].tolist())
        except PipelineError as error:
            raise PipelineError(f"the champion cannot be asked: {error}. Next: name another champion") from error
        was = [(score >= champion.artifact.threshold) == truth for score, truth in zip(before, spam, strict=True)]
        facts["champion"] = champion.version
        for one, margin, fewest in _comparisons(job, judged, right, was):
            job.say(f"{one} (margin {100 * margin:.1f})" if one.n >= fewest else f"{one}: too few to judge")
            facts["slices"][one.name] = [one.n, round(one.difference, 4), round(one.low, 4)]
            if one.n >= fewest and not one.not_worse_by(margin):
                wrong.append(f"{one}; accepted: worse by less than {100 * margin:.1f} points")
    if wrong:
        raise GateRefused(
            f"the model is not shown to be good enough. {'; '.join(wrong)}. Next: look at the comments that it judges "
            "wrongly; more test comments make the intervals narrower"
        )
    return facts


quality = Gate(_quality, depends=_champion)


def _comparisons(
    job: Job, judged: "pd.DataFrame", new: Sequence[bool], old: Sequence[bool]
) -> list[tuple[noninferiority.Comparison, float, float]]:
    """Return each comparison with its margin, and how many comments it needs to be judged by."""
    import numpy as np

    from mlops_helpers.model.evaluation import slices

    margin, slice_margin = job.setting("margin", 0.02), job.setting("slice_margin", 0.08)
    smallest = job.setting("smallest_slice", 60)
    right, was = np.array(new), np.array(old)
    everything = np.ones(len(right), dtype=bool)
    masks: list[tuple[str, Any, float, float]] = [("all", everything, margin, 1)]
    masks += [
        (name, judged["label"].eq(label).to_numpy(), slice_margin, 1) for label, name in ((1, "spam"), (0, "not spam"))
    ]
    masks += [(name, mask.to_numpy(), slice_margin, smallest) for name, mask in slices(judged).items() if mask.any()]
    return [
        (
            noninferiority.compare(name, int(m.sum()), int((right & ~was & m).sum()), int((was & ~right & m).sum())),
            far,
            few,
        )
        for name, m, far, few in masks
    ]
