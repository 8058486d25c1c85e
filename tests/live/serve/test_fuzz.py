"""A share of what ``make bench NAME=reliability`` sends by the hundred thousand: bad requests, to every service."""

import pytest

from mlops_helpers.deploy.platform import Platform
from mlops_helpers.serve.records import records
from tests.support.accounts import UNLIMITED
from tests.support.fuzz import fuzz, targets


@pytest.fixture(scope="module")
def platform(artifact, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz") / "platform"
    with Platform({"v1": artifact}, folder=folder, comments_per_minute=UNLIMITED) as running:
        yield running


@pytest.mark.parametrize("service", ["filter", "gateway", "blog"])
def test_bad_requests_get_deliberate_answers(service: str, platform, seed) -> None:
    before = platform.status()
    report = fuzz(targets(platform)[service], 500, seed=seed, concurrency=16)
    assert sum(report.statuses.values()) == 500
    assert report.server_errors == 0, report.offenders
    assert report.statuses[200] + report.statuses[201] > 0 and report.statuses[400] + report.statuses[422] > 0
    assert [(one.pid, one.restarts) for one in platform.status()] == [(one.pid, one.restarts) for one in before]
    log = [record for folder in platform.predictions("v1") for record in records(folder)]
    assert not any(record["comment_id"] == "forged" for record in log)
