"""Rules and dashboards for Prometheus and Grafana, and the folder that they are written to."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mlops_helpers.errors import ObjectiveError
from mlops_helpers.observe.burnrate import WORKBOOK, BurnRule, checked
from mlops_helpers.observe.export import write
from mlops_helpers.observe.export_grafana import grafana_dashboard
from mlops_helpers.observe.export_rules import prometheus_rules
from mlops_helpers.observe.objectives import DAY, HOUR, Objective, TimeSlices
from tests.support.slo_examples import BY_NAME, OBJECTIVES, RULES

AVAILABLE = BY_NAME["comments-available"]
DASHBOARD = grafana_dashboard(OBJECTIVES, RULES)


def group(objective: Objective) -> list[dict]:
    return yaml.safe_load(prometheus_rules([objective], WORKBOOK))["groups"][0]["rules"]


def test_thresholds_are_literal_and_windows_paired() -> None:
    rules = group(replace(AVAILABLE, target=0.99931))
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
    assert "0.9936 % over 1h and 5m" in page["annotations"]["description"]
    assert page["annotations"]["runbook_url"].endswith("comments-available.ipynb")


@pytest.mark.parametrize(
    ("objectives", "rules", "reason"),
    [
        ([], WORKBOOK, "accepted: one or more"),
        ([AVAILABLE, AVAILABLE], WORKBOOK, "each name once"),
        ([AVAILABLE], (), "no burn-rate rule"),
        ([AVAILABLE], {"other": WORKBOOK}, "no burn-rate rule"),
        ([replace(AVAILABLE, labels={"severity": "x"})], WORKBOOK, "'severity'"),
        ([replace(AVAILABLE, labels={"my-team": "x"})], WORKBOOK, "'my-team'"),
        ([replace(AVAILABLE, period=28 * DAY)], WORKBOOK, "scaled_to"),
        ([BY_NAME["verdicts-right"]], WORKBOOK, "cannot fire"),
        ([replace(AVAILABLE, slices=TimeSlices(200))], WORKBOOK, "at least two"),
        ([AVAILABLE], [BurnRule("page", 0.02, HOUR, 100.0005)], "whole milliseconds"),
    ],
)
def test_what_cannot_work_is_refused(objectives: list, rules: object, reason: str) -> None:
    with pytest.raises(ObjectiveError, match=reason):
        prometheus_rules(objectives, rules)


def test_an_interval_that_is_too_long_is_refused_and_slices_set_their_own() -> None:
    with pytest.raises(ObjectiveError, match="at least two"):
        prometheus_rules([AVAILABLE], interval=200)
    intervals = {
        g["name"]: g["interval"] for g in yaml.safe_load(prometheus_rules(OBJECTIVES, RULES, interval=15))["groups"]
    }
    assert (intervals["slo-comments-available"], intervals["slo-spamfilter-fast"]) == ("15s", "1m")


def test_an_indicator_of_another_metric_is_never_taken_for_zero() -> None:
    lost, same = (
        next(rule["expr"] for rule in group(BY_NAME[name]) if rule["record"].startswith("slo:sli_bad"))
        for name in ("comments-durable", "spamfilter-available")
    )
    assert lost == "sum(rate(blog_comments_lost_total[5m]))"
    assert 'or 0 * sum(rate(spamfilter_comments_total{result!=""}[5m]))' in same


def test_the_dashboard_asks_for_what_the_rules_record() -> None:
    groups = yaml.safe_load(prometheus_rules(OBJECTIVES, RULES))["groups"]
    recorded = {rule.get("record") for group in groups for rule in group["rules"]}
    expressions = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    asked = {name for expression in expressions for name in re.findall(r"slo:[a-z_0-9:]+", expression)}
    assert len(asked) > 8 and asked <= recorded
    assert all(checked(objective, RULES[objective.name]) == tuple(RULES[objective.name]) for objective in OBJECTIVES)


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_written_again_and_only_what_was_written_before_goes(tmp_path: Path) -> None:
    one, other = BY_NAME["answers-fast"], BY_NAME["answers-enough"]
    first = write(tmp_path, [AVAILABLE, one, other])
    rules = tmp_path / "rules"
    (rules / "mine.yml").write_text((rules / "answers-fast.yml").read_text())  # begun from a copy, mark and all
    (rules / "answers-enough.yml").open("a").write("# my note\n")
    second = write(tmp_path, [AVAILABLE])
    mine = {"rules/mine.yml", "rules/answers-enough.yml", "written.json"}
    assert set(files(tmp_path)) == {*(str(path.relative_to(tmp_path)) for path in second), *mine}
    assert len(first) > 2 * len(second)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dashboard.json", "{}"),
        ("rules/comments-available.yml", ""),
        ("written.json", '{"mine": 1}'),
        ("written.json", "["),
    ],
)
def test_a_file_of_somebody_elses_is_never_replaced(name: str, text: str, tmp_path: Path) -> None:
    write(tmp_path, [AVAILABLE])
    (tmp_path / name).write_text(text)
    before = files(tmp_path)
    with pytest.raises(ObjectiveError, match=r"nothing was changed.* Next: another folder"):
        write(tmp_path, [BY_NAME["answers-fast"]] if name == "written.json" else [AVAILABLE])
    assert files(tmp_path) == before
