"""Which series are meant: a metric's name and what its labels must be, written as in Prometheus."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from mlops_helpers.errors import MetricsError

__all__ = ["Matcher", "Selector"]

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_SPACE = " \t\r\n"
_GAP = f"[{_SPACE}]*"
_MATCHER = re.compile(
    rf'{_GAP}([a-zA-Z_][a-zA-Z0-9_]*){_GAP}(=~|!~|!=|=){_GAP}"((?:[^"\\\n]|\\[abfnrtv\\"])*)"{_GAP}(?:,|$)'
)
# other escapes are refused: Prometheus refuses \d, and reads \101 and \u0041 as characters that can be written out
_ESCAPES = dict(zip('abfnrtv\\"', '\a\b\f\n\r\t\v\\"', strict=True))


@dataclass(frozen=True)
class Matcher:
    """One condition on a label; a label that a series lacks has the value ``""``, as in Prometheus.

    ``operator`` is ``=``, ``!=``, ``=~`` or ``!~``. Regular expressions match the whole value; here they are Python's,
    in Prometheus RE2's: what both understand (no look-around, no back-references) means the same.
    """

    label: str
    operator: str
    value: str

    def __call__(self, labels: Mapping[str, str]) -> bool:
        """Whether a series with these labels is meant."""
        found = labels.get(self.label, "")
        same = re.fullmatch(self.value, found, re.DOTALL) is not None if "~" in self.operator else found == self.value
        return same != self.operator.startswith("!")

    def __str__(self) -> str:
        escaped = self.value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
        return f'{self.label}{self.operator}"{escaped}"'


@dataclass(frozen=True)
class Selector:
    """``name{label="value",other=~"a|b"}``; ``str()`` writes it in the same form."""

    name: str
    matchers: tuple[Matcher, ...] = ()

    @classmethod
    @cache
    def parse(cls, text: str) -> "Selector":
        """Read a selector.

        Raises ``MetricsError`` for anything else: functions, ranges and arithmetic belong to the questions.
        """
        name, brace, rest = text.strip(_SPACE).partition("{")
        if not _NAME.fullmatch(name.strip(_SPACE)) or (brace and not rest.endswith("}")):
            raise MetricsError(_refusal(text))
        body, matchers, at = rest[:-1].strip(_SPACE), [], 0
        while at < len(body):
            found = _MATCHER.match(body, at)
            if found is None or found[1] == "__name__":
                raise MetricsError(_refusal(text))
            label, operator, raw = found.groups()
            value = re.sub(r"\\(.)", lambda escape: _ESCAPES[escape[1]], raw)
            if "~" in operator:
                try:
                    re.compile(value)
                except re.error as error:
                    raise MetricsError(f"{text!r}: {value!r} is no regular expression: {error}") from error
            matchers.append(Matcher(label, operator, value))
            at = found.end()
        return cls(name.strip(_SPACE), tuple(matchers))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a series of this name with these labels is meant."""
        return all(matcher(labels) for matcher in self.matchers)

    def where(self, label: str, value: str) -> "Selector":
        """Return the selector with one more condition, ``label="value"``."""
        return Selector(self.name, (*self.matchers, Matcher(label, "=", value)))

    def __str__(self) -> str:
        return self.name + ("{" + ",".join(map(str, self.matchers)) + "}" if self.matchers else "")


def _refusal(text: str) -> str:
    return (
        f"{text!r} selects no series; accepted: a metric's name and conditions on labels, "
        'such as http_requests_total{handler="/",code=~"5.."}'
    )
