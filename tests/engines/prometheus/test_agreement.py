"""The embedded store and a real Prometheus are asked the same questions and give the same answers."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
import pytest

from mlops_helpers.errors import MetricsError
from mlops_helpers.observe.prometheus import Prometheus
from mlops_helpers.observe.store import Store
from tests.support.real_prometheus import prometheus
from tests.support.recorded_shapes import COUNTERS, HISTOGRAMS, MINUTES, SHAPES, metric, open_metrics, text
from tests.support.scrapes import BEGIN

WHOLE = {"start": BEGIN - 60.0, "end": BEGIN + MINUTES * 60 + 240, "step": 37.0}
CLOSE = {"start": BEGIN + 601.5, "end": BEGIN + 901.5, "step": 7.5}
RANGES = [(WHOLE, (15.0, 300.0, 4000.0)), (CLOSE, (40.0, 300.0))]
INSTANTS = [600.0, 1260.123, 1814.9, 3240.0]


@dataclass
class Both:
    store: Store
    server: Prometheus

    def agree(self, question: str, *what: object, **how: object) -> pd.DataFrame:
        answers = [getattr(source, question)(*what, **how) for source in (self.store, self.server)]
        pd.testing.assert_frame_equal(*answers, rtol=1e-9, atol=0, obj=f"{question}{what}{how}")
        return answers[0]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    store, samples = Store(), []
    for shape, scrapes in SHAPES.items():
        for offset, series in scrapes:
            at = BEGIN + offset
            store.append(at, text(shape, series), {"job": shape})
            samples.append(open_metrics(shape, series, at))
    with prometheus(tmp_path_factory.mktemp("prometheus"), "".join(samples)) as url:
        yield Both(store, Prometheus(url))


@pytest.mark.parametrize("shape", COUNTERS)
def test_growth_and_values_are_those_of_prometheus(both: Both, shape: str) -> None:
    for times, windows in RANGES:
        for window in windows:
            both.agree("increase", metric(shape), window, **times, by=None)
    for by in ((), ("code", "nowhere")):
        both.agree("increase", metric(shape), 300.0, **WHOLE, by=by)
        both.agree("value", metric(shape), BEGIN + 1500, by=by)
    for instant in INSTANTS:
        both.agree("value", metric(shape), BEGIN + instant)
    both.agree("increase", metric(shape), 300.0, at=BEGIN + 1500)
    both.agree("series", metric(shape), BEGIN + 600, BEGIN + 1200)


@pytest.mark.parametrize("shape", HISTOGRAMS)
def test_quantiles_are_those_of_prometheus(both: Both, shape: str) -> None:
    for q in (0, 0.25, 0.9, 1):
        both.agree("quantile", q, metric(shape), 300.0, **WHOLE, by=None)
    for by in ((), ("version",)):
        both.agree("quantile", 0.5, metric(shape), 300.0, **WHOLE, by=by)
    both.agree("increase", metric(shape) + "_bucket", 60.0, **WHOLE, by=("le",))


def test_shares_are_those_of_prometheus(both: Both) -> None:
    name, at = metric("grouped"), BEGIN + 1500
    for by in ((), ("handler",), None):
        for part in ('code="500"', 'code=~"4..|5.."', 'code!="200"', 'code="x"'):
            both.agree("ratio", f"{name}{{{part}}}", name, 300.0, **WHOLE, by=by)
    assert 0 < both.agree("ratio", f'{name}{{code="500"}}', name, 300.0, at=at)["value"][0] < 1
    growths = [source.growth(name, 300.0, at) for source in (both.store, both.server)]
    assert growths[0] == pytest.approx(growths[1], rel=1e-9)
    assert growths[0] == both.store.increase(name, 300.0, at=at)["value"][0]
    nothing = metric("always_0")
    assert both.agree("ratio", nothing, nothing, 300.0, at=at)["value"].isna().all()


@pytest.mark.parametrize(
    ("conditions", "series"),
    [
        ('code="200"', 3), ('code=~"2.."', 3), ('code=~"2"', 0), ('code!~"2.*|5.*"', 3), ('handler="a\\"b\\\\c"', 3),
        ('missing=""', 9), ('missing!=""', 0), ('handler=~"/.*",code!="404"', 4),
    ],
)  # fmt: skip
def test_selectors_mean_the_same(both: Both, conditions: str, series: int) -> None:
    selector = f"{metric('grouped')}{{{conditions}}}"
    assert len(both.agree("increase", selector, 300.0, at=BEGIN + 1500, by=None)) == series


def test_more_times_than_one_answer_holds(both: Both) -> None:
    times = {"start": BEGIN, "end": BEGIN + 3000.0, "step": 0.2}
    assert len(both.agree("increase", metric("every_second"), 60.0, **times)) == 15_001


def test_a_metric_that_is_not_there_is_said_to_be_missing(both: Both) -> None:
    for source in (both.store, both.server):
        with pytest.raises(MetricsError, match=r"shape_stedy_total.*shape_steady_total"):
            source.increase("shape_stedy_total", 60.0, at=BEGIN)
        with pytest.raises(MetricsError, match="shape_latency_seconds_bucket"):
            source.quantile(0.5, "shape_latncy_seconds", 60.0, at=BEGIN)
        with pytest.raises(MetricsError, match="no metric"):
            source.series("shape_stedy_total", BEGIN, BEGIN + 1)


def test_a_server_refuses_what_is_no_query_or_no_prometheus(both: Both) -> None:
    with pytest.raises(MetricsError, match=r"refuses .*increase"):
        both.server.increase('up{job=~"(?=x)"}', 60.0)  # RE2 has no look-ahead
    with pytest.raises(MetricsError, match="is no Prometheus"):
        Prometheus(both.server.url + "/graph").value("up")
