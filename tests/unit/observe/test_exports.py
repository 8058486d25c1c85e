"""What is exported for Prometheus and Grafana is accepted there, and its own tests notice when it is damaged."""

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.slo_examples import BY_NAME, OBJECTIVES, SLOW

from mlops_helpers.errors import ObjectiveError
from mlops_helpers.observe.burnrate import SLOTH, WORKBOOK, BurnRule, checked, in_time_lapse, scaled_to, words
from mlops_helpers.observe.examples import example, series_of
from mlops_helpers.observe.export import write
from mlops_helpers.observe.export_grafana import grafana_dashboard
from mlops_helpers.observe.export_rules import prometheus_rules
from mlops_helpers.observe.export_tests import promtool_tests
from mlops_helpers.observe.objectives import DAY, HOUR, Indicator, Objective, TimeSlices
from mlops_helpers.observe.outages import outage_for
from mlops_helpers.observe.selector import Selector

RULES = {one.name: SLOW if one.target == 0.9 else scaled_to(one.period) for one in OBJECTIVES}
AVAILABLE = BY_NAME["comments-available"]


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=100)


def accepted(*arguments: str | Path) -> None:
    done = promtool(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def groups(objective: Objective, rules: Sequence[BurnRule] = WORKBOOK) -> list[dict]:
    return yaml.safe_load(prometheus_rules([objective], rules))["groups"][0]["rules"]


@pytest.mark.engine("prometheus")
def test_promtool_accepts_the_rules_and_their_tests_pass(tmp_path: Path) -> None:
    paths = write(tmp_path, OBJECTIVES, RULES)
    (tmp_path / "all.yml").write_text(prometheus_rules(OBJECTIVES, RULES, interval=30))
    accepted("check", "rules", tmp_path / "all.yml", *(path for path in paths if path.parent.name == "rules"))
    tests = [path for path in paths if path.parent.name == "tests" and not path.name.startswith(tuple(DAMAGED))]
    assert len(tests) == 4 * (len(OBJECTIVES) - len(DAMAGED))
    accepted("test", "rules", *tests)


@pytest.mark.engine("prometheus")
def test_in_time_lapse_and_with_sloths_rules_they_pass_too(tmp_path: Path) -> None:
    fast, rules = in_time_lapse(AVAILABLE, WORKBOOK, 600)
    for folder, objective, own in (("lapse", fast, rules), ("sloth", AVAILABLE, SLOTH)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "rules.yml").write_text(prometheus_rules([objective], own))
        for step, text in promtool_tests(objective, own).items():
            (tmp_path / folder / f"{step}.yml").write_text(text)
    accepted("test", "rules", tmp_path / "lapse/500ms.yml", tmp_path / "lapse/36s.yml", tmp_path / "sloth/2h.yml")


def mutants(rules: list[dict]) -> Iterator[tuple[str, int, list[dict]]]:
    """Yield what was done, to which burn-rate rule (-1: to none), and the damaged rules."""
    seen = 0
    for number, rule in enumerate(rules):
        before, after = rules[:number], rules[number + 1 :]
        if "alert" not in rule:
            continue
        pairs = rule["expr"].split("\nor\n") if rule["alert"] == "ErrorBudgetBurn" else []
        yield f"{rule['alert']} {rule['labels']['severity']} deleted", seen if pairs else -1, before + after
        for index, pair in enumerate(pairs):
            lines = pair.split("\n")  # (, long > threshold, and, short > threshold, perhaps a guard, )
            damaged = {
                "thresholds x 1.5": re.sub(r"> ([0-9.e-]+)$", lambda m: f"> {1.5 * float(m[1])!r}", pair, flags=re.M),
                "and is or": pair.replace("  and\n", "  or\n", 1),
                "short window dropped": "\n".join(lines[:2] + lines[4:]),
                "long window dropped": "\n".join(lines[:1] + lines[3:]),
            }
            if len(pairs) > 1:
                damaged["deleted"] = ""
            if len(lines) > 5:
                damaged["guard dropped"] = "\n".join([*lines[:4], ")"])
            for what, text in damaged.items():
                left = [other for other in [*pairs[:index], text, *pairs[index + 1 :]] if other]
                yield f"{lines[1]}: {what}", seen, [*before, {**rule, "expr": "\nor\n".join(left)}, *after]
            seen += 1


DAMAGED = {"comments-available": 3 + 3 * 4 + 2, "verdicts-right": 3 + 2 * 4 + 1, "answers-enough": 2 + 4}


@pytest.mark.engine("prometheus")
@pytest.mark.parametrize("name", DAMAGED)
def test_damage_to_any_alert_is_noticed(name: str, tmp_path: Path) -> None:
    objective, own = BY_NAME[name], RULES[name][: 1 if name == "answers-enough" else None]
    whole = groups(objective, own)
    suited = [*(words(outage_for(objective, own, rule)[0].step) for rule in own), "telemetry"]
    tests = promtool_tests(objective, own, rule_file="RULES")
    everything = list(mutants(whole))
    assert len(everything) == DAMAGED[name]
    files = {}
    for what, rule, rules in [*everything, *(("nothing", number, whole) for number in range(len(suited)))]:
        number = len(files)
        (tmp_path / f"{number}.yml").write_text(json.dumps({"groups": [{"name": "g", "rules": rules}]}))
        path = tmp_path / f"test-{number}.yml"
        path.write_text(tests[suited[rule]].replace("RULES", f"{number}.yml"))
        files[str(path)] = what
    said = re.split(r"^Unit Testing:  ", promtool("test", "rules", *files).stdout, flags=re.M)[1:]
    noticed = {files[text.partition("\n")[0]] for text in said if "SUCCESS" not in text}
    assert len(said) == len(files)
    assert noticed == {what for what, _, _ in everything}


def test_thresholds_are_literal_and_windows_paired() -> None:
    objective = replace(AVAILABLE, target=0.99931)
    page = next(rule for rule in groups(objective) if rule.get("labels", {}).get("severity") == "page")
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


@pytest.mark.engine("prometheus")
def test_long_windows_that_are_summed_from_short_ones_are_exact_enough(tmp_path: Path) -> None:
    summed = [rule for rule in groups(AVAILABLE) if re.search("sli_(bad|total)|rate3d$", rule.get("record", ""))]
    plain = re.sub(r"\[5m\]", "[3d]", f"{summed[0]['expr']} / sum(rate({AVAILABLE.indicator.total}[5m]))")
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "g", "rules": summed}]}))
    series = series_of(AVAILABLE.indicator)
    # traffic doubles, an outage of three hours, then half of the traffic: a mean of shares would be wrong by a third
    counted = {
        "good": "0+100x1440 144200+200x1439 432101+150x179 459000+100x1440",
        "bad": "0+0x2880 50+50x179 9000+0x1440",
    }
    summed_up = 'slo:sli_error:ratio_rate3d{slo="comments-available"}'
    looks = [
        {"expr": f"abs(sum({summed_up}) / ({plain}) - 1) < bool 0.004", "eval_time": at,
         "exp_samples": [{"labels": "{}", "value": 1}]}
        for at in ("2d3h", "3d", "3d2h")
    ]  # fmt: skip
    test = {
        "interval": "1m",
        "input_series": [{"series": str(series[part]), "values": values} for part, values in counted.items()],
        "promql_expr_test": looks,
    }
    tests = {"rule_files": ["rules.yml"], "evaluation_interval": "5m", "tests": [test]}
    (tmp_path / "test.yml").write_text(json.dumps(tests))
    accepted("test", "rules", tmp_path / "test.yml")


