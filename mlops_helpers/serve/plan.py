"""Who comes to the platform when, and with what: a plan of arrivals, drawn by seed before anything is sent.

Arrivals are a Poisson process: people do not wait for each other's answers. Each kind of arrival draws from random
streams of its own, so that switching a campaign on adds its arrivals and changes no other, and a longer plan begins
like a shorter one.
"""

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import isfinite
from typing import TYPE_CHECKING, Any

from mlops_helpers.errors import ParameterError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["Arrival", "Burst", "Comment", "Moderators", "Spike", "comments_from", "plan"]


@dataclass(frozen=True, slots=True)
class Comment:
    """What somebody writes. ``label`` (1 spam, 0 ham, None unknown) and ``campaign`` are never sent to the service."""

    text: str
    label: int | None
    author: str
    campaign: str = ""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Somebody comes ``at`` seconds after the start from address ``reader``.

    ``kind`` is ``comment``, ``read`` (a page) or ``moderate`` (look at the queue and decide what is ripe). ``key``
    differs between the comments of a plan. A moderator decides on a comment no earlier than ``judged_at`` seconds
    after the start, and takes it for ``judgement`` (1 spam, 0 ham); both are None for a comment that nobody judges.
    """

    at: float
    kind: str
    reader: str
    post: str = ""
    key: str = ""
    comment: Comment | None = None
    judged_at: float | None = None
    judgement: int | None = None


@dataclass(frozen=True)
class Spike:
    """From ``start`` on, for ``seconds``, readers and commenters come ``factor`` times as often (0: nobody)."""

    start: float
    seconds: float
    factor: float


@dataclass(frozen=True)
class Burst:
    """A campaign: from ``start`` on, for ``seconds``, ``per_second`` of ``comments`` from few ``addresses`` on top."""

    start: float
    seconds: float
    per_second: float
    comments: Sequence[Comment]
    addresses: int = 3


@dataclass(frozen=True)
class Moderators:
    """Somebody looks at the moderation queue ``every`` so many seconds.

    A comment is decided after a log-normal delay with median ``delay`` seconds (about half of the delays lie within
    a factor of two), wrongly with probability ``error_rate``.
    """

    every: float = 1.0
    delay: float = 5.0
    error_rate: float = 0.02


def comments_from(frame: "pd.DataFrame") -> list[Comment]:
    """Return the comments of a frame in its order: ``text``, and if there ``label``, ``author_id``, ``campaign``.

    Raises ``ParameterError`` when there is no ``text``.
    """
    if "text" not in frame:
        raise ParameterError(f"the frame has the columns {', '.join(map(str, frame.columns))}; needed is text")
    import pandas as pd

    texts = frame["text"].astype(str)
    labels = frame["label"] if "label" in frame else [None] * len(frame)
    authors = frame["author_id"].astype(str) if "author_id" in frame else [f"reader-{k}" for k in range(len(frame))]
    campaigns = frame["campaign"].astype(str) if "campaign" in frame else [""] * len(frame)
    return [
        Comment(text, None if pd.isna(label) else int(label), author, campaign)
        for text, label, author, campaign in zip(texts, labels, authors, campaigns, strict=True)
    ]


def plan(
    comments: Sequence[Comment],
    *,
    rate: float,
    seconds: float,
    seed: int,
    reads_per_comment: float = 0.0,
    posts: Sequence[str] = (),
    spikes: Sequence[Spike] = (),
    campaigns: Sequence[Burst] = (),
    moderators: Moderators | None = None,
) -> list[Arrival]:
    """Return the arrivals of ``seconds`` seconds in order of time; the same arguments give the same plan.

    On average ``rate`` comments come a second, taken from ``comments`` in turn and from the beginning when they are
    used up, and ``reads_per_comment`` times as many readings. The k-th of ``posts`` (ids; by default those that a new
    blog begins with) is visited in proportion to 1/k.
    Spikes multiply (together, where they overlap) comments and readings alike.

    Raises ``ParameterError`` for an argument out of range, naming what is accepted.
    """
    _check(comments, rate, seconds, seed, reads_per_comment, spikes, campaigns, moderators)
    draws = _Draws(seed, tuple(posts) or _first_posts(), moderators)
    arrivals = list(draws.comments((0,), comments, [(0.0, rate), *_steps(rate, spikes)], seconds))
    arrivals += draws.reads((1,), [(0.0, rate * reads_per_comment), *_steps(rate * reads_per_comment, spikes)], seconds)
    for number, burst in enumerate(campaigns):
        steps = [(0.0, 0.0), (burst.start, burst.per_second), (burst.start + burst.seconds, 0.0)]
        arrivals += draws.comments((2, number), burst.comments, steps, seconds, burst.addresses)
    if moderators is not None:
        looks = range(1, int(seconds / moderators.every) + 1)
        arrivals += [
            Arrival(k * moderators.every, "moderate", "10.0.0.1") for k in looks if k * moderators.every < seconds
        ]
    return sorted(arrivals, key=lambda arrival: arrival.at)


def _first_posts() -> tuple[str, ...]:
    text = files("mlops_helpers.serve").joinpath("posts.toml").read_text(encoding="utf-8")
    return tuple(post["id"] for post in tomllib.loads(text)["post"])


def _steps(rate: float, spikes: Sequence[Spike]) -> list[tuple[float, float]]:
    """Return (from when on, rate) at each moment at which a spike begins or ends."""
    steps = []
    for moment in sorted({m for s in spikes for m in (s.start, s.start + s.seconds)}):
        now = rate
        for spike in spikes:
            now *= spike.factor if spike.start <= moment < spike.start + spike.seconds else 1
        steps.append((moment, now))
    return steps


class _Draws:
    """Random streams by name, each used for one array: no draw depends on how many others there are."""

    def __init__(self, seed: int, posts: tuple[str, ...], moderators: Moderators | None) -> None:
        self.seed, self.posts, self.moderators = seed, posts, moderators

    def stream(self, *name: int) -> "np.random.Generator":
        import numpy as np

        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=name))

    def moments(self, name: tuple[int, ...], steps: list[tuple[float, float]], seconds: float) -> "np.ndarray":
        """Draw a Poisson process of unit rate and stretch it to the rates, each of which holds until the next step."""
        import numpy as np

        start, rate = np.array(steps).T
        reached = np.concatenate([[0.0], np.cumsum(rate[:-1] * np.diff(start))])
        last = np.searchsorted(start, seconds, side="right") - 1
        load = reached[last] + rate[last] * (seconds - start[last])
        rng, gaps = self.stream(*name, 0), np.empty(0)
        while gaps.sum() <= load:
            gaps = np.append(gaps, rng.exponential(size=round(load + 5 * load**0.5 + 20)))
        unit = np.cumsum(gaps)
        unit = unit[unit < load]
        step = np.searchsorted(reached, unit, side="right") - 1
        at = start[step] + (unit - reached[step]) / rate[step]  # not np.interp: its rounding depends on the end
        return at[at < seconds]

    def where(self, name: tuple[int, ...], n: int, addresses: int) -> Iterator[tuple[str, str]]:
        import numpy as np

        weights = 1 / np.arange(1, len(self.posts) + 1)
        post = np.searchsorted(np.cumsum(weights) / weights.sum(), self.stream(*name, 1).random(n), side="right")
        numbers = (self.stream(*name, 2).random(n) * (addresses or 2**24)).astype(int)
        for k, number in zip(np.minimum(post, len(self.posts) - 1), numbers, strict=True):
            # campaigns come from a network of their own; honest readers from so many addresses that none repeats much
            reader = (
                f"198.51.100.{number + 1}" if addresses else f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
            )
            yield self.posts[k], reader

    def comments(
        self, name: tuple[int, ...], source: Sequence[Comment], steps: list, seconds: float, addresses: int = 0
    ) -> Iterator[Arrival]:
        moments = self.moments(name, steps, seconds).tolist()
        n = len(moments)
        spread, slips = self.stream(*name, 3).lognormal(0, 1, n).tolist(), self.stream(*name, 4).random(n).tolist()
        prefix = "-".join(map(str, (self.seed, *name)))
        for k, (at, (post, reader)) in enumerate(zip(moments, self.where(name, n, addresses), strict=True)):
            comment, judged_at, judgement = source[k % len(source)], None, None
            if self.moderators is not None and comment.label is not None:
                judged_at = at + self.moderators.delay * spread[k]
                judgement = comment.label ^ (slips[k] < self.moderators.error_rate)
            yield Arrival(at, "comment", reader, post, f"{prefix}-{k}", comment, judged_at, judgement)

    def reads(self, name: tuple[int, ...], steps: list, seconds: float) -> Iterator[Arrival]:
        moments = self.moments(name, steps, seconds).tolist()
        for at, (post, reader) in zip(moments, self.where(name, len(moments), 0), strict=True):
            yield Arrival(at, "read", reader, post)


def _check(
    comments: Sequence[Comment],
    rate: float,
    seconds: float,
    seed: int,
    reads: float,
    spikes: Sequence[Spike],
    campaigns: Sequence[Burst],
    moderators: Moderators | None,
) -> None:
    ranges: list[tuple[str, Any, float, float]] = [
        ("rate", rate, 0, 1e5),
        ("seconds", seconds, 0, 1e5),
        ("seed", seed, 0, 2**63),
        ("reads_per_comment", reads, 0, 1e5),
    ]
    for spike in spikes:
        ranges += [("start", spike.start, 0, 1e5), ("seconds", spike.seconds, 0, 1e5), ("factor", spike.factor, 0, 1e3)]
    for burst in campaigns:
        ranges += [("start", burst.start, 0, 1e5), ("seconds", burst.seconds, 0, 1e5)]
        ranges += [("per_second", burst.per_second, 0, 1e5), ("addresses", burst.addresses, 1, 254)]
    if moderators:
        ranges += [("every", moderators.every, 0.01, 1e5), ("delay", moderators.delay, 0, 1e5)]
        ranges += [("error_rate", moderators.error_rate, 0, 1)]
    for name, value, low, high in ranges:
        if not isfinite(value) or not low <= value <= high:
            raise ParameterError(
                f"{name} is {value!r}; accepted is a number from {low:g} to {high:g}, such as {name}=1"
            )
    for name, source in (("comments", comments), *(("a campaign's comments", c.comments) for c in campaigns)):
        if not source:
            raise ParameterError(f"{name} are empty; accepted is a list, for example comments_from(simulate(1000))")
