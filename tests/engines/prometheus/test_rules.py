"""The rules of objectives are accepted by Prometheus, fire and reset there, and a damaged one is noticed."""

import json
import re
from pathlib import Path

import pytest
import yaml

from mlops_helpers.observe.burnrate import SLOTH, WORKBOOK, in_time_lapse
from mlops_helpers.observe.export_rules import prometheus_rules
from mlops_helpers.observe.selector import Selector
from tests.support.real_prometheus import promtool
from tests.support.selector_texts import BOTH, NEITHER, ONLY_THERE
from tests.support.slo_examples import BY_NAME, OBJECTIVES, RULES

COMMENTS = BY_NAME["comments-available"]
SERIES = 'http_requests_total{handler="/posts/{id}/comments",code="%s"}'


def run(folder: Path, rules: list[dict], good: str, bad: str, every: str = "1m", **looks: list) -> tuple[int, str]:
    """Evaluate rules over two counters that are scraped every minute; return promtool's exit code and words."""
    (folder / "rules.yml").write_text(json.dumps({"groups": [{"name": "g", "rules": rules}]}))
    series = [{"series": SERIES % code, "values": values} for code, values in (("200", good), ("500", bad))]
    test = {"interval": "1m", "input_series": series, **looks}
    (folder / "test.yml").write_text(
        json.dumps({"rule_files": ["rules.yml"], "evaluation_interval": every, "tests": [test]})
    )
    done = promtool("test", "rules", folder / "test.yml")
    return done.returncode, done.stdout + done.stderr


def test_promtool_accepts_rules_of_all_kinds(tmp_path: Path) -> None:
    fast, rules = in_time_lapse(COMMENTS, WORKBOOK, 600)
    texts = [prometheus_rules(OBJECTIVES, RULES, interval=30), prometheus_rules([fast], rules)]
    texts.append(prometheus_rules([COMMENTS], SLOTH))
    for text in texts:
        (tmp_path / "rules.yml").write_text(text)
        done = promtool("check", "rules", tmp_path / "rules.yml")
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        (r"$^", ""),
        (r"> ([0-9.e-]+)$", "> 0.02"),
        (r"  and\n", "  or\n"),
        (r"  and\n.*\n", ""),  # the short window
        (r"  .*\n  and\n", ""),  # the long window
    ],
    ids=["whole", "threshold", "and", "short", "long"],
)
def test_an_alert_fires_and_resets_and_a_damaged_one_is_noticed(pattern: str, damage: str, tmp_path: Path) -> None:
    rules = yaml.safe_load(prometheus_rules([COMMENTS], WORKBOOK[:1]))["groups"][0]["rules"]
    (alert,) = (rule for rule in rules if rule.get("alert") == "ErrorBudgetBurn")
    alert["expr"], changes = re.subn(pattern, damage, alert["expr"], flags=re.M)
    alert.pop("annotations")
    # a tenth of one minute is 2 % of 5 minutes, but of an hour 0.2 %; then an outage of one minute, 1.67 % of an hour
    good, bad = "0+100x60 6090+100x59 11990+0x1 12090+100x60", "0+0x60 10+0x59 110+0x61"
    firing = {"exp_labels": {**alert["labels"], "text": "{{ $value }}"}}
    looks = [
        {"alertname": "ErrorBudgetBurn", "eval_time": f"{minute}m", "exp_alerts": [firing] if fires else []}
        for minute, fires in ((62, False), (121, True), (124, True), (130, False))
    ]
    status, words = run(tmp_path, rules, good, bad, alert_rule_test=looks)
    assert (status, "FAILED" in words) == ((1, True) if changes else (0, False)), words


def test_long_windows_that_are_summed_from_short_ones_are_exact_enough(tmp_path: Path) -> None:
    rules = yaml.safe_load(prometheus_rules([COMMENTS], WORKBOOK))["groups"][0]["rules"]
    summed = [rule for rule in rules if re.search("sli_(bad|total)|rate3d$", rule.get("record", ""))]
    plain = re.sub(r"\[5m\]", "[3d]", f"{summed[0]['expr']} / sum(rate({COMMENTS.indicator.total}[5m]))")
    # traffic doubles, an outage of three hours, then half of the traffic: a mean of shares would be wrong by a third
    good, bad = "0+100x1440 144200+200x1439 432101+150x179 459000+100x1440", "0+0x2880 50+50x179 9000+0x1440"
    summed_up = 'slo:sli_error:ratio_rate3d{slo="comments-available"}'
    looks = [
        {"expr": f"abs(sum({summed_up}) / ({plain}) - 1) < bool 0.004", "eval_time": at,
         "exp_samples": [{"labels": "{}", "value": 1}]}
        for at in ("2d3h", "3d", "3d2h")
    ]  # fmt: skip
    status, words = run(tmp_path, summed, good, bad, "5m", promql_expr_test=looks)
    assert status == 0, words


def test_selectors_are_read_where_prometheus_reads_them(tmp_path: Path) -> None:
    texts = [*map(str, map(Selector.parse, BOTH)), *BOTH, *NEITHER, *ONLY_THERE]
    rules = [{"record": f"r{number}", "expr": text} for number, text in enumerate(texts, 1)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "g", "rules": rules}]}))
    done = promtool("check", "rules", tmp_path / "rules.yml")
    refused = {texts[int(number) - 1] for number in re.findall(r'group "g", rule (\d+),', done.stderr + done.stdout)}
    assert refused == set(NEITHER)
