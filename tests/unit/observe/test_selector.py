"""Selectors: what is written is read again, and what is read here means the same in Prometheus."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_helpers.errors import MetricsError
from mlops_helpers.observe.selector import Matcher, Selector

names = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,8}", fullmatch=True)
labels = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True).filter(lambda label: label != "__name__")
values = st.text(st.characters(codec="utf-8"), max_size=12)
equal = st.builds(Matcher, labels, st.sampled_from(["=", "!="]), values)
patterns = st.builds(Matcher, labels, st.sampled_from(["=~", "!~"]), values.map(re.escape))
selectors = st.builds(Selector, names, st.lists(equal | patterns, max_size=3).map(tuple))

# texts that both read, that neither reads, and that only Prometheus reads
BOTH = [
    "x", "x:y_total", "_x", "x{}", "x{ }", 'x {a="b"}', 'x\n{\ta="b"\r\n}', 'x{a="b",}',
    'x{ a = "b" , c!="d",e=~"f|g",h!~"i.*"}',
    'x{a="b}"}', 'x{a="b,c"}', r'x{a="\""}', r'x{a="\\"}', r'x{a="\n\t\a"}', r'x{a=~"\\d+"}', 'x{a="é"}', 'x{a=~""}',
    'x{by="a"}', "sum", 'x{a="b",a="c"}', 'x{a=~"(?i)b"}', 'x{a=~"(?P<n>b)?"}', 'x{a=~"[^/]{1,3}"}',
]  # fmt: skip
NEITHER = [
    "", "9x", "x}", "x{", 'x{a="b"', 'x a="b"', "x{,}", 'x{a="b",,}', 'x{a="b" c="d"}', 'x{a="b}', "x{a=b}",
    'x{a=="b"}',
    'x{a="b"}}', 'x{{a="b"}', 'x{a="b\n"}', 'x{9a="b"}', 'x{a:b="c"}', 'x{a-b="c"}', 'x{"a"="b"}', r'x{a="\d"}',
    r'x{a=~"\d+"}', r'x{a="\'"}', r'x{a="\0"}', 'x{a=~"["}', 'x{a=~"*"}', 'x{a=~"(b"}', 'x{a=~"b**"}',
    'x{__name__="y"}',
    "x\u00a0", 'x{a\u00a0="b"}', 'x{é="b"}', 'x{a٣="b"}',
]  # fmt: skip
ONLY_THERE = [
    '{a="b"}', "x[5m]", "x offset 5m", "sum(x)", "x + y", "x-y", 'x{a="b"} # c', "x{a='b'}", "x{a=`b`}", r'x{a="\x41"}',
    r'x{a="\101"}', r'x{a="\u0041"}', r'x{a=~"\\pL"}',
]  # fmt: skip


@given(selectors)
def test_what_is_written_is_read_again(selector: Selector) -> None:
    assert Selector.parse(str(selector)) == selector


@given(equal, values)
def test_a_condition_says_what_its_operator_says(matcher: Matcher, value: str) -> None:
    assert matcher({matcher.label: value}) == ((value == matcher.value) == (matcher.operator == "="))


def test_a_label_that_is_missing_is_empty_and_expressions_match_the_whole_value() -> None:
    selector = Selector.parse(r'x{a=~"5..|a\n",b=""}')
    assert selector.matches({"a": "500"})
    assert selector.matches({"a": "a\n", "b": ""})
    assert not selector.matches({"a": "1500"})
    assert not selector.matches({"a": "500", "b": "c"})
    assert Selector.parse(r'x{a="\t\"\\"}').matches({"a": '\t"\\'})
    assert Selector.parse("x").where("b", 'c"').matchers == Selector.parse(r'x{b="c\""}').matchers


@pytest.mark.parametrize("text", NEITHER + ONLY_THERE)
def test_anything_else_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(MetricsError, match=r"accepted|is no regular expression"):
        Selector.parse(text)


@pytest.mark.engine("prometheus")
def test_prometheus_agrees(tmp_path: Path) -> None:
    texts = [*map(str, map(Selector.parse, BOTH)), *BOTH, *NEITHER, *ONLY_THERE]
    rules = [{"record": f"r{number}", "expr": text} for number, text in enumerate(texts, 1)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "g", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True)
    refused = {texts[int(number) - 1] for number in re.findall(r'group "g", rule (\d+),', done.stderr + done.stdout)}
    assert refused == set(NEITHER)
