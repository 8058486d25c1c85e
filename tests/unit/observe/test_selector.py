"""Selectors: what is written is read again, and what is read here means the same in Prometheus."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_helpers.errors import MetricsError
from mlops_helpers.observe.selector import Matcher, Selector
from tests.support.selector_texts import BOTH, NEITHER, ONLY_THERE

names = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,8}", fullmatch=True)
labels = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True).filter(lambda label: label != "__name__")
values = st.text(st.characters(codec="utf-8"), max_size=12)
equal = st.builds(Matcher, labels, st.sampled_from(["=", "!="]), values)
patterns = st.builds(Matcher, labels, st.sampled_from(["=~", "!~"]), values.map(re.escape))
selectors = st.builds(Selector, names, st.lists(equal | patterns, max_size=3).map(tuple))


@settings(max_examples=50)
@given(selectors)
def test_what_is_written_is_read_again(selector: Selector) -> None:
    assert Selector.parse(str(selector)) == selector


def test_a_label_that_is_missing_is_empty_and_expressions_match_the_whole_value() -> None:
    selector = Selector.parse(r'x{a=~"5..|a\n",b=""}')
    assert selector.matches({"a": "500"})
    assert selector.matches({"a": "a\n", "b": ""})
    assert not selector.matches({"a": "1500"})
    assert not selector.matches({"a": "500", "b": "c"})
    assert Selector.parse(r'x{a="\t\"\\"}').matches({"a": '\t"\\'})
    assert Selector.parse("x").where("b", 'c"').matchers == Selector.parse(r'x{b="c\""}').matchers


@pytest.mark.parametrize("text", BOTH)
def test_what_prometheus_reads_too_is_read(text: str) -> None:
    assert Selector.parse(str(Selector.parse(text))) == Selector.parse(text)


@pytest.mark.parametrize("text", NEITHER + ONLY_THERE)
def test_anything_else_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(MetricsError, match=r"accepted|is no regular expression"):
        Selector.parse(text)
