"""Ten million events: indicators, budgets and alerts of three objectives; time and memory of a whole process."""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.harness import Figure

__all__ = ["events"]

EVENTS = 10_000_000


def events() -> Iterator[Figure]:
    """Measure in a process of its own, so that its memory is nobody else's; return time and memory with their goals."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.observing.events"], capture_output=True, text=True, check=True, timeout=600
    )
    seen = json.loads(done.stdout)
    said = f"{seen['alerts']} alerts, {seen['bad']:.0f} bad events found of {seen['planted']} planted"
    yield Figure(f"{EVENTS:,} events: SLIs, budgets, alerts", seen["seconds"], "s", "<= 10", said)
    gigabytes = seen["peak"] / 2**30
    yield Figure("peak memory of the process", gigabytes, "GiB", "<= 1", f"the events' table: {seen['table']:.2f} GiB")
    yield Figure("bad events that the counts miss", abs(seen["bad"] - seen["planted"]), "count", "<= 0", said)


def _measure() -> dict[str, float]:
    import numpy as np

    from mlops_helpers.observe import alerting, budget
    from mlops_helpers.observe.counting import count
    from mlops_helpers.observe.objectives import DAY, Indicator, Objective, TimeSlices

    random = np.random.default_rng(1)
    # what a log has of each event: when, how it was answered, how long that took
    at = np.sort(random.integers(0, int(30 * DAY * 1000), EVENTS)).view("M8[ms]") + np.timedelta64(20454, "D")
    seconds = random.exponential(0.05, EVENTS).astype("f4")
    failed = random.random(EVENTS, dtype="f4") < 2e-4
    failed[4_000_000:4_020_000] |= random.random(20_000, dtype="f4") < 0.2
    planted = int(failed.sum())
    table = at.nbytes + seconds.nbytes + failed.nbytes

    began = time.perf_counter()
    good = ~failed
    errors = count(at, good, 60)
    fast = count(at, good & (seconds <= 0.25), 60)
    counter = Indicator.of_counters("availability", "requests_total", bad='requests_total{code="500"}')
    judged = (
        (errors, Objective("availability", 0.999, counter)),
        (fast, Objective("latency", 0.99, counter)),
        (errors, Objective("minutes", 0.99, counter, slices=TimeSlices(60, 0.999))),
    )
    alerts = 0
    for counts, objective in judged:
        budget.budget(counts, objective)
        budget.burn_down(counts, objective)
        alerts += len(alerting.evaluate(counts, objective))
    taken = time.perf_counter() - began
    return {
        "seconds": taken,
        "alerts": alerts,
        "bad": float((errors["total"] - errors["good"]).sum()),
        "planted": planted,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "table": table / 2**30,
    }


if __name__ == "__main__":
    print(json.dumps(_measure()))
