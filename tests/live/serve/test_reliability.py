"""A share of what ``make bench NAME=reliability`` does at length: processes killed under load, no filter at all."""

from tests.support import kills, outage


def offenders(broken):
    return {promise: names for promise, names in broken.items() if names}


def test_kills_at_random_moments_break_no_promise(artifact, tmp_path, seed):
    report = kills.run(18, seed=seed, artifact=artifact, folder=tmp_path)
    assert report.kills == {"blog": 6, "gateway": 6, "filter-v1-0": 3, "filter-v2-0": 3}
    assert min(report.comments, report.predictions) > 0  # promises were made
    assert offenders(report.broken) == {}


def test_blog_without_filters_accepts_and_holds_and_then_judges_in_order(artifact, tmp_path, seed):
    report = outage.run(1.0, seed=seed, artifact=artifact, folder=tmp_path, before=0.5)
    assert report.accepted.good == report.accepted.total > 0
    assert report.backlog > 0
    assert report.published > 0
    assert offenders(report.broken) == {}
