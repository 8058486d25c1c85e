"""Objectives of all six kinds, of this project's services and of one that it knows nothing of; and Counts by hand."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mlops_helpers.observe.burnrate import BurnRule, scaled_to
from mlops_helpers.observe.objectives import DAY, HOUR, MINUTE, Indicator, Objective, TimeSlices

COMMENT = 'http_requests_total{handler="/posts/{id}/comments"%s}'
OBJECTIVES = [
    Objective(
        "comments-available",
        0.999,
        Indicator.of_counters("availability", COMMENT % "", bad=COMMENT % ',code=~"5.."'),
        description="Readers can comment, {{ even $with }} braces.",
        labels={"team": "blog", "text": "{{ $value }}"},
    ),
    Objective(
        "answers-fast",
        0.99,
        Indicator.of_histogram("latency", "http_request_duration_seconds", 0.25, handler="/classify"),
        service="filter",
    ),
    Objective("answers-enough", 0.95, Indicator.of_throughput("gateway_requests_total", 10), service="gateway"),
    Objective("releases-fresh", 0.99, Indicator.of_histogram("freshness", "release_lead_seconds", 1), 28 * DAY),
    Objective(
        "comments-durable",
        0.9999,
        Indicator.of_counters("durability", "blog_comments_total", bad="blog_comments_lost_total"),
    ),
    Objective(
        "verdicts-right",
        0.9,
        Indicator.of_counters("quality", "filter_labels_total", good='filter_labels_total{outcome!~"false_.*"}'),
        service="filter",
    ),
    Objective(
        "spamfilter-available",
        0.995,
        Indicator.of_counters(
            "availability", "spamfilter_comments_total", good='spamfilter_comments_total{result=~"spam|ham"}'
        ),
        service="spamfilter",
    ),
    Objective(
        "spamfilter-fast",
        0.97,
        Indicator.of_histogram("latency", "spamfilter_inference_seconds", 0.1),
        slices=TimeSlices(60, 0.95),
        service="spamfilter",
    ),
]
BY_NAME = {objective.name: objective for objective in OBJECTIVES}
SLOW = (BurnRule("page", 0.05, 6 * HOUR, HOUR / 2, minimum_bad=20), BurnRule("ticket", 0.1, 3 * DAY, 6 * HOUR))
"""For a target of 90 %, at which 14.4x cannot be."""
RULES = {objective.name: SLOW if objective.target == 0.9 else scaled_to(objective.period) for objective in OBJECTIVES}

START = pd.Timestamp("2026-01-01", tz="UTC")
AVAILABLE = Objective(
    "available", 0.999, Indicator.of_counters("availability", "http_total", bad='http_total{code=~"5.."}')
)


def counts(good: Sequence[float], total: Sequence[float], step: float = MINUTE) -> pd.DataFrame:
    """Return Counts from START on."""
    index = pd.date_range(START, periods=len(good), freq=pd.Timedelta(step, "s"))
    table = pd.DataFrame({"good": good, "total": total}, index=index, dtype=float)
    table.attrs["step"] = step
    return table


def failures(bad: Sequence[float], total: Sequence[float], step: float = MINUTE) -> pd.DataFrame:
    """Return Counts from START on, by what was bad."""
    return counts(np.subtract(total, bad), total, step)
