"""OpenSLO: what is written is read again; what others write is read, or refused with the reason."""

import textwrap
from dataclasses import replace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_helpers.errors import ObjectiveError
from mlops_helpers.observe.burnrate import WORKBOOK, in_time_lapse
from mlops_helpers.observe.objectives import DAY, HOUR, MINUTE, Objective, TimeSlices
from mlops_helpers.observe.openslo import from_openslo, to_openslo
from tests.support.slo_examples import BY_NAME, OBJECTIVES, RULES


def test_all_kinds_go_there_and_back_as_the_specification_has_them() -> None:
    text = to_openslo(OBJECTIVES, RULES)
    assert from_openslo(text) == (OBJECTIVES, {name: tuple(rules) for name, rules in RULES.items()})
    documents = list(yaml.safe_load_all(text))
    assert [one["kind"] for one in documents] == ["Service"] * 4 + ["SLO"] * 8 + ["AlertNotificationTarget"] * 2
    slo = next(one for one in documents if one["metadata"]["name"] == "comments-available")["spec"]
    assert (slo["service"], slo["budgetingMethod"], slo["objectives"]) == ("blog", "Occurrences", [{"target": 0.999}])
    assert slo["timeWindow"] == [{"duration": "30d", "isRolling": True}]
    ratio = slo["indicator"]["spec"]["ratioMetric"]
    assert ratio["total"]["metricSource"] == {
        "type": "Prometheus", "spec": {"query": 'sum(http_requests_total{handler="/posts/{id}/comments"})'}
    }  # fmt: skip
    policy = slo["alertPolicies"][0]
    assert policy["kind"] == "AlertPolicy" and len(policy["spec"]["conditions"]) == 1
    assert policy["spec"]["conditions"][0]["spec"] == {
        "severity": "page",
        "condition": {"kind": "burnrate", "op": "gt", "threshold": 14.4, "lookbackWindow": "1h", "alertAfter": "5m"},
    }
    enough = next(one for one in documents if one["metadata"]["name"] == "answers-enough")["spec"]
    assert enough["budgetingMethod"] == "Timeslices"
    assert enough["objectives"] == [
        {"op": "gte", "value": 10, "target": 0.95, "timeSliceTarget": 1.0, "timeSliceWindow": "1m"}
    ]


@pytest.mark.parametrize(
    ("objective", "rules", "reason"),
    [
        (*in_time_lapse(OBJECTIVES[0], WORKBOOK, 600), "whole minutes"),
        (replace(OBJECTIVES[0], service="my service"), WORKBOOK, "not a name for OpenSLO"),
        (OBJECTIVES[0], (), "no burn-rate rule"),
    ],
)
def test_what_openslo_cannot_say_is_refused(objective: Objective, rules: tuple, reason: str) -> None:
    with pytest.raises(ObjectiveError, match=reason):
        to_openslo([objective], rules)


FOREIGN = """
- apiVersion: openslo/v1
  kind: DataSource
  metadata: {name: metrics}
  spec: {type: prometheus, connectionDetails: {url: http://localhost}}
- apiVersion: openslo/v1
  kind: SLI
  metadata: {name: fast, displayName: Fast answers}
  spec:
    ratioMetric:
      counter: true
      good:
        metricSource:
          metricSourceRef: metrics
          spec: {query: 'sum(rate(spamfilter_inference_seconds_bucket{le="0.1"}[{{.window}}]))'}
      total: {metricSource: {metricSourceRef: metrics, spec: {query: "spamfilter_inference_seconds_count"}}}
- apiVersion: openslo/v1
  kind: AlertCondition
  metadata: {name: burns}
  spec:
    severity: page
    condition: {kind: burnrate, threshold: 2, lookbackWindow: 1h, alertAfter: 5m}
- apiVersion: openslo/v1
  kind: AlertPolicy
  metadata: {name: policy}
  spec:
    alertWhenBreaching: true
    conditions: [{conditionRef: burns}]
    notificationTargets: [{targetRef: somebody}]
- apiVersion: openslo/v1
  kind: SLO
  metadata: {name: answers, labels: {team: [a, b], tier: one}}
  spec:
    service: spamfilter
    indicatorRef: fast
    timeWindow: [{duration: 4w, isRolling: true}]
    budgetingMethod: Timeslices
    objectives:
      - {displayName: most, targetPercent: 99.9, timeSliceTarget: 0.95, timeSliceWindow: 5}
      - {displayName: some, target: 0.5, timeSliceTarget: 1, timeSliceWindow: 1h}
    alertPolicies: [{alertPolicyRef: policy}]
"""


