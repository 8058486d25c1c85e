"""Series as a service would have them, made from the selectors that shall find them: food for tests of rules."""

from collections.abc import Iterable, Sequence
from re import _parser  # type: ignore[attr-defined]  # the only reader of patterns that Python has
from typing import Any

from mlops_helpers.errors import ObjectiveError
from mlops_helpers.observe.objectives import Indicator
from mlops_helpers.observe.selector import Matcher, Selector

__all__ = ["example", "series_of"]

_USUAL = ("ok", "200", "0", "", "other")
_NEGATED = {"=": "!=", "!=": "=", "=~": "!~", "!~": "=~"}


def series_of(indicator: Indicator) -> dict[str, Selector]:
    """Return a series for each part of an indicator, with ``=`` only.

    Parts are ``good`` and ``bad`` events; or ``total`` and one of them, which are other metrics; or ``total`` alone.

    Raises ``ObjectiveError`` when no labels can be found that tell the parts apart.
    """
    total, good, bad = indicator.total, indicator.good, indicator.bad
    if good and good.name == total.name:
        return {"good": example(total, good.matchers), "bad": example(total, but_not=good.matchers)}
    if bad and bad.name == total.name:
        return {"good": example(total, but_not=bad.matchers), "bad": example(total, bad.matchers)}
    parts = {"total": total, "good": good, "bad": bad}
    return {part: example(selector) for part, selector in parts.items() if selector}


def example(selector: Selector, also: Iterable[Matcher] = (), *, but_not: Sequence[Matcher] = ()) -> Selector:
    """Return one series that ``selector`` and all of ``also`` match, but not all of ``but_not``.

    Raises ``ObjectiveError`` when none was found.
    """
    wanted = (*selector.matchers, *also)
    excluded = [Matcher(one.label, _NEGATED[one.operator], one.value) for one in but_not]
    for matchers in [(*wanted, other) for other in excluded] if but_not else [wanted]:
        labels = {label: _value([one for one in matchers if one.label == label]) for label in _labels(matchers)}
        if None not in labels.values():
            return Selector(
                selector.name, tuple(Matcher(label, "=", value) for label, value in labels.items() if value)
            )
    raise ObjectiveError(
        f"no series was found that {Selector(selector.name, wanted)} matches"
        + (f" and {{{','.join(map(str, but_not))}}} does not" if but_not else "")
        + "; accepted: conditions that some labels meet. Next: simpler conditions"
    )


def _labels(matchers: Iterable[Matcher]) -> list[str]:
    return list(dict.fromkeys(matcher.label for matcher in matchers))


def _value(matchers: Sequence[Matcher]) -> str | None:
    """Return a value of their label that all of them accept; None: none was found."""
    candidates = [one.value for one in matchers if one.operator == "="]
    candidates += [
        text for fill in "05a" for one in matchers if one.operator == "=~" for text in _text(one.value, fill)
    ]
    label = matchers[0].label
    return next((text for text in (*candidates, *_USUAL) if all(one({label: text}) for one in matchers)), None)


def _text(pattern: str, fill: str) -> list[str]:
    """Return a short text that the pattern probably matches, ``fill`` where any character does."""
    try:
        return ["".join(_piece(piece, fill) for piece in _parser.parse(pattern))]
    except (LookupError, TypeError, ValueError):  # what is rare in labels, such as look-around
        return []


def _piece(piece: tuple[Any, Any], fill: str) -> str:
    kind, what = str(piece[0]), piece[1]
    if kind == "LITERAL":
        return chr(what)
    if kind in ("ANY", "NOT_LITERAL"):
        return fill
    if kind == "AT":
        return ""
    if kind == "RANGE":
        return chr(what[0])
    if kind == "CATEGORY":
        return {"CATEGORY_DIGIT": "0", "CATEGORY_WORD": "a", "CATEGORY_SPACE": " "}[str(what)]
    if kind == "IN":
        return fill if str(what[0][0]) == "NEGATE" else _piece(what[0], fill)
    if kind in ("MAX_REPEAT", "MIN_REPEAT"):
        return "".join(_piece(each, fill) for each in what[2]) * what[0]
    return "".join(_piece(each, fill) for each in {"SUBPATTERN": what[-1], "BRANCH": what[-1][0]}[kind])
