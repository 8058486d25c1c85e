"""A bounded share of what ``benchmarks/serve.py`` sends by the hundred thousand: bad requests, to every service."""

import pytest

from benchmarks.serving.fuzz import Target, fuzz
from mlops_helpers.deploy.platform import Platform
from mlops_helpers.model import artifact as artifacts
from mlops_helpers.serve.records import records


@pytest.fixture(scope="module")
def platform(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    exported = artifacts.export(model, folder / "artifact")
    with Platform({"v1": exported}, folder=folder / "platform", comments_per_minute=10**6) as running:
        yield running


@pytest.mark.parametrize("service", ["filter", "gateway", "blog"])
def test_bad_requests_get_deliberate_answers(service: str, platform) -> None:
    before = platform.status()
    if service == "blog":
        target = Target(
            platform.blog, (b"/posts/first-frost/comments",), lambda text, key: {"author": key, "text": text}
        )
    else:
        address = platform.gateway if service == "gateway" else platform.filters["v1"][0]
        target = Target(address, (b"/v1/classify",), lambda text, key: {"id": key, "text": text})
    report = fuzz(target, 500, seed=7, concurrency=16)
    assert sum(report.statuses.values()) == 500
    assert report.server_errors == 0, report.offenders
    assert report.statuses[200] + report.statuses[201] > 0 and report.statuses[400] + report.statuses[422] > 0
    assert [(one.pid, one.restarts) for one in platform.status()] == [(one.pid, one.restarts) for one in before]
    log = [record for folder in platform.predictions("v1") for record in records(folder)]
    assert not any(record["comment_id"] == "forged" for record in log)
