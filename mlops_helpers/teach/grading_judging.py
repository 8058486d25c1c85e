"""What the ``checks.py`` of several labs judge with: numbers, dictionaries, and counts that only chance explains."""

from typing import Any

__all__ = ["RARE", "a_dictionary", "close", "is_number", "too_many"]

RARE = 1e-7
"""A right answer is rejected by a statistical check with at most this probability."""


def is_number(got: object) -> bool:
    """Say whether a result is a number: neither True nor a text that looks like one."""
    return type(got) in (int, float)


def close(got: object, wanted: float | None, within: float = 1e-6) -> bool:
    """Say whether a result is the wanted number, or None where None is wanted."""
    if wanted is None or not isinstance(got, int | float):
        return got is wanted
    return is_number(got) and abs(got - wanted) <= within


def a_dictionary(got: object, keys: set[str], what: str) -> dict[str, Any]:
    """Return the result if it is a dictionary with these keys. Raises ``AssertionError`` for the student."""
    assert isinstance(got, dict), (
        f"{what} returned {type(got).__name__}; a dictionary was asked for (return it, do not print it)"
    )
    missing = sorted(keys - set(got))
    assert not missing, f"the dictionary that {what} returned lacks {', '.join(missing)}"
    return got


def too_many(n: int, probability: float) -> int:
    """Return the least count that a binomial variable reaches with a probability of at most ``RARE``."""
    from scipy.stats import binom

    return int(binom.isf(RARE, n, probability)) + 1
