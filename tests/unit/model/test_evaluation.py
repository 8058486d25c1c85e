"""Measures equal scikit-learn's, intervals cover what they promise, missing classes are said."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from mlops_helpers.errors import DataError
from mlops_helpers.model import evaluation


def sample(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.3).astype(int)
    return labels, 1 / (1 + np.exp(-rng.normal(2 * labels - 1, 1.2)))


score = st.one_of(st.floats(0, 1), st.sampled_from([0.2, 0.5, 0.7]))  # ties, too


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.booleans(), score), min_size=4, max_size=40).filter(
        lambda rows: len({label for label, _ in rows}) == 2
    )
)
def test_measures_equal_those_of_scikit_learn_on_anything(rows: list[tuple[bool, float]]) -> None:
    labels, scores = np.array([int(a) for a, _ in rows]), np.array([b for _, b in rows])
    found, called = evaluation.evaluate(pd.Series(labels), scores), scores >= 0.5
    assert (found.n, found.spam) == (len(rows), labels.sum())
    assert found.accuracy.value == metrics.accuracy_score(labels, called)
    assert found.spam_caught.value == metrics.recall_score(labels, called)
    assert found.ham_blocked.value == pytest.approx(1 - metrics.recall_score(labels, called, pos_label=0))
    assert found.brier.value == pytest.approx(metrics.brier_score_loss(labels, scores))
    assert found.mcc.value == pytest.approx(metrics.matthews_corrcoef(labels, called))
    assert found.roc_auc.value == pytest.approx(metrics.roc_auc_score(labels, scores))
    assert found.pr_auc.value == pytest.approx(metrics.average_precision_score(labels, scores))
    for estimate in found.estimates().values():
        assert estimate.low <= estimate.high or np.isnan([estimate.low, estimate.high]).all()


def test_intervals_cover_the_truth_about_as_often_as_promised() -> None:
    labels, scores = sample(66_000, seed=99)
    many, likely, verdicts = labels[:50_000], scores[:50_000], scores[:50_000] >= 0.5
    truth = {
        "accuracy": metrics.accuracy_score(many, verdicts),
        "mcc": metrics.matthews_corrcoef(many, verdicts),
        "roc_auc": metrics.roc_auc_score(many, likely),
        "pr_auc": metrics.average_precision_score(many, likely),
        "brier": metrics.brier_score_loss(many, likely),
    }
    hits = dict.fromkeys(truth, 0)
    rounds = 40
    for i in range(rounds):
        part = slice(50_000 + i * 400, 50_000 + (i + 1) * 400)
        found = evaluation.evaluate(pd.Series(labels[part]), scores[part], seed=i).estimates()
        for name in hits:
            hits[name] += found[name].low <= truth[name] <= found[name].high
    # 38 of 40 are expected; below 33 has a chance of about 0.001 for a right interval
    assert all(count >= 33 for count in hits.values()), hits
    assert any(count < rounds for count in hits.values()), "intervals that always cover are too wide"


def test_evaluation_is_seeded_and_shown_as_a_table() -> None:
    labels, scores = sample()
    first, again = (evaluation.evaluate(pd.Series(labels), scores, seed=4) for _ in range(2))
    assert first.mcc == again.mcc
    pd.testing.assert_frame_equal(first.table(), again.table())
    assert list(first.table().columns) == ["value", "low", "high"]
    assert "(" in str(first.mcc)


def test_calibration_error_sees_scores_that_are_off_on_both_sides() -> None:
    labels = np.array([0, 1] * 500)
    found = evaluation.evaluate(pd.Series(labels), np.where(labels == 1, 0.7, 0.3))
    assert found.calibration_error.value == pytest.approx(0.3)
    flat = evaluation.evaluate(pd.Series(labels), np.full(1000, 0.5))
    assert flat.calibration_error.value == pytest.approx(0)


def test_few_cases_of_a_class_have_no_resampled_interval() -> None:
    labels = np.array([1] * 9 + [0] * 500)
    found = evaluation.evaluate(pd.Series(labels), np.linspace(1, 0, 509))
    assert np.isnan([found.mcc.low, found.roc_auc.high, found.brier.low]).all()
    assert found.spam_caught.low < found.spam_caught.value
    assert str(found.roc_auc) == "1.000"


def test_a_score_at_the_threshold_is_spam_everywhere(comments) -> None:
    frame = comments.frame.head(20).assign(label=[0, 1] * 10)
    scores = np.full(20, 0.5)
    assert evaluation.evaluate(frame["label"], scores).spam_caught.value == 1
    assert evaluation.by_slice(frame, scores, {"all": frame["label"] >= 0})["spam_caught"].tolist() == [1]


@pytest.mark.parametrize(
    ("labels", "scores"),
    [
        ([-1, 1], [0.1, 0.2]),
        ([0.7, 1.2], [0.1, 0.2]),
        ([1, 1], [0.1, 0.2]),
        ([0, 1], [0.1]),
        ([0, 1], [0.1, float("nan")]),
        ([], []),
    ],
)
def test_what_cannot_be_judged_is_refused(labels: list[int], scores: list[float]) -> None:
    with pytest.raises(DataError, match="accepted: as many finite scores as labels, and both classes"):
        evaluation.evaluate(pd.Series(labels), np.array(scores))


def test_slices_mark_the_rows_they_name(comments) -> None:
    frame = comments.frame.head(3).assign(text=["HELLO WORLD", "see http://x.example/1", "schön"])
    masks = evaluation.slices(frame)
    assert masks["mostly capitals"].tolist() == [True, False, False]
    assert masks["with a link"].tolist() == [False, True, False]
    assert (masks["with a link"] != masks["no link"]).all()
    assert masks["beyond ASCII"].tolist() == [False, False, True]
    assert sum(mask.sum() for name, mask in masks.items() if name.startswith("group ")) == 3


def test_a_slice_without_a_class_has_no_share(comments) -> None:
    frame = comments.frame.head(4).assign(label=[1, 1, 0, 0])
    masks = {"spam": frame["label"] == 1, "none": frame["label"] == 5}
    table = evaluation.by_slice(frame, np.array([0.9, 0.1, 0.9, 0.1]), masks)
    assert table.loc["spam", ["n", "spam_caught"]].tolist() == [2, 0.5]
    assert np.isnan(table.loc["spam", "ham_blocked"])
    assert table.loc["none", "n"] == 0
