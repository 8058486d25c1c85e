"""A seeded blogging platform: what readers and senders of spam write, when, and what moderators say.

Background traffic, each campaign and each shift draw from random streams of their own. Switching a campaign
on adds its comments and changes nothing else; a shift rewrites only the comments that it touches.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import Generator, SeedSequence, default_rng
from numpy.typing import NDArray

from mlops_helpers.model.simulate_plan import FAMILIES, HAM_KINDS, SHIFTS, Campaign, Shift, check_plan
from mlops_helpers.model.simulate_text import OBFUSCATIONS, Writer, read_world, spread, type_like_people
from mlops_helpers.model.simulate_traffic import NIGHT, Seats, accounts, arrivals, kinds, open_posts, place

__all__ = ["FAMILIES", "HAM_KINDS", "SHIFTS", "Campaign", "Shift", "simulate"]

CAMPAIGN_TEMPLATES = 4  # a campaign spins few templates: near-duplicates, but seldom the same text twice
REPOSTED = 0.2  # of the background spam; real spam is full of copies, which flatter a careless split
# splitmix64: a bijection on 64 bits that leaves no visible order
MIXER = tuple(np.uint64(x) for x in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def simulate(
    n_comments: int = 20_000,
    days: float = 30.0,
    seed: int = 0,
    spam_rate: float = 0.3,
    campaigns: Sequence[Campaign] = (),
    shifts: Sequence[Shift] = (),
    label_noise: float = 0.02,
    label_delay_hours: float = 24.0,
    unlabelled: float = 0.2,
    start: str = "2026-01-01",
) -> pd.DataFrame:
    """Return the comments of ``days`` days, sorted by time; the same arguments give the same frame.

    ``n_comments`` (>= 0) counts the background traffic, of which ``spam_rate`` (0 to 1) is spam; campaigns
    come on top. Moderators see a comment after a log-normal delay with median ``label_delay_hours`` (about
    half of the delays lie within a factor of two), flip its label with probability ``label_noise`` (0 to 1)
    and never see the share ``unlabelled`` (0 to 1). ``start`` is the date of day 0.

    Columns: ``comment_id``, ``post_id``, ``author_id`` (opaque), ``group`` (the post's topic), ``created_at``
    (UTC), ``text``, ``label`` (the truth: 1 is spam), ``family`` (one of ``HAM_KINDS`` or ``FAMILIES``),
    ``campaign`` (``family-start`` or empty), ``obfuscated``, ``moderator_label`` (Int8, NA if never seen),
    ``labelled_at`` (UTC, NaT if never seen; may lie after the last comment, so compare it with your "now").

    Raises ``ParameterError`` for an argument out of range, naming what is accepted.
    """
    begin = check_plan(
        {
            "n_comments": n_comments,
            "days": days,
            "seed": seed,
            "spam_rate": spam_rate,
            "label_noise": label_noise,
            "label_delay_hours": label_delay_hours,
            "unlabelled": unlabelled,
        },
        start,
        campaigns,
        shifts,
    )
    seed = int(seed)
    streams = SeedSequence(seed).spawn(5)
    truth, wording, moderation, world, reposting = (default_rng(stream) for stream in streams)
    # spawn keys by position: the third campaign's stream does not depend on how many shifts there are
    campaign_seeds = SeedSequence(seed, spawn_key=(100,)).spawn(len(campaigns))
    shift_seeds = SeedSequence(seed, spawn_key=(200,)).spawn(len(shifts))

    posts = open_posts(world, n_comments, days)
    t = arrivals(truth, n_comments, days, begin)
    spam = truth.random(n_comments) < spam_rate
    family = np.where(spam, kinds(truth, n_comments, "spam"), kinds(truth, n_comments, "ham"))
    table = place(truth, t, family, accounts(truth, spam, n_comments), posts)
    table = _reposted(reposting, _written(wording, table), spam)
    disguised = spam & (wording.random(n_comments) < read_world()["background_obfuscation"])
    table = _disguise(wording, table, disguised)
    for shift, stream in zip(shifts, shift_seeds, strict=True):
        table = _shifted(default_rng(stream), table, shift, days)

    parts = [_moderated(moderation, table, label_noise, label_delay_hours, unlabelled)]
    load = sum(((t >= c.start) & (t < c.start + c.days)) * c.share for c in campaigns) + np.zeros(n_comments)
    for number, (campaign, stream) in enumerate(zip(campaigns, campaign_seeds, strict=True)):
        rng = default_rng(stream)
        extra = _written(rng, _burst(rng, campaign, number, t, load, days, posts), CAMPAIGN_TEMPLATES)
        extra = _disguise(rng, extra, rng.random(len(extra)) < campaign.obfuscation)
        parts.append(_moderated(rng, extra, label_noise, label_delay_hours, unlabelled))
    return _finished(pd.concat(parts, ignore_index=True), begin, seed)


def _written(rng: Generator, table: pd.DataFrame, templates: int | None = None) -> pd.DataFrame:
    family, topic = table["family"].to_numpy(dtype=object), table["topic"].to_numpy()
    texts = _writer().write(rng, family, topic, templates)
    # both real corpora have longer spam; here readers ramble more, lest length alone gives spam away
    more = rng.geometric(np.where(np.isin(family, FAMILIES), 0.85, 0.62)) - 1
    more += np.where(rng.random(len(table)) < 0.02, rng.integers(3, 12, len(table)), 0)  # the rare long ones
    texts = type_like_people(rng, _writer().ramble(rng, texts, topic, more))
    return table.assign(text=pd.Series(texts, index=table.index, dtype=object), obfuscated=False)


def _reposted(rng: Generator, table: pd.DataFrame, spam: NDArray[np.bool_]) -> pd.DataFrame:
    """Let senders of spam post some texts of the last hours again, from the same account."""
    rows = np.flatnonzero(spam)
    source = np.arange(len(rows)) - rng.geometric(0.02, len(rows))
    again = (rng.random(len(rows)) < REPOSTED) & (source >= 0)
    copied = ["author", "family", "text"]
    values = {name: table[name].to_numpy(dtype=object).copy() for name in copied}
    for column in values.values():
        column[rows[again]] = column[rows[source[again]]]
    return table.assign(**values).astype({"author": np.int64})


def _disguise(rng: Generator, table: pd.DataFrame, chosen: NDArray[np.bool_]) -> pd.DataFrame:
    """Obfuscate the chosen texts, one way each; where a way finds nothing to change, the next is tried."""
    texts = table["text"].to_numpy(dtype=object).copy()
    ways = list(OBFUSCATIONS.values())
    first = rng.integers(len(ways), size=len(texts))
    for row in np.flatnonzero(chosen):
        changed = (ways[(first[row] + k) % len(ways)](texts[row]) for k in range(len(ways)))
        texts[row] = next((text for text in changed if text != texts[row]), texts[row])
    return table.assign(text=texts, obfuscated=texts != table["text"].to_numpy(dtype=object))


def _shifted(rng: Generator, table: pd.DataFrame, shift: Shift, days: float) -> pd.DataFrame:
    t = table["t"].to_numpy()
    until = days if shift.days is None else shift.start + shift.days
    touched = (rng.random(len(t)) < shift.share) & (t >= shift.start) & (t < until)
    ham = np.isin(table["family"].to_numpy(dtype=object), HAM_KINDS)
    if shift.kind == "ham_links":
        touched &= ham
    rows = np.flatnonzero(touched)
    part, n = table.iloc[rows].copy(), len(rows)
    topic = part["topic"].to_numpy()
    texts = part["text"].to_numpy(dtype=object)
    writer, world = _writer(), read_world()
    if shift.kind == "rhythm":  # the same day, another hour
        hour = (spread(rng, n, list(NIGHT)) + rng.random(n)) / 24
        moved = np.floor(t[rows]) + hour
        part["t"] = np.where((moved >= shift.start) & (moved < until), moved, t[rows])
    elif shift.kind == "new_topic":
        part["topic"] = writer.topics.index(world["new_topic"])
        part["post"] = table["post"].max() + 1 + rng.integers(1 + n // 60, size=n)
        part = _written(rng, part)
    elif shift.kind == "new_slang":
        slang = np.array(world["slang"]["words"], dtype=object)
        part["text"] = texts + " " + slang[rng.integers(len(slang), size=n)]
    elif shift.kind == "longer_comments":
        part["text"] = writer.ramble(rng, texts, topic, rng.integers(2, 6, size=n))
    else:
        part["text"] = texts + " " + writer.fill("newsurl", rng, topic)
    if n == 0:
        return table
    kept = table.iloc[np.flatnonzero(~touched)]
    return pd.concat([kept, part]).sort_index()


def _burst(
    rng: Generator,
    c: Campaign,
    number: int,
    t: NDArray[np.float64],
    load: NDArray[np.float64],
    days: float,
    posts: Seats,
) -> pd.DataFrame:
    """Return a campaign's comments: so many that ``share`` holds beside campaigns that run meanwhile."""
    until = min(c.start + c.days, days)
    inside = (t >= c.start) & (t < until)
    weights = c.share / (1 - load[inside])
    n = round(float(weights.sum()))
    moments = rng.choice(t[inside], size=n, p=weights / weights.sum()) if n else np.empty(0)
    moments = np.clip(moments + rng.normal(0, 0.01, n), c.start, np.nextafter(until, 0))
    senders = 3 * len(t) + 100_000 * number + (c.authors * rng.random(n) ** 1.5).astype(np.int64)
    table = place(rng, moments, np.full(n, c.family, dtype=object), senders, posts)
    return table.assign(campaign=f"{c.family}-{c.start:g}")


def _moderated(rng: Generator, table: pd.DataFrame, noise: float, delay: float, unlabelled: float) -> pd.DataFrame:
    n = len(table)
    label = np.isin(table["family"].to_numpy(dtype=object), FAMILIES).astype(np.int8)
    flipped, hidden = rng.random(n) < noise, rng.random(n) < unlabelled
    seen = pd.Series(np.where(flipped, 1 - label, label), index=table.index, dtype="Int8").mask(hidden)
    hours = delay * rng.lognormal(0, 1.0, n)
    hours[hidden] = np.nan
    return table.assign(label=label.astype(np.int64), moderator_label=seen, seen=table["t"] + hours / 24)


def _finished(table: pd.DataFrame, begin: pd.Timestamp, seed: int) -> pd.DataFrame:
    """Sort by time, replace running numbers (they tell the class) by opaque ids, and name the columns."""
    topics = np.array(_writer().topics, dtype=object)
    frame = pd.DataFrame(
        {
            "comment_id": _opaque(np.arange(len(table)), 3 * seed),
            "post_id": _opaque(table["post"].to_numpy(), 3 * seed + 1),
            "author_id": _opaque(table["author"].to_numpy(), 3 * seed + 2),
            "group": topics[table["topic"].to_numpy(dtype=np.int64)],
            "created_at": begin + pd.to_timedelta((table["t"] * 86_400_000).round(), unit="ms"),
            "text": table["text"],
            "label": table["label"],
            "family": table["family"],
            "campaign": table["campaign"],
            "obfuscated": table["obfuscated"],
            "moderator_label": table["moderator_label"],
            "labelled_at": begin + pd.to_timedelta((table["seen"] * 86_400_000).round(), unit="ms"),
        }
    )
    words = dict.fromkeys(["comment_id", "post_id", "author_id", "group", "text", "family", "campaign"], "str")
    return frame.astype(words).sort_values("created_at", kind="stable", ignore_index=True)


def _opaque(numbers: NDArray[Any], key: int) -> NDArray[np.str_]:
    """Map numbers to 16 hexadecimal digits, one to one, so that neighbours look unrelated."""
    z = (numbers.astype(np.uint64) + np.uint64((key << 34) % 2**64)) * MIXER[0]
    z = (z ^ (z >> np.uint64(30))) * MIXER[1]
    z = (z ^ (z >> np.uint64(27))) * MIXER[2]
    z = z ^ (z >> np.uint64(31))
    digits = z.astype(">u8").tobytes().hex().encode("ascii")
    return np.frombuffer(digits, dtype="S16").astype("U16")


@cache
def _writer() -> Writer:
    return Writer(read_world())
