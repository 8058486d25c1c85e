"""What is exported for Prometheus is accepted there, and its own tests notice when it is damaged."""

import json
import re
from pathlib import Path

import pytest
import yaml

from mlops_helpers.observe.burnrate import SLOTH, WORKBOOK, in_time_lapse
from mlops_helpers.observe.examples import series_of
from mlops_helpers.observe.export import write
from mlops_helpers.observe.export_rules import prometheus_rules
from mlops_helpers.observe.export_tests import promtool_tests
from mlops_helpers.observe.selector import Selector
from tests.support.real_prometheus import promtool
from tests.support.selector_texts import BOTH, NEITHER, ONLY_THERE
from tests.support.slo_examples import BY_NAME, OBJECTIVES, RULES

COMMENTS = BY_NAME["comments-available"]


def accepted(*arguments: str | Path) -> None:
    done = promtool(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_rules_and_their_tests_pass(tmp_path: Path) -> None:
    paths = write(tmp_path, OBJECTIVES, RULES)
    (tmp_path / "all.yml").write_text(prometheus_rules(OBJECTIVES, RULES, interval=30))
    accepted("check", "rules", tmp_path / "all.yml", *(path for path in paths if path.parent.name == "rules"))
    tests = [path for path in paths if path.parent.name == "tests"]
    assert len(tests) == 4 * len(OBJECTIVES) - 1
    accepted("test", "rules", *tests)


def test_in_time_lapse_and_with_sloths_rules_they_pass_too(tmp_path: Path) -> None:
    fast, rules = in_time_lapse(COMMENTS, WORKBOOK, 600)
    for folder, objective, own in (("lapse", fast, rules), ("sloth", COMMENTS, SLOTH)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "rules.yml").write_text(prometheus_rules([objective], own))
        for step, text in promtool_tests(objective, own).items():
            (tmp_path / folder / f"{step}.yml").write_text(text)
    accepted("test", "rules", tmp_path / "lapse/500ms.yml", tmp_path / "lapse/36s.yml", tmp_path / "sloth/2h.yml")


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        (r"> ([0-9.e-]+)$", lambda limit: f"> {1.5 * float(limit[1])!r}"),
        (r"  and\n", lambda _: "  or\n"),
        (r"  and\n.*\n", lambda _: ""),  # the short window
        (r"  .*\n  and\n", lambda _: ""),  # the long window
    ],
    ids=["thresholds", "and", "short", "long"],
)
def test_damage_to_a_burn_rate_alert_is_noticed(pattern: str, damage, tmp_path: Path) -> None:
    objective, own = BY_NAME["answers-enough"], RULES["answers-enough"][:1]
    group = yaml.safe_load(prometheus_rules([objective], own))["groups"][0]
    (alert,) = (rule for rule in group["rules"] if rule.get("alert") == "ErrorBudgetBurn")
    alert["expr"], changes = re.subn(pattern, damage, alert["expr"], flags=re.M)
    assert changes
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [group]}))
    tests = promtool_tests(objective, own)
    (tmp_path / "test.yml").write_text(next(text for step, text in tests.items() if step != "telemetry"))
    done = promtool("test", "rules", tmp_path / "test.yml")
    assert done.returncode == 1 and "FAILED" in done.stdout + done.stderr


def test_long_windows_that_are_summed_from_short_ones_are_exact_enough(tmp_path: Path) -> None:
    rules = yaml.safe_load(prometheus_rules([COMMENTS], WORKBOOK))["groups"][0]["rules"]
    summed = [rule for rule in rules if re.search("sli_(bad|total)|rate3d$", rule.get("record", ""))]
    plain = re.sub(r"\[5m\]", "[3d]", f"{summed[0]['expr']} / sum(rate({COMMENTS.indicator.total}[5m]))")
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "g", "rules": summed}]}))
    series = series_of(COMMENTS.indicator)
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


def test_selectors_are_read_where_prometheus_reads_them(tmp_path: Path) -> None:
    texts = [*map(str, map(Selector.parse, BOTH)), *BOTH, *NEITHER, *ONLY_THERE]
    rules = [{"record": f"r{number}", "expr": text} for number, text in enumerate(texts, 1)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "g", "rules": rules}]}))
    done = promtool("check", "rules", tmp_path / "rules.yml")
    refused = {texts[int(number) - 1] for number in re.findall(r'group "g", rule (\d+),', done.stderr + done.stdout)}
    assert refused == set(NEITHER)
