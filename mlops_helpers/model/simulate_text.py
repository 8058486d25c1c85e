"""Write the simulated comments' texts: templates filled for many at once, typing habits, obfuscation.

Every function takes the ``numpy.random.Generator`` it draws from: the caller decides which stream a text
depends on.
"""

import re
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import Generator
from numpy.typing import NDArray

__all__ = ["OBFUSCATIONS", "Writer", "read_world", "spread", "type_like_people"]

Texts = NDArray[np.object_]
Numbers = NDArray[np.int64]
Pattern = tuple[str, ...]  # literal, slot, literal, slot, ..., literal

SLOT = re.compile(r"\{(\w+)\}")
NO_END = re.compile(r"[\w})]$")
SKEW = 1.25  # > 1: earlier alternatives are drawn more often, as words are in language
ALPHABET = np.array(list("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"))
WORD = re.compile(r"(?<![\w./:@?=&$-])[^\W\d_]+(?![\w/:@=&-]|\.\w)")  # a word of letters that is no part of an address
ADDRESS = re.compile(r"\S*\w\.(?:\w+\.)*(?:example|test|invalid)\b\S*")


@cache
def read_world() -> dict[str, Any]:
    """Return the word material of ``world.toml``, read once."""
    return tomllib.loads(files("mlops_helpers.model").joinpath("world.toml").read_text(encoding="utf-8"))


def groups(choice: Numbers, count: int) -> Iterator[tuple[int, Numbers]]:
    """Yield ``(value, rows)`` for each value below ``count`` that occurs in ``choice``."""
    order = np.argsort(choice, kind="stable")
    edges = np.searchsorted(choice[order], np.arange(count + 1))
    for value in range(count):
        if edges[value] < edges[value + 1]:
            yield value, order[edges[value] : edges[value + 1]]


def spread(rng: Generator, n: int, weights: list[float]) -> Numbers:
    """Draw ``n`` indices in proportion to ``weights``; one uniform number each, so that rows stay in step."""
    edges = np.cumsum(weights) / np.sum(weights)
    return np.minimum(np.searchsorted(edges, rng.random(n), side="right"), len(weights) - 1)


class Writer:
    """Fills the templates of a world: one call writes the texts of many comments."""

    def __init__(self, world: dict[str, Any]) -> None:
        self.topics: list[str] = list(world["topic"])
        self.made: dict[str, Callable[[Generator, int], Texts]] = {
            "n": lambda rng, n: _strings(1 + (98 * rng.random(n) ** 2).astype(np.int64)),
            "year": lambda rng, n: _strings(2026 - (22 * rng.random(n) ** 1.5).astype(np.int64)),
            "big": _big_number,
            "code": lambda rng, n: rng.choice(ALPHABET, (n, 6)).view("U6").ravel().astype(object),
        }
        self.topical: dict[str, tuple[Texts, Numbers, Numbers]] = {}
        for slot in ("work", "part", "who", "name", "doing", "quality"):
            lists = [topic[slot] for topic in world["topic"].values()]
            sizes = np.array([len(words) for words in lists])
            flat = np.array([word for words in lists for word in words], dtype=object)
            self.topical[slot] = flat, np.cumsum(sizes) - sizes, sizes
        self.patterns: dict[str, list[Pattern]] = {
            name: [_parse(text) for text in texts] for name, texts in world["words"].items()
        }
        for name, family in [*world["ham"].items(), *world["spam"].items()]:
            ended = [t + "{end}" if NO_END.search(t) and not t.endswith("{url}") else t for t in family["templates"]]
            self.patterns[name] = [_parse(text) for text in ended]
        self.plain: dict[str, Texts] = {
            name: np.array([p[0] for p in patterns], dtype=object)
            for name, patterns in self.patterns.items()
            if all(len(p) == 1 for p in patterns)
        }

    def write(self, rng: Generator, family: Texts, topic: Numbers, templates: int | None = None) -> Texts:
        """Return one text per comment of the given family or ham kind, about the topic with the given index.

        ``templates`` limits each family to so many of its templates, drawn once.
        """
        texts = np.empty(len(family), dtype=object)
        names = sorted(set(family))
        code = pd.Categorical(family, categories=names).codes.astype(np.int64)
        for k, rows in groups(code, len(names)):
            few = self.patterns[names[k]]
            if templates is not None:
                few = [few[i] for i in rng.permutation(len(few))[:templates]]
            texts[rows] = self._choose(few, rng, topic[rows])
        return texts

    def ramble(self, rng: Generator, texts: Texts, topic: Numbers, more: Numbers) -> Texts:
        """Return the texts with ``more`` further sentences each, of what readers say in passing."""
        texts = texts.copy()
        for round_ in range(int(more.max(initial=0))):
            rows = np.flatnonzero(more > round_)
            texts[rows] += self.fill("gap", rng, topic[rows]) + self.fill("aside", rng, topic[rows])
        return texts

    def fill(self, slot: str, rng: Generator, topic: Numbers) -> Texts:
        """Draw the slot once per entry of ``topic``."""
        n = len(topic)
        if slot in self.made:
            return self.made[slot](rng, n)
        if slot in self.topical:
            flat, offset, size = self.topical[slot]
            return flat[offset[topic] + (rng.random(n) ** SKEW * size[topic]).astype(np.int64)]
        if slot in self.plain:
            return self.plain[slot][(rng.random(n) ** SKEW * len(self.plain[slot])).astype(np.int64)]
        return self._choose(self.patterns[slot], rng, topic)

    def _choose(self, patterns: list[Pattern], rng: Generator, topic: Numbers) -> Texts:
        texts = np.empty(len(topic), dtype=object)
        choice = (rng.random(len(topic)) ** SKEW * len(patterns)).astype(np.int64)
        for k, rows in groups(choice, len(patterns)):
            texts[rows] = self._join(patterns[k], rng, topic[rows])
        return texts

    def _join(self, pattern: Pattern, rng: Generator, topic: Numbers) -> Texts:
        texts = np.full(len(topic), pattern[0], dtype=object)
        for slot, literal in zip(pattern[1::2], pattern[2::2], strict=True):
            texts = texts + self.fill(slot, rng, topic)
            if literal:
                texts = texts + literal
        return texts


