"""Who writes when and where on the simulated platform: rhythm, posts, accounts."""

import numpy as np
import pandas as pd
from numpy.random import Generator
from numpy.typing import NDArray

from mlops_helpers.model.simulate_text import read_world, spread

__all__ = ["NIGHT", "Seats", "accounts", "arrivals", "kinds", "open_posts", "place"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Seats = tuple[Floats, Integers, Integers]  # published (day), post, topic

HOURS = np.array([3, 2, 1, 1, 1, 1, 2, 4, 5, 5, 5, 6, 7, 6, 6, 6, 7, 8, 10, 12, 13, 12, 9, 6], dtype=float)
WEEKDAYS = np.array([0.95, 0.9, 0.9, 0.95, 1.1, 1.3, 1.25])  # Monday first
NIGHT = np.roll(HOURS, 8)  # the peak of 20:00 moves to 04:00


def arrivals(rng: Generator, n: int, days: float, begin: pd.Timestamp) -> Floats:
    """Draw n times in days, in order, by the rhythm of the day, the week and each day's own luck."""
    hours = np.arange(int(np.ceil(days * 24)))
    day = hours // 24
    luck = rng.lognormal(0, 0.12, size=day[-1] + 1)[day]
    rate = HOURS[hours % 24] * WEEKDAYS[(begin.weekday() + day) % 7] * luck
    edges = np.append(hours, days * 24.0)
    reached = np.concatenate([[0.0], np.cumsum(rate * np.diff(edges))])
    return np.interp(np.sort(rng.random(n)) * reached[-1], reached, edges) / 24.0


def open_posts(rng: Generator, n: int, days: float) -> Seats:
    """Return seats to be taken by comments (time, post, topic): popular posts have more of them."""
    count = max(20, n // 60)
    published = np.sort(rng.uniform(-20, days, count))
    topic = spread(rng, count, [t["weight"] for t in read_world()["topic"].values()])
    seats = np.repeat(np.arange(count), 1 + np.minimum(rng.pareto(1.1, count) * 2, 200).astype(np.int64))
    return published[seats], seats, topic[seats]


def kinds(rng: Generator, n: int, side: str) -> NDArray[np.object_]:
    """Draw the kind of each comment of one side, ``ham`` or ``spam``."""
    known = read_world()[side]
    return np.array(list(known), dtype=object)[spread(rng, n, [k["weight"] for k in known.values()])]


def accounts(rng: Generator, spam: NDArray[np.bool_], n: int) -> Integers:
    """Give each comment an account: few readers write often, many once; senders of spam wear out accounts."""
    often = (n / 5 * rng.random(n) ** 3).astype(np.int64)
    throwaway = n + (n / 6 * rng.random(n)).astype(np.int64)
    once = 2 * n + np.arange(n)
    u = rng.random(n)
    return np.where(u < 0.3, once, np.where(spam & (u < 0.9), throwaway, often))


def place(rng: Generator, t: Floats, family: NDArray[np.object_], author: Integers, posts: Seats) -> pd.DataFrame:
    """Put each comment under a recent post: the last seats published before it, mostly."""
    published, post, topic = posts
    back = rng.geometric(min(0.5, 60 / len(published)), len(t))
    seat = np.maximum(np.searchsorted(published, t, side="right") - back, 0)
    columns = {
        "post": post[seat],
        "topic": topic[seat],
        "author": author,
        "t": t,
        "family": family,
        "campaign": "",
    }
    return pd.DataFrame(columns)