def test_what_others_write_is_read() -> None:
    (most, some), rules = from_openslo(FOREIGN)
    assert (most.name, some.name) == ("answers-1", "answers-2")
    assert (most.target, most.period, most.service) == (0.999, 28 * DAY, "spamfilter")
    assert (most.slices, some.slices) == (TimeSlices(300, 0.95), TimeSlices(3600, 1))
    assert most.indicator.kind == "latency"
    assert str(most.indicator.good) == 'spamfilter_inference_seconds_bucket{le="0.1"}'
    assert most.labels == {"team": "a,b", "tier": "one"}
    (rule,) = rules["answers-1"]
    assert (rule.severity, rule.burn_rate, rule.long, rule.short) == ("page", 2.0, HOUR, 5 * MINUTE)
    _, rules = from_openslo(FOREIGN.replace(", alertAfter: 5m", ""))
    assert rules["answers-1"][0].short == 5 * MINUTE


def changed(before: str, after: str) -> str:
    assert before in FOREIGN
    return FOREIGN.replace(before, after)


OWN = to_openslo([BY_NAME["answers-fast"], BY_NAME["answers-enough"]])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "0 documents of kind SLO"),
        ("a: [1", "cannot be read"),
        (FOREIGN.replace("openslo/v1", "openslo/v2alpha"), "openslo/v1"),
        (FOREIGN + FOREIGN, "5 repeated names"),
        (changed("isRolling: true", "isRolling: false, calendar: {startTime: 2020-01-21 12:30:00, timeZone: UTC}"),
         "no rolling timeWindow"),
        (changed("Timeslices", "RatioTimeslices"), "RatioTimeslices"),
        (changed("timeSliceTarget: 1,", "indicatorRef: fast,"), "composite"),
        (changed("target: 0.5", "target: 0.5, targetPercent: 50"), "one of the two"),
        (changed("target: 0.5", "target: high"), r"objectives.1.target: .*number.*'high'"),
        (changed("indicatorRef: fast", "indicatorRef: slow"), "'slow' is not in this text; there are: fast"),
        (changed("type: prometheus", "type: Datadog"), "'Datadog'"),
        (changed('"spamfilter_inference_seconds_count"', "sum(a) / sum(b)"), "is not expressible"),
        (changed('"spamfilter_inference_seconds_count"', "'" + "[" * 6000 + "'"), "at most 5000"),
        (changed("severity: page", "severity: sev1"), "'sev1'"),
        (changed("threshold: 2,", "threshold: 2, op: lt,"), "accepted: gt"),
        (changed("alertAfter: 5m", "alertAfter: 2h"), "0 < short < long"),
        (OWN.replace("threshold: 14.4", "threshold: 10.0"), "annotation budget-spent"),
        (OWN.replace("indicator-kind: latency", "indicator-kind: beauty"), "kind is 'beauty'"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ObjectiveError, match=reason) as error:
        from_openslo(text)
    assert len(str(error.value)) < 1000


def test_bombs_are_refused_before_they_go_off() -> None:
    laughs = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9 if n else ['lol'] * 9)}]\n" for n in range(9))
    for text, reason in (
        (laughs, "aliases"),
        ("- " * 100_000, "levels"),
        ("[" * 100_000, "levels"),
        ("a: 1\na: 2", "twice"),
        ("x" * 1_000_001, "at most 1000000"),
        ("!!python/object/apply:os.system [ls]", "tag .* is not accepted"),
    ):
        with pytest.raises(ObjectiveError, match=reason):
            from_openslo(text)


WORDS = sorted({*FOREIGN.split(), *OWN.split(), "[", "{", ":", "-", "\n", "null", "1e999", "&x", "*x", "!!int"})


@settings(max_examples=100)
@given(st.integers(0, 60), st.lists(st.sampled_from(WORDS), max_size=3), st.booleans())
def test_whatever_is_damaged_there_is_an_answer_or_a_reason(line: int, words: list[str], ours: bool) -> None:
    lines = textwrap.dedent(OWN if ours else FOREIGN).splitlines()
    at = line % len(lines)
    lines[at] = lines[at][: len(lines[at]) // 2] + " ".join(words)
    try:
        objectives, rules = from_openslo("\n".join(lines))
    except ObjectiveError:
        return
    assert objectives and set(rules) == {one.name for one in objectives}