def _parse(template: str) -> Pattern:
    return tuple(SLOT.split(template))


def _strings(numbers: Numbers) -> Texts:
    return numbers.astype(str).astype(object)


def _big_number(rng: Generator, n: int) -> Texts:
    digits = (1 + 99 * rng.random(n) ** 2).astype(np.int64)
    shape = np.array(["00", ",000", "k", " million", ",000,000", "000", " thousand", "m"], dtype=object)
    return _strings(digits) + shape[rng.integers(len(shape), size=n)]


# ---------------------------------------------------------------------------------------- typing habits

SHORTHAND = {
    "you": "u", "are": "r", "your": "ur", "please": "plz", "because": "cuz", "love": "luv", "people": "ppl",
    "to": "2", "for": "4", "great": "gr8", "what": "wat", "with": "wit", "that": "dat", "the": "da",
    "really": "rly", "this": "dis", "thanks": "thx", "and": "n", "before": "b4", "want": "wanna",
    "have": "hav", "know": "kno", "good": "gud", "going": "gonna", "favorite": "fav", "subscribe": "sub",
    "everyone": "evry1", "video": "vid",
}  # fmt: skip


def _shorten(text: str, u: float) -> str:
    return " ".join([SHORTHAND.get(word.lower(), word) for word in text.split(" ")])


def _swap_letters(text: str, u: float) -> str:
    """Transpose two letters of one word, as quick fingers do."""
    words = [m for m in WORD.finditer(text) if len(m[0]) > 3]
    if not words:
        return text
    match = words[int(u * len(words))]
    at = match.start() + 1 + int(u * 997) % (len(match[0]) - 2)
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def _stretch(text: str, u: float) -> str:
    """Hold one vowel of one word: soooo."""
    ends = [m.end() - 1 for m in WORD.finditer(text) if m[0][-1] in "aeiouyAEIOUY"]
    if not ends:
        return text
    at = ends[int(u * len(ends))]
    return text[:at] + text[at] * (2 + int(u * 997) % 4) + text[at:]


HABITS: tuple[tuple[float, Callable[[str, float], str]], ...] = (
    (0.16, _shorten),
    (0.10, _swap_letters),
    (0.05, _stretch),
    (0.45, lambda text, u: text[:1].upper() + text[1:]),
    (0.28, lambda text, u: text.lower()),
    (0.07, lambda text, u: text.upper()),
    (0.06, lambda text, u: text + "!" * (1 + int(u * 6))),
)


def type_like_people(rng: Generator, texts: Texts) -> Texts:
    """Return the texts as typed by people: small letters, capitals, shorthand, typing errors, held vowels.

    Habits do not depend on the class: senders of spam are people too, or copy what people write.
    """
    texts = texts.copy()
    for share, habit in HABITS:
        u = rng.random(len(texts))
        rows = np.flatnonzero(u < share)
        texts[rows] = [habit(text, v) for text, v in zip(texts[rows], u[rows] / share, strict=True)]
    return texts


# ---------------------------------------------------------------------------------------- obfuscation

LEET = str.maketrans("aeiostAEIOST", "43105743105" + "7")
HOMOGLYPHS = str.maketrans("aceopxyABCEHKMOPTX", "асеорхуАВСЕНКМОРТХ")  # Latin letters -> Cyrillic look-alikes
ZERO_WIDTH = "\u200b"


def _on_words(change: Callable[[str], str]) -> Callable[[str], str]:
    """Apply ``change`` to a text's two longest words outside addresses: the words that a filter knows."""

    def obfuscate(text: str) -> str:
        longest = sorted({m[0] for m in WORD.finditer(text) if len(m[0]) > 2}, key=lambda w: (-len(w), w))[:2]
        return WORD.sub(lambda m: change(m[0]) if m[0] in longest else m[0], text)

    return obfuscate


def _dotted(text: str) -> str:
    return ADDRESS.sub(lambda m: m[0].replace("http://", "").replace("https://", "").replace(".", " dot "), text)


OBFUSCATIONS: dict[str, Callable[[str], str]] = {
    "leetspeak": _on_words(lambda word: word.translate(LEET)),
    "homoglyphs": _on_words(lambda word: word.translate(HOMOGLYPHS)),
    "zero_width": _on_words(lambda word: ZERO_WIDTH.join(word)),
    "spaced": _on_words(lambda word: " ".join(word)),
    "dotted_urls": _dotted,
}
