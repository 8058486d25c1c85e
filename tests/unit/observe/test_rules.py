"""Rules for Prometheus: literal thresholds, paired windows, and what cannot work is refused."""

from dataclasses import replace

import pytest
import yaml

from mlops_helpers.errors import ObjectiveError
from mlops_helpers.observe.burnrate import WORKBOOK, BurnRule
from mlops_helpers.observe.export_rules import prometheus_rules
from mlops_helpers.observe.objectives import DAY, HOUR, Objective, TimeSlices
from tests.support.slo_examples import BY_NAME, OBJECTIVES, RULES

COMMENTS = BY_NAME["comments-available"]


def group(objective: Objective) -> list[dict]:
    return yaml.safe_load(prometheus_rules([objective], WORKBOOK))["groups"][0]["rules"]


def test_thresholds_are_literal_and_windows_paired() -> None:
    rules = group(replace(COMMENTS, target=0.99931))
    page = next(rule for rule in rules if rule.get("labels", {}).get("severity") == "page")
    where = '{slo="comments-available",service="blog"}'
    share = "slo:sli_error:ratio_rate"
    pairs = [
        f"(\n  {share}{long}{where} > {limit}\n  and\n  {share}{short}{where} > {limit}\n)"
        for long, short, limit in (("1h", "5m", 0.009936), ("6h", "30m", 0.00414))
    ]
    assert page["expr"] == "\nor\n".join(pairs)
    assert page["labels"] == {
        "slo": "comments-available", "service": "blog", "team": "blog", "text": '{{"{{"}} $value }}', "severity": "page"
    }  # fmt: skip
    assert page["annotations"]["burn_rate"].startswith("14.4x over 1h and 5m, or 6x over 6h and 30m")
    assert page["annotations"]["runbook_url"].endswith("comments-available.ipynb")


@pytest.mark.parametrize(
    ("objectives", "rules", "reason"),
    [
        ([], WORKBOOK, "accepted: one or more"),
        ([COMMENTS, COMMENTS], WORKBOOK, "each name once"),
        ([COMMENTS], {"other": WORKBOOK}, "no burn-rate rule"),
        ([replace(COMMENTS, labels={"severity": "x"})], WORKBOOK, "'severity'"),
        ([replace(COMMENTS, labels={"my-team": "x"})], WORKBOOK, "'my-team'"),
        ([replace(COMMENTS, slices=TimeSlices(200))], WORKBOOK, "at least two"),
        ([COMMENTS], [BurnRule("page", 0.02, HOUR, 100.0005)], "whole milliseconds"),
        ([replace(COMMENTS, period=28 * DAY)], WORKBOOK, "scaled_to"),
    ],
)
def test_what_cannot_work_is_refused(objectives: list, rules: object, reason: str) -> None:
    with pytest.raises(ObjectiveError, match=reason):
        prometheus_rules(objectives, rules)


def test_an_interval_that_is_too_long_is_refused_and_slices_set_their_own() -> None:
    with pytest.raises(ObjectiveError, match="at least two"):
        prometheus_rules([COMMENTS], interval=200)
    groups = yaml.safe_load(prometheus_rules(OBJECTIVES, RULES, interval=15))["groups"]
    intervals = {group["name"]: group["interval"] for group in groups}
    assert (intervals["slo-comments-available"], intervals["slo-spamfilter-fast"]) == ("15s", "1m")


def test_an_indicator_of_another_metric_is_never_taken_for_zero() -> None:
    lost, same = (
        next(rule["expr"] for rule in group(BY_NAME[name]) if rule["record"].startswith("slo:sli_bad"))
        for name in ("comments-durable", "spamfilter-available")
    )
    assert lost == "sum(rate(blog_comments_lost_total[5m]))"
    assert 'or 0 * sum(rate(spamfilter_comments_total{result!=""}[5m]))' in same
