"""Rethreshold or retrain: the right one is chosen, a useless one is not, and too few labels are too few."""

import numpy as np
import pandas as pd
import pytest

from mlops_helpers.errors import MetricsError, ParameterError
from mlops_helpers.observe.drift_repair import best_threshold, choose_repair


def labelled(
    n: int = 600, seed: int = 0, *, offset: float = 0.0, blind: float = 0.0, seen: float = 0.6
) -> pd.DataFrame:
    """Scores that are ``offset`` too high in log-odds; for the share ``blind`` of the spam they know nothing."""
    rng = np.random.default_rng(seed)
    spam = rng.random(n) < 0.4
    fooled = spam & (rng.random(n) < blind)
    odds = rng.normal(np.where(spam & ~fooled, 2.5, -2.5), 1.0)
    frame = pd.DataFrame(
        {"score": 1 / (1 + np.exp(-odds - offset)), "truth": spam, "author_id": rng.integers(n // 3, size=n)}
    )
    return frame.assign(label=pd.Series(np.where(spam, "spam", "ham")).mask(rng.random(n) > seen))


def knows(share: float):
    """A retraining whose model is right about this share of the comments."""
    return lambda train: (
        lambda rows: np.where(rows.index % 100 < 100 * share, rows["truth"], ~rows["truth"]).astype(float)
    )


def test_scores_that_only_moved_get_a_new_threshold() -> None:
    found = choose_repair(labelled(offset=3.0), knows(0.9), threshold=0.5)
    assert found.choice == "rethreshold" and found.threshold > 0.8
    assert found.options.loc["keep", "mistakes"] > 10 > found.options.loc["rethreshold", "mistakes"]
    first = found.gains.loc["rethreshold instead of keep"]
    assert 0 < first["low"] < first["gain"] < first["high"]
    assert choose_repair(labelled(), knows(0.9), threshold=0.5).choice == "keep", "they are fine"


def test_spam_that_scores_know_nothing_of_needs_training() -> None:
    found = choose_repair(labelled(blind=0.5), knows(0.98), threshold=0.5)
    assert (found.choice, found.threshold) == ("retrain", 0.5)
    assert found.options.loc["retrain", "spam_caught"] > found.options.loc["keep", "spam_caught"] + 0.3


def test_a_gain_that_is_sure_but_small_is_not_worth_it() -> None:
    settings = {"retrain": knows(0.5), "threshold": 0.5}
    assert choose_repair(labelled(offset=3.0), least_gain=50, **settings).choice == "keep"  # type: ignore[arg-type]


def test_the_retrained_model_never_saw_the_authors_that_it_is_judged_on() -> None:
    calls = []

    def retrain(train: pd.DataFrame):
        calls.append(set(train["author_id"]))

        def scores(rows: pd.DataFrame) -> np.ndarray:
            assert not calls[-1] & set(rows["author_id"])
            return np.zeros(len(rows))

        return scores

    choose_repair(labelled(), retrain, threshold=0.5, folds=3)
    assert len(calls) == 3


def test_too_few_labels_mean_wait() -> None:
    frame = labelled()
    one_author = frame.assign(author_id=1)
    no_spam = frame.assign(label=frame["label"].where(frame["label"] == "ham"))
    for few in (frame.head(60), frame.head(0), one_author, no_spam):
        found = choose_repair(few, knows(1.0), threshold=0.5)
        assert found.choice == "wait" and np.isnan(found.threshold) and "accepted: at least 30" in found.reasons[1]


def test_scores_that_moderators_never_saw_mean_wait() -> None:
    frame = labelled(seen=1.0, offset=1.5)
    found = choose_repair(frame.assign(label=frame["label"].where(frame["score"] > 0.3)), knows(1.0), threshold=0.5)
    assert found.choice == "wait" and "scores that no labelled comment has" in found.reasons[1]


def test_labels_that_lean_to_high_scores_are_weighed_back() -> None:
    frame = labelled(2000, seen=1.0, offset=2.0)
    rng = np.random.default_rng(1)
    leaning = frame.assign(label=frame["label"].where(rng.random(2000) < np.where(frame["score"] > 0.5, 0.9, 0.2)))
    truth, found = (
        choose_repair(one, knows(1.0), threshold=0.5).options.loc["keep", "mistakes"] for one in (frame, leaning)
    )
    seen = leaning.dropna()
    naive = 100 * ((seen["score"] >= 0.5) != seen["truth"]).mean()
    assert abs(found - truth) < 1.5 < abs(naive - truth)


def test_the_best_threshold_lies_between_scores_and_weighs_ham() -> None:
    scores, spam = np.array([0.1, 0.2, 0.4, 0.6, 0.9]), np.array([False, False, True, False, True])
    assert best_threshold(scores, spam) == pytest.approx(0.3)
    assert best_threshold(scores, spam, ham_cost=3) == pytest.approx(0.75)
    assert best_threshold(scores, np.zeros(5, dtype=bool)) > 0.9


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(MetricsError, match="no column author_id"):
        choose_repair(labelled().drop(columns="author_id"), knows(1.0), threshold=0.5)
    with pytest.raises(ParameterError, match="above 0"):
        choose_repair(labelled(), knows(1.0), threshold=0.5, ham_cost=0)