@settings(max_examples=25, deadline=None)
@given(
    target=st.floats(0.94, 0.999999),
    period=st.sampled_from([7 * DAY, 30 * DAY, 90 * DAY]),
    minimum=st.sampled_from([1, 20]),
)
def test_every_rule_can_be_shown_at_work(target: float, period: float, minimum: float) -> None:
    objective = replace(AVAILABLE, target=target, period=period)
    rules = tuple(replace(rule, minimum_bad=minimum) for rule in scaled_to(period))
    for rule in rules:
        outage, moments = outage_for(objective, rules, rule)
        assert list(moments) == ["quiet", "below", "above", "over"]
        assert [rule.severity in (outage.firing(at) or ()) for at in moments.values()] == [False, False, True, False]


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
    groups_of = {g["name"]: g for g in yaml.safe_load(prometheus_rules(OBJECTIVES, RULES, interval=15))["groups"]}
    assert groups_of["slo-comments-available"]["interval"] == "15s"
    assert groups_of["slo-spamfilter-fast"]["interval"] == "1m"


def test_an_alert_that_can_never_be_shown_is_said_to_be_so() -> None:
    rule = replace(WORKBOOK[0], minimum_bad=1000)
    with pytest.raises(ObjectiveError, match="smaller minimum_bad"):
        promtool_tests(BY_NAME["spamfilter-fast"], [rule])


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda one: one.name)
def test_example_series_are_told_apart_by_the_indicator(objective: Objective) -> None:
    indicator, parts = objective.indicator, series_of(objective.indicator)
    for part, series in parts.items():
        labels = {matcher.label: matcher.value for matcher in series.matchers}
        assert {matcher.operator for matcher in series.matchers} <= {"="}
        for selector, meant in (
            (indicator.total, {"good", "bad", "total"}),
            (indicator.good, {"good"}),
            (indicator.bad, {"bad"}),
        ):
            if selector and selector.name == series.name:
                assert selector.matches(labels) == (part in meant)


def test_examples_are_found_or_refused() -> None:
    for text in (r'x{a=~"(?i)foo[^a-z]*\\d{3}$"}', 'x{a=~"[^/]+/(x|y)",b!~"o.*"}', 'x{a=~"[b-d]\\\\w\\\\s+?",a!=""}'):
        found = example(Selector.parse(text))
        assert Selector.parse(text).matches({matcher.label: matcher.value for matcher in found.matchers})
    for text in ('x{a="1",a="2"}', 'x{a!~".*"}', 'x{a=~"(?=b)c"}'):
        with pytest.raises(ObjectiveError, match="no series was found"):
            example(Selector.parse(text))


