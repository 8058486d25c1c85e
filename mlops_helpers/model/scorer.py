"""Scores text with the tables of an artifact, as the pipeline would, with the standard library alone.

A block of terms adds ``sum(tf * product) / sqrt(sum(tf**2 * square))`` to the log-odds, with ``product = idf *
coefficient`` and ``square = idf**2`` computed at export. Nearly every term of a comment occurs once. So both sums are
formed once for each chunk of text between white space and remembered; a comment adds those of its chunks, looks up
the n-grams that span several words, and corrects both sums for the few terms that occur again.

A score depends on the text only, to the last bit: never on what was scored before or on other threads.
"""

import math
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import chain
from operator import itemgetter
from typing import Any, Protocol

__all__ = ["ANALYZERS", "Scorer", "Scoring"]

REMEMBERED_CHUNKS = 8192
LONGEST_REMEMBERED = 40  # characters; with the number of chunks it bounds the memory to some megabytes
_INDEX = "I"
_NO_INDICES = array(_INDEX)
_find_words = re.compile(r"(?u)\b\w\w+\b").findall  # scikit-learn's default pattern; the format knows no other


Floats = Iterable[float]
_Piece = tuple[float, float, bytes, tuple[str, ...]]


class Scoring(Protocol):
    """What a service needs of a model, whatever its format."""

    def score(self, text: str) -> float:
        """Return the spam score of a text, 0 to 1."""

    def scores(self, texts: Sequence[str]) -> list[float]:
        """Return the spam score of each text."""


class _Block:
    """The terms of one vectorizer. A *piece* is what one chunk adds to a block: both sums, and its terms' indices."""

    def __init__(self, block: dict[str, Any], terms: list[str], squares: array, products: array) -> None:
        self.low, self.high = block["ngrams"]
        self.sublinear = block["sublinear_tf"]
        index = dict(zip(terms, range(1, len(terms) + 1), strict=True))  # from 1: filter(None) drops unknown terms
        if len(index) != len(terms):
            raise ValueError("terms are not distinct")
        self.find = index.get
        self.squares, self.products = array("d", [0.0]) + squares, array("d", [0.0]) + products

    def known(self, terms: Iterable[str]) -> array:
        return array(_INDEX, filter(None, map(self.find, terms)))

    def sums(self, indices: array) -> tuple[float, float, bytes]:
        # fsum: its error does not grow with the number of terms; bytes: small, and joined at once
        return (
            math.fsum(map(self.products.__getitem__, indices)),
            math.fsum(map(self.squares.__getitem__, indices)),
            indices.tobytes(),
        )

    def total(self, products: Iterable[float], squares: Iterable[float], indices: array) -> float:
        """Return what the block adds to the log-odds, given sums in which each occurrence counts in full."""
        seen: set[int] = set()
        add = seen.add
        again = (index for index in indices if index in seen or add(index))  # add() returns None
        product, square, sublinear = math.fsum(products), math.fsum(squares), self.sublinear
        product_of, square_of = self.products, self.squares
        for index, more in Counter(again).items():
            count = more + 1
            tf = 1.0 + math.log(count) if sublinear else count
            product += (tf - count) * product_of[index]
            square += (tf * tf - count) * square_of[index]
        return product / math.sqrt(square) if square > 0 else 0.0


class _Words(_Block):
    def piece(self, chunk: str) -> _Piece:
        words = tuple(_find_words(chunk))
        return *self.sums(self.known(words) if self.low == 1 else _NO_INDICES), words

    def value(self, products: Floats, squares: Floats, indices: array, words: Iterable[tuple[str, ...]]) -> float:
        """Add the n-grams of several words, which may lie in several chunks."""
        flat = list(chain.from_iterable(words))
        for n in range(max(self.low, 2), self.high + 1):
            spanning = self.known(map(" ".join, zip(*(flat[start:] for start in range(n)), strict=False)))
            products, squares = (
                chain(products, map(self.products.__getitem__, spanning)),
                chain(squares, map(self.squares.__getitem__, spanning)),
            )
            indices += spanning
        return self.total(products, squares, indices)


class _Characters(_Block):
    def piece(self, chunk: str) -> _Piece:
        padded = f" {chunk} "
        if len(chunk) <= LONGEST_REMEMBERED:
            return *self.sums(self.known(_cut(len(padded), self.low, self.high)(padded))), ()
        return *self.sums(self.known(padded[where] for where in _slices(len(padded), self.low, self.high))), ()

    def value(self, products: Floats, squares: Floats, indices: array, words: Iterable[tuple[str, ...]]) -> float:
        return self.total(products, squares, indices)


ANALYZERS: dict[str, type[_Words] | type[_Characters]] = {"word": _Words, "char_wb": _Characters}
"""How a text becomes terms, by scikit-learn's name of the analyzer."""


def _slices(length: int, low: int, high: int) -> Iterator[slice]:
    """Yield where the n-grams of a padded chunk are."""
    for n in range(low, high + 1):
        yield slice(0, n)
        if n >= length:  # as scikit-learn: a chunk shorter than n counts once, and for no longer n
            break
        yield from (slice(start, start + n) for start in range(1, length - n + 1))


@lru_cache(maxsize=4 * LONGEST_REMEMBERED)
def _cut(length: int, low: int, high: int) -> Callable[[str], tuple[str, ...]]:
    """Return what cuts a padded chunk of that length into its n-grams, and "" (for one item alone gives no tuple)."""
    return itemgetter(slice(0), *_slices(length, low, high))


def _pieces(blocks: list[_Words | _Characters], chunk: str) -> tuple[Any, ...]:
    return tuple(chain.from_iterable([block.piece(chunk) for block in blocks]))


class Scorer:
    """Computes the spam score of a text from an artifact's tables; may be used by several threads at once."""

    def __init__(self, manifest: dict[str, Any], terms: list[list[str]], weights: array) -> None:
        self._intercept = float(manifest["intercept"])
        self._blocks = []
        at = 0
        for block, names in zip(manifest["blocks"], terms, strict=True):
            n = len(names)
            tables = weights[at : at + n], weights[at + n : at + 2 * n]
            self._blocks.append(ANALYZERS[block["analyzer"]](block, names, *tables))
            at += 2 * n
        # of the blocks, not of self: without a cycle a replaced scorer is freed at once, even after gc.freeze()
        self._piece = partial(_pieces, self._blocks)
        self._remembered = lru_cache(maxsize=REMEMBERED_CHUNKS)(self._piece)

    def score(self, text: str) -> float:
        """Return the spam score of a text, 0 to 1."""
        chunks = text.lower().split()
        remembered = len(max(chunks, key=len, default="")) <= LONGEST_REMEMBERED
        columns = list(zip(*map(self._remembered if remembered else self._any_piece, chunks), strict=True))
        total = self._intercept
        for block, at in zip(self._blocks, range(0, len(columns), 4), strict=False):  # no column without a chunk
            products, squares, indices, words = columns[at : at + 4]
            total += block.value(products, squares, array(_INDEX, b"".join(indices)), words)
        if total >= 0:
            return 1.0 / (1.0 + math.exp(-total))
        odds = math.exp(total)  # the other form overflows here
        return odds / (1.0 + odds)

    def scores(self, texts: Sequence[str]) -> list[float]:
        """Return the spam score of each text."""
        return [self.score(text) for text in texts]

    def _any_piece(self, chunk: str) -> tuple[Any, ...]:
        return (self._remembered if len(chunk) <= LONGEST_REMEMBERED else self._piece)(chunk)
