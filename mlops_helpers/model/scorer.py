"""Scores text with the tables of an artifact, as the pipeline would, with the standard library alone."""

import math
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["ANALYZERS", "Scorer"]

_WORDS = re.compile(r"(?u)\b\w\w+\b")  # scikit-learn's default token pattern; the format knows no other


def _word_terms(low: int, high: int) -> Callable[[str], Iterator[str]]:
    def terms(text: str) -> Iterator[str]:
        words = _WORDS.findall(text)
        for n in range(low, high + 1):
            for i in range(len(words) - n + 1):
                yield " ".join(words[i : i + n])

    return terms


def _char_wb_terms(low: int, high: int) -> Callable[[str], Iterator[str]]:
    def terms(text: str) -> Iterator[str]:
        for word in text.split():
            padded = f" {word} "
            for n in range(low, high + 1):
                yield padded[:n]
                if n >= len(padded):  # as scikit-learn: a word shorter than n counts once, and for no longer n
                    break
                for i in range(1, len(padded) - n + 1):
                    yield padded[i : i + n]

    return terms


ANALYZERS = {"word": _word_terms, "char_wb": _char_wb_terms}
"""How a text becomes terms: for each analyzer of scikit-learn, a function of the n-gram range."""


class Scorer:
    """Computes the spam score of a text from an artifact's tables.

    For each block: term frequencies (1 + ln tf where ``sublinear_tf``) times idf, scaled to unit length, times the
    coefficients; the sum of the blocks and the intercept goes through the logistic function.
    """

    def __init__(self, manifest: dict[str, Any], terms: list[list[str]], weights: array) -> None:
        self._intercept = float(manifest["intercept"])
        self._blocks = []
        at = 0
        for block, names in zip(manifest["blocks"], terms, strict=True):
            n = len(names)
            idf, coefficients = weights[at : at + n], weights[at + n : at + 2 * n]
            at += 2 * n
            table = dict(zip(names, zip(idf, coefficients, strict=True), strict=True))
            analyze = ANALYZERS[block["analyzer"]](*block["ngrams"])
            self._blocks.append((analyze, table, bool(block["sublinear_tf"])))

    def score(self, text: str) -> float:
        """Return the spam score of a text, 0 to 1."""
        text = text.lower()
        total = self._intercept
        for analyze, table, sublinear in self._blocks:
            dot = squares = 0.0
            for term, count in Counter(analyze(text)).items():
                weights = table.get(term)
                if weights is not None:
                    value = (1.0 + math.log(count) if sublinear else count) * weights[0]
                    dot += value * weights[1]
                    squares += value * value
            if squares:
                total += dot / math.sqrt(squares)
        if total >= 0:
            return 1.0 / (1.0 + math.exp(-total))
        odds = math.exp(total)  # the other form overflows here
        return odds / (1.0 + odds)