DASHBOARD = grafana_dashboard(OBJECTIVES, RULES)
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


def test_panels_have_words_numbers_and_places_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) == 2 + 5 * len(OBJECTIVES) + 2 * 3
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
        if panel["type"] != "row":
            assert len(panel["description"].split()) >= 10
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource"]


def test_grafanas_own_model_knows_every_field() -> None:
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()

    def lost(mine: object, theirs: object, where: str = "") -> list[str]:
        if isinstance(mine, dict) and isinstance(theirs, dict):
            return [one for key in mine for one in lost(mine[key], theirs.get(key), f"{where}.{key}")]
        if isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
            return [one for pair in zip(mine, theirs, strict=True) for one in lost(*pair, where)]
        return [] if mine == theirs else [f"{where}: {mine!r} became {theirs!r}"]

    def read(dashboard: dict) -> dict:
        return json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))

    assert not lost(DASHBOARD, read(DASHBOARD))
    wrong = json.loads(json.dumps(DASHBOARD).replace("legendFormat", "legend"))
    assert lost(wrong, read(wrong)), "the check would see a wrong field"


def test_the_dashboard_asks_for_what_the_rules_record() -> None:
    recorded = {
        rule.get("record")
        for group in yaml.safe_load(prometheus_rules(OBJECTIVES, RULES))["groups"]
        for rule in group["rules"]
    }
    asked = {name for expression in EXPRESSIONS for name in re.findall(r"slo:[a-z_0-9:]+", expression)}
    assert len(asked) > 8
    assert asked <= recorded


@pytest.mark.engine("prometheus")
def test_every_expression_of_the_dashboard_has_an_answer(tmp_path: Path) -> None:
    objective, own = BY_NAME["answers-fast"], RULES["answers-fast"]
    (tmp_path / "rules.yml").write_text(prometheus_rules([objective], own))
    steady = next(
        test
        for test in yaml.safe_load(promtool_tests(objective, own)["telemetry"])["tests"]
        if test["name"].startswith("steady")
    )
    expressions = [
        target["expr"]
        for panel in grafana_dashboard([objective], own)["panels"]
        for target in panel.get("targets", [])
        if panel["title"] != "Alerts"
    ]
    assert len(expressions) > 12
    present = [{"labels": "{}", "value": 1}]
    looks = [{"expr": f"count({one}) > bool 0", "eval_time": "15m", "exp_samples": present} for one in expressions]
    del steady["alert_rule_test"]
    tests = {"rule_files": ["rules.yml"], "evaluation_interval": "5m", "tests": [{**steady, "promql_expr_test": looks}]}
    (tmp_path / "test.yml").write_text(json.dumps(tests))
    accepted("test", "rules", tmp_path / "test.yml")
    rules = [{"record": f"r{number}", "expr": expression} for number, expression in enumerate(EXPRESSIONS)]
    (tmp_path / "parsed.yml").write_text(json.dumps({"groups": [{"name": "g", "rules": rules}]}))
    accepted("check", "rules", tmp_path / "parsed.yml")


def test_a_folder_is_written_again_but_nothing_foreign_is_touched(tmp_path: Path) -> None:
    first = write(tmp_path, OBJECTIVES, RULES)
    assert {path.relative_to(tmp_path).parts[0] for path in first} == {
        "rules",
        "tests",
        "dashboard.json",
        "openslo.yml",
    }
    mine = tmp_path / "rules" / "mine.yml"
    mine.write_text("groups: []\n")
    second = write(tmp_path, [AVAILABLE])
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {*second, mine}
    before = (tmp_path / "openslo.yml").read_text()
    (tmp_path / "dashboard.json").write_text("{}")
    with pytest.raises(ObjectiveError, match="was not written by this"):
        write(tmp_path, OBJECTIVES, RULES)
    assert (tmp_path / "openslo.yml").read_text() == before


def test_an_indicator_of_another_metric_is_never_taken_for_zero() -> None:
    lost = next(
        rule["expr"] for rule in groups(BY_NAME["comments-durable"]) if rule["record"].startswith("slo:sli_bad")
    )
    assert lost == "sum(rate(blog_comments_lost_total[5m]))"
    same = next(
        rule["expr"] for rule in groups(BY_NAME["spamfilter-available"]) if rule["record"].startswith("slo:sli_bad")
    )
    assert 'or 0 * sum(rate(spamfilter_comments_total{result!=""}[5m]))' in same


def test_rules_stay_as_checked() -> None:
    assert all(checked(one, RULES[one.name]) == tuple(RULES[one.name]) for one in OBJECTIVES)
    with pytest.raises(ObjectiveError, match="tells no good or bad"):
        from mlops_helpers.observe.promql import bad

        bad(replace(AVAILABLE, indicator=Indicator.of_throughput("x_total", 1), slices=TimeSlices()), 60)
