"""Recorded scrapes of the shapes that counters and histograms take, for the store and for a real Prometheus.

A shape is a list of scrapes: seconds since the recording's begin, and what each series said. Series are written as in
the text format; ``NAME`` stands for the shape's metric.
"""

import math
import random
from collections.abc import Callable, Iterable

Scrape = tuple[float, dict[str, float]]

MINUTES = 50
BOUNDS = ("0.1", "0.5", "1.0", "+Inf")


def counter(times: Iterable[float], value: Callable[[float], float], labels: str = "") -> list[Scrape]:
    return [(time, {f"NAME{labels}": value(time)}) for time in times]


def every(seconds: float, begin: float = 0, end: float = MINUTES * 60) -> list[float]:
    return [begin + number * seconds for number in range(math.ceil((end - begin) / seconds))]


def together(*parts: list[Scrape]) -> list[Scrape]:
    """One target that exposes several series at the same times."""
    whole: dict[float, dict[str, float]] = {}
    for part in parts:
        for time, said in part:
            whole.setdefault(time, {}).update(said)
    return sorted(whole.items())


def without(scrapes: list[Scrape], begin: float, end: float) -> list[Scrape]:
    """A gap: nobody scraped."""
    return [scrape for scrape in scrapes if not begin <= scrape[0] < end]


def histogram(
    times: Iterable[float], counts: Callable[[float], Iterable[float]], bounds: Iterable[str] = BOUNDS, labels: str = ""
) -> list[Scrape]:
    return [
        (time, {f'NAME_bucket{{le="{le}"{labels}}}': count for le, count in zip(bounds, counts(time), strict=True)})
        for time in times
    ]


def walk(seed: int, most: int) -> Callable[[float], float]:
    """A counter that grows by random steps."""
    rng, total = random.Random(seed), 0

    def value(time: float) -> float:
        nonlocal total
        total += rng.randrange(most + 1)
        return total

    return value


def appearing(offset: float) -> list[Scrape]:
    """Errors that are counted from 1200 s on."""
    return together(
        counter(every(15), lambda time: time, '{code="200"}'),
        counter(every(15, 1200), lambda time: offset + time - 1200, '{code="500"}'),
    )


COUNTERS: dict[str, list[Scrape]] = {
    "steady": counter(every(15), lambda time: time),
    "one_reset": counter(every(15), lambda time: time if time < 1500 else time - 1500),
    "a_reset_every_sample": counter(every(15), lambda time: 7 * (int(time / 15) % 2)),
    "gap": without(counter(every(15), walk(1, 20)), 900, 1500),
    "long_gap_with_reset": without(counter(every(15), lambda time: time % 1300), 600, 2000),
    "spike": counter(every(15), lambda time: time / 15 + 10_000 * (time > 1200)),
    "appearing_at_0": appearing(0),
    "appearing_high": appearing(5_000),
    "two_samples": counter([600.0, 660.0], lambda time: time),
    "always_0": counter(every(15), lambda time: 0),
    "huge_with_resets": counter(every(15), lambda time: 1e17 + 1e13 * (time % 700)),
    "grouped": together(
        *(
            counter(every(15), walk(place * 10 + number, 5), f'{{code="{code}",handler="{handler}"}}')
            for place, code in enumerate(("200", "404", "500"))
            for number, handler in enumerate(("/", "/posts", r"a\"b\\c"))
        )
    ),
    "every_second": counter(every(1, 600, 900), walk(8, 100)),
    "between_milliseconds": counter([round(time + 0.123, 3) for time in every(15)], walk(9, 9)),
    "exactly_1.1_apart": counter([time + (16.5 if time > 600 else 0) for time in every(15)], lambda time: time),
    "not_a_number_now_and_then": counter(every(15), lambda time: math.nan if time % 300 == 0 else time),
    "infinite": counter(every(15), lambda time: math.inf if time > 1500 else time),
}

HISTOGRAMS: dict[str, list[Scrape]] = {
    "latency": histogram(every(15), lambda time: (time, 3 * time, 4 * time, 4.5 * time)),
    "no_observations": histogram(every(15), lambda time: (7, 7, 7, 7)),
    "few_observations": histogram(every(15), lambda time: (0, time // 600, time // 600, time // 400)),
    "without_inf": histogram(every(15), lambda time: (time, 2 * time), ("0.1", "0.5")),
    "torn": histogram(every(15), lambda time: (time, 0.8 * time, 3 * time, 2 * time)),
    "bounds_written_twice": histogram(
        every(15), lambda time: (time, 2 * time, 2 * time, 9 * time), ("0.5", "1", "1.0", "+Inf")
    ),
    "negative_bounds": histogram(every(15), lambda time: (time, 2 * time, 3 * time), ("-2", "0", "+Inf")),
    "a_bucket_comes_later": together(
        histogram(every(15), lambda time: (time, 3 * time, 4 * time), ("0.1", "1.0", "+Inf")),
        histogram(every(15, 1200), lambda time: (2 * time,), ("0.5",)),
    ),
    "one_of_two_versions_restarts": together(
        histogram(every(15), lambda time: (time, 2 * time, 3 * time, 4 * time), labels=',version="v1"'),
        histogram(every(15), lambda time: (0, time % 900, 3 * (time % 900), 4 * (time % 900)), labels=',version="v2"'),
    ),
    "not_a_bound": histogram(every(15), lambda time: (time, 2 * time, 3 * time), ("0.1", "much", "+Inf")),
}
SHAPES = {**COUNTERS, **HISTOGRAMS}


def metric(shape: str) -> str:
    """The name of the shape's metric."""
    return "shape_" + shape.replace(".", "_") + ("_seconds" if shape in HISTOGRAMS else "_total")


def text(shape: str, said: dict[str, float]) -> str:
    """The exposition of one scrape."""
    return "".join(f"{series.replace('NAME', metric(shape))} {value!r}\n" for series, value in said.items())


def open_metrics(shape: str, said: dict[str, float], at: float) -> str:
    """The same with its job and time, as Prometheus takes it afterwards."""
    labelled = {
        series[:-1] + f',job="{shape}"}}' if "{" in series else series + f'{{job="{shape}"}}': value
        for series, value in said.items()
    }
    return text(shape, labelled).replace("\n", f" {at:.3f}\n")
