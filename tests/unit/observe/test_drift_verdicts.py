"""Each kind of event, lived through in a simulated week, is called by its name; so are quiet and too small weeks."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from mlops_helpers.model.simulate import Campaign, Shift, simulate
from mlops_helpers.observe.drift_classifier import tell_apart
from mlops_helpers.observe.drift_crowd import Crowds
from mlops_helpers.observe.drift_detectors import Detector
from mlops_helpers.observe.drift_ranking import Ranking
from mlops_helpers.observe.drift_signals import CROWD, DELAYED, INPUTS, JUDGED, judgements, known_words, signals
from mlops_helpers.observe.drift_verdicts import NEXT, Diagnosis

NOW = pd.Timestamp("2026-01-29", tz="UTC")
WEEK = pd.Timedelta("7D")
Record = Callable[..., pd.DataFrame]


def lived(**events: object) -> pd.DataFrame:
    return simulate(4500, days=35, seed=11, **events)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def observed(model, comments) -> Record:
    known = known_words(comments.frame["text"], seen=1)

    def of(frame: pd.DataFrame, now: pd.Timestamp, scored: Callable[[str], str] = str, threshold: float = 0.5):
        score = pd.Series(model.scores(frame["text"].map(scored)), frame.index)
        label = frame["moderator_label"].where(frame["labelled_at"] <= now)
        found = signals(frame, known).join(frame[["text", "author_id"]])
        return found.join(judgements(score, score >= threshold, label))

    return of


@pytest.fixture(scope="module")
def quiet() -> pd.DataFrame:
    return lived()


@pytest.fixture(scope="module")
def before(observed: Record, quiet: pd.DataFrame) -> pd.DataFrame:
    return observed(quiet[quiet["created_at"] < NOW], NOW)


@pytest.fixture(scope="module")
def crowds(before: pd.DataFrame) -> Crowds:
    return Crowds.fit(before)


@pytest.fixture(scope="module")
def reference(before: pd.DataFrame, crowds: Crowds) -> pd.DataFrame:
    return before.assign(crowd=crowds.usual)


@pytest.fixture(scope="module")
def record(observed: Record, crowds: Crowds) -> Record:
    def of(frame: pd.DataFrame, now: pd.Timestamp, **settings: object) -> pd.DataFrame:
        return (found := observed(frame, now, **settings)).assign(crowd=crowds.find(found))

    return of


@pytest.fixture(scope="module")
def diagnosis(reference: pd.DataFrame) -> Diagnosis:
    return Diagnosis.fit(reference, Detector.fit(reference, [*INPUTS, *CROWD, *JUDGED], delayed=DELAYED))


def last_week(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["created_at"] >= NOW]


def test_a_quiet_week_is_nothing_and_a_handful_of_comments_is_unknown(diagnosis, record: Record, quiet) -> None:
    week = record(last_week(quiet), NOW + WEEK)
    assert diagnosis.judge(week).kind == "nothing"
    for rows in (0, 20):
        found = diagnosis.judge(week.head(rows))
        assert found.kind == "unknown" and "at least 30" in found.evidence["says"].iloc[0] and found.since is None


def test_a_campaign_is_told_by_its_accounts_and_when_it_began(diagnosis, record: Record) -> None:
    campaign = Campaign("flattery", start=30, days=5, share=0.3, authors=20)
    found = diagnosis.judge(record(last_week(lived(campaigns=[campaign])), NOW + WEEK))
    assert found.kind == "spam campaign" and found.next_step == NEXT["spam campaign"]
    assert found.evidence.loc["largest ratio without the crowd", "found"] < 1
    assert abs(found.since - (NOW + pd.Timedelta("2D"))) < pd.Timedelta("1D")


@pytest.mark.parametrize("kind", ["new_slang", "rhythm"])
def test_what_readers_do_anew_is_a_benign_shift(kind: str, diagnosis, record: Record) -> None:
    found = diagnosis.judge(record(last_week(lived(shifts=[Shift(kind, start=28, share=0.4)])), NOW + WEEK))
    assert found.kind == "benign shift"


def test_a_crowd_that_moderators_call_ham_is_no_campaign(diagnosis, record: Record) -> None:
    class_of_30 = Campaign("chain_letter", start=28, days=7, share=0.3, authors=30)
    week = record(last_week(lived(campaigns=[class_of_30])), NOW + WEEK)
    assert diagnosis.judge(week).kind == "spam campaign"
    forgiven = week["label"].mask(week["crowd"] & week["label"].notna(), "ham")
    assert diagnosis.judge(week.assign(label=forgiven)).kind == "benign shift"


@pytest.mark.parametrize(
    "damage", [lambda text: text.replace(" ", ""), lambda text: text[:15], lambda text: text + " &amp;nbsp;"]
)
def test_text_damaged_on_its_way_is_a_broken_feature(damage, diagnosis, record: Record, quiet) -> None:
    week = last_week(quiet)
    assert diagnosis.judge(record(week.assign(text=week["text"].map(damage)), NOW + WEEK)).kind == "broken feature"


def test_scores_that_no_longer_rank_are_a_broken_feature(diagnosis, record: Record, quiet) -> None:
    week = record(last_week(quiet), NOW + WEEK, scored=lambda text: "")
    found = diagnosis.judge(week)
    assert found.kind == "broken feature" and found.evidence.loc["ranking (ROC-AUC)", "says"] == "fell"
    unlabelled = diagnosis.judge(week.assign(label=None, outcome=None))
    assert unlabelled.kind == "broken feature" and "unknown" in unlabelled.evidence.loc["ranking (ROC-AUC)", "says"]
    assert diagnosis.judge(week.assign(score=np.nan)).kind == "broken feature"


def test_another_threshold_or_scale_is_a_threshold_failure(diagnosis, record: Record, quiet) -> None:
    assert diagnosis.judge(record(last_week(quiet), NOW + WEEK, threshold=0.05)).kind == "threshold failure"
    week = record(last_week(quiet), NOW + WEEK)
    assert diagnosis.judge(week.assign(score=week["score"] ** 3)).kind == "threshold failure"


def test_labels_alone_leave_the_cause_open(diagnosis, record: Record, quiet) -> None:
    week = record(last_week(quiet), NOW + WEEK).assign(outcome=None)
    fewer_of_ham = week["label"].mask((week["label"] == "ham") & (np.arange(len(week)) % 3 > 0))
    found = diagnosis.judge(week.assign(label=fewer_of_ham))
    assert found.kind == "unknown" and found.check.moved == ["label"]


def test_a_domain_classifier_names_what_is_new(reference: pd.DataFrame, record: Record, quiet) -> None:
    usual = tell_apart(reference, record(last_week(quiet), NOW + WEEK), ["links"], most=250)
    links = record(last_week(lived(shifts=[Shift("ham_links", start=28, share=0.9)])), NOW + WEEK)
    found = tell_apart(reference, links, ["links"], most=250)
    assert found.auc > usual.high and 0 < found.low < found.auc < found.high < 1
    assert any(name.startswith("links: 0") for name in found.tells.index[:3])
    few = tell_apart(reference, links.head(10), ["links"])
    assert np.isnan(few.auc) and "at least 50" in few.unknown


def test_the_ranking_is_that_of_scikit_learn_and_its_variance_that_of_resamples() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    positive, negative = rng.normal(1, 1, 80).round(1), rng.normal(0, 1, 200).round(1)
    found = Ranking.of(positive, negative)
    assert found.auc == pytest.approx(roc_auc_score([1] * 80 + [0] * 200, np.concatenate([positive, negative])))
    draws = [Ranking.of(rng.choice(positive, 80), rng.choice(negative, 200)).auc for _ in range(1000)]
    assert found.variance(80, 200) == pytest.approx(np.var(draws), rel=0.2)
    alone = found.variance_of_groups(np.arange(80), 80 + np.arange(200))
    assert alone == pytest.approx(found.variance(80, 200), rel=0.02)
    assert found.variance_of_groups(np.arange(80) // 4, 80 + np.arange(200)) != pytest.approx(alone, rel=0.02)
