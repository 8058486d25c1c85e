"""A share of what ``make bench NAME=serve`` does at length: processes killed under load, an outage of all filters."""

import pytest

from benchmarks.serving import kills, outage
from mlops_helpers.model import artifact as artifacts

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def artifact(model, tmp_path_factory):
    return artifacts.export(model, tmp_path_factory.mktemp("model") / "artifact")


def test_kills_at_random_moments_break_no_promise(artifact, tmp_path):
    report = kills.run(24, seed=7, artifact=artifact, folder=tmp_path)
    assert report.kills == {"blog": 8, "gateway": 8, "filter-v1-0": 4, "filter-v2-0": 4}
    assert min(report.comments, report.predictions, report.retried) > 0  # promises were made, and tries broken
    assert report.lost == ()
    assert report.doubled == ()
    assert report.classified_twice == ()
    assert report.misjudged == ()
    assert report.unclassified == ()
    assert report.predictions_lost == ()
    assert report.damaged == ()
    assert report.crashes == 0


def test_without_filters_the_blog_accepts_and_holds_and_then_judges_in_order(artifact, tmp_path):
    report = outage.run(1.0, seed=7, artifact=artifact, folder=tmp_path, before=0.5)
    assert report.accepted.good == report.accepted.total > 0
    assert report.backlog > 0
    assert report.published > 0
    assert report.lost == ()
    assert report.not_held == ()
    assert report.unclassified == ()
    assert report.out_of_order == ()
    assert report.not_published == ()
