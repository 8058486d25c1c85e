"""Stores of metrics, filled by hand: counters of one service, scraped as a test says."""

from mlops_helpers.observe.store import Store
from tests.support.slo_examples import START

BEGIN = START.timestamp()
TARGET = {"job": "blog", "instance": "blog:1"}


def scraped(step: float = 15.0, **counters: list[float | None]) -> Store:
    """Counters with a sample each ``step`` seconds from BEGIN on, None: no sample; ``c500`` is http_total's by code."""
    store = Store()
    for number, values in enumerate(zip(*counters.values(), strict=True)):
        said = {name: value for name, value in zip(counters, values, strict=True) if value is not None}
        lines = [f"{_series(name)} {value}\n" for name, value in said.items()]
        if lines:
            store.append(BEGIN + step * number, "".join(lines), TARGET)
    return store


def _series(name: str) -> str:
    return f'http_total{{code="{name[1:]}"}}' if name[1:].isdigit() else name


def live(seconds: int, *, bad: range, lost: range = range(0), rate: float = 10.0) -> Store:
    """A service scraped every second: half of its answers are errors during ``bad``; it is down during ``lost``."""
    store = Store()
    total, failed = 0.0, 0.0
    for second in range(seconds):
        failed += rate / 2 * (second in bad)
        total += rate
        if second in lost:
            store.fail(BEGIN + second, TARGET, "down")
        else:
            text = f'http_total{{code="200"}} {total - failed}\nhttp_total{{code="500"}} {failed}\n'
            store.append(BEGIN + second, text, TARGET)
    return store
