"""The text format is read as prometheus_client reads it, fast when repeated, and garbage is refused by line."""

import math
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from mlops_helpers.errors import MetricsError
from mlops_helpers.observe.exposition import Reader


def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    Counter("hits", "Hits with \\ and\nmore.", ["path"], registry=made).labels('/"quoted"\\ {brace} \n line, é').inc(3)
    Gauge("heat", "", registry=made).set(-math.inf)
    Gauge("nothing", "", registry=made).set(math.nan)
    Histogram("seconds", "", ["code"], buckets=(0.1, 1), registry=made).labels("200").observe(0.5)
    Summary("size", "", registry=made).observe(1e300)
    return made


def test_reads_what_the_library_writes_as_the_library_reads_it() -> None:
    body, reader = generate_latest(registry()), Reader()
    families = text_string_to_metric_families(body.decode())
    expected = {(each.name, *sorted(each.labels.items())): each.value for family in families for each in family.samples}
    for _ in range(3):  # from the second time on by memory
        read = {}
        for key, value in reader.read(body).samples.items():
            labels = dict(key.labels)
            read[labels.pop("__name__"), *sorted(labels.items())] = value
        assert read == pytest.approx(expected, rel=0, nan_ok=True)


def test_types_say_what_counts() -> None:
    read = Reader().read(generate_latest(registry()))
    counting = {key.labels["__name__"] for key in read.samples if key.counts}
    assert counting == {"hits_total", "seconds_bucket", "seconds_count", "size_count"}


def test_times_white_space_comments_duplicates_and_order_of_labels() -> None:
    read = Reader().read(
        b'# a comment with { and "\n#\n\n  \n#TYPE nothing\n'
        b'a{x="1",y="2"} 1 1700000000123\n'
        b'a{y="2",x="1"} 9\n'  # the same series: the first line counts
        b"\tb\t4\r\n"
        b"b 5 1700000000999\n"  # nor does its time
        b"c  5  \n"
        b'd{x="1",} +Inf\n'
        b'e {x="",z="1"} 1e3\n'  # an empty label is none
        b'f{x="} 1"}2\n'
    )
    assert [(dict(key.labels), value) for key, value in read.samples.items()] == [
        ({"__name__": "a", "x": "1", "y": "2"}, 1.0),
        ({"__name__": "b"}, 4.0),
        ({"__name__": "c"}, 5.0),
        ({"__name__": "d", "x": "1"}, math.inf),
        ({"__name__": "e", "z": "1"}, 1000.0),
        ({"__name__": "f", "x": "} 1"}, 2.0),
    ]
    assert list(read.times.values()) == [1700000000123]
    assert read.duplicates == 2
    assert Reader().read(b"").samples == {}


@pytest.mark.parametrize(
    ("body", "line", "says"),
    [
        ("a 1\n<html><body>404</body></html>\n", 2, "looks like a web page"),
        ('{"status": "ok"}\n', 1, "accepted: the Prometheus text format"),
        ("a 1\nb\n", 2, "come a value"),
        ("a one\n", 1, "could not convert"),
        ("a 1_000\n", 1, "come a value"),
        ("a 1 1700000000.5\n", 1, "invalid literal"),
        ("a 1 # {trace=\"x\"} 0.5\n", 1, "exemplar"),
        ('a{x="1} 1\n', 1, "could not convert"),
        ('a{x="1",x="2"} 1\n', 1, "Invalid labels"),
        ("1a 1\n", 1, "invalid metric name"),
        ("a 1\na{x=\"" + "y" * 20_000 + '"} 1\n', 2, "at most 16,384"),
        ("a 1\nb 12", 2, "no line feed: the text was cut off"),
    ],
)  # fmt: skip
def test_garbage_is_refused_by_line(body: str, line: int, says: str) -> None:
    reader = Reader()
    reader.read(b"a 1\n")  # what is remembered excuses nothing
    with pytest.raises(MetricsError, match=rf"line {line} is ") as refusal:
        reader.read(body.encode())
    assert says in str(refusal.value)
    assert len(str(refusal.value)) < 500


def test_bytes_that_are_no_text_and_bodies_without_end_are_refused() -> None:
    with pytest.raises(MetricsError, match="line 2 is not UTF-8"):
        Reader().read(b'a 1\nb{x="\xff"} 2\n')
    with pytest.raises(MetricsError, match="1,001 bytes; accepted: at most 1,000"):
        Reader(most_bytes=1000).read(b"#" * 1001)
    with pytest.raises(MetricsError, match="line 4: more than 3 series"):
        Reader(most_series=3).read(b"a 1\nb 1\nc 1\nd 1\n")


def test_what_is_remembered_is_bounded() -> None:
    reader = Reader(most_series=10)
    tracemalloc.start()
    held = []
    for number in range(1000):
        reader.read(f'# HELP a {number}\na{{user="{number}"}} 1\n'.encode())
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[-1] < held[200] + 100_000


WORDS = r"""a a_total { } " = , # counter 1 -1 NaN +Inf 1e9 \ \n {x="y"} é _ <html> 1700000000000"""
SHREDS = st.sampled_from([*WORDS.encode().split(), b" ", b"\t", b"\n", b"\r\n", b"# TYPE ", b"\x00", b"\xff"])


@settings(max_examples=100)
@given(st.lists(SHREDS, max_size=30).map(b"".join) | st.binary(max_size=60))
def test_garbage_is_read_or_refused_and_never_anything_else(body: bytes) -> None:
    reader = Reader()
    for text in (body, body + b"\n", b"a 1\n" + body + b"\n"):
        try:
            read = reader.read(text)
        except MetricsError as error:
            assert "line " in str(error)
        else:
            assert all(isinstance(value, float) and key.labels["__name__"] for key, value in read.samples.items())
