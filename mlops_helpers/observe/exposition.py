"""Reading what a target exposes: the Prometheus text format.

prometheus_client's parser decides what a line means. It needs some 20 us a line, but from scrape to scrape only values
change: what it said about the part before the value is remembered, and a repeated scrape costs about 1 us a line.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from mlops_helpers.errors import MetricsError

__all__ = ["Exposition", "LabelSet", "Reader"]

ACCEPTED = 'accepted: the Prometheus text format, such as http_requests_total{code="200"} 1027'
_COUNTED = {"counter": ("",), "histogram": ("_bucket", "_count"), "summary": ("_count",)}
_LONGEST = 16_384  # bytes of name and labels: the parser's time grows with the square of it


@dataclass(frozen=True, eq=False, slots=True)
class LabelSet:
    """Which series a line is about: its labels, ``__name__`` included, and whether its type says that it counts.

    One reader gives the same object for the same labels, so that it can be looked up by identity.
    """

    labels: Mapping[str, str]
    counts: bool


@dataclass(frozen=True, slots=True)
class Exposition:
    """What one scrape said: a value of each series, and times (ms) of those lines that state one.

    ``duplicates`` lines were about a series that an earlier line had: the first one is kept.
    """

    samples: dict[LabelSet, float]
    times: dict[LabelSet, int]
    duplicates: int


class Reader:
    """Reads the expositions of one target, at most ``most_bytes`` long, with at most ``most_series`` series."""

    def __init__(self, *, most_bytes: int = 8 << 20, most_series: int = 10_000) -> None:
        self.most_bytes, self.most_series = most_bytes, most_series
        self._forget()

    def _forget(self) -> None:
        self._known: dict[bytes, LabelSet] = {}  # the part of a line before its value
        self._interned: dict[tuple[tuple[str, str], ...], LabelSet] = {}
        self._comments: set[bytes] = set()
        self._counting: set[str] = set()

    def read(self, body: bytes) -> Exposition:
        """Read one exposition.

        Raises ``MetricsError`` naming the first line that cannot be read, or the bound that is exceeded.
        """
        if len(body) > self.most_bytes:
            raise MetricsError(f"the exposition has {len(body):,} bytes; accepted: at most {self.most_bytes:,}")
        try:
            body.decode()
        except UnicodeDecodeError as error:
            number = body.count(b"\n", 0, error.start) + 1
            raise MetricsError(f"line {number} is not UTF-8: {error.reason}; {ACCEPTED}") from error
        if len(self._known) + len(self._comments) > 4 * self.most_series:
            self._forget()  # labels that change for ever must not fill the memory
        samples: dict[LabelSet, float] = {}
        times: dict[LabelSet, int] = {}
        lines, known, others = body.split(b"\n"), self._known, 0
        for number, line in enumerate(lines, 1):
            prefix, _, rest = line.rpartition(b" ")
            labels = known.get(prefix)
            try:
                if labels is None or b"_" in rest:
                    raise ValueError
                samples.setdefault(labels, float(rest))
            except ValueError:
                words = line.lstrip()
                if not words or words.startswith(b"#"):
                    others += 1
                    if line not in self._comments:
                        self._comment(line, number)
                    continue
                labels, value, time = self._slowly(line, number)
                if labels not in samples and time is not None:
                    times[labels] = time
                samples.setdefault(labels, value)
                if len(samples) > self.most_series:
                    raise MetricsError(
                        f"line {number}: more than {self.most_series:,} series; accepted: fewer. "
                        "A label whose values never end (a user, a path, a request id) makes a series of each"
                    ) from None
        if lines[-1]:
            raise _refusal(len(lines), lines[-1], "the last line has no line feed: the text was cut off")
        return Exposition(samples, times, len(lines) - others - len(samples))

    def _slowly(self, line: bytes, number: int) -> tuple[LabelSet, float, int | None]:
        """Read a line that is new, or that states a time, or that is no sample at all."""
        brace = line.rfind(b"}") + 1
        prefix, *rest = [line[:brace], *line[brace:].split()] if brace else line.split()
        try:
            if not 1 <= len(rest) <= 2 or any(b"_" in word for word in rest):
                raise ValueError("after the name and its labels come a value and perhaps a time in milliseconds")
            value, time = float(rest[0]), int(rest[1]) if rest[1:] else None
            labels = self._known.get(prefix)
            if labels is None:
                labels = self._known[prefix] = self._parsed(prefix)
        except ValueError as error:
            raise _refusal(number, line, str(error)) from error
        return labels, value, time

    def _parsed(self, prefix: bytes) -> LabelSet:
        if len(prefix) > _LONGEST:
            raise ValueError(f"name and labels have {len(prefix):,} bytes; at most {_LONGEST:,}")
        ((sample,),) = (family.samples for family in text_string_to_metric_families(f"{prefix.decode()} 0"))
        if sample.value != 0 or sample.timestamp is not None:  # of OpenMetrics, where more may follow the value
            raise ValueError("a second pair of braces: an exemplar")
        labels = {name: value for name, value in sorted(sample.labels.items()) if value}  # "" is the same as no label
        labels = {"__name__": sample.name, **labels}
        return self._interned.setdefault(tuple(labels.items()), LabelSet(labels, sample.name in self._counting))

    def _comment(self, line: bytes, number: int) -> None:
        self._comments.add(line)
        if line.split(None, 2)[1:2] != [b"TYPE"]:
            return
        try:
            if len(line) > _LONGEST:
                raise ValueError(f"the line has {len(line):,} bytes; at most {_LONGEST:,}")
            for family in text_string_to_metric_families(line.decode()):
                # the parser takes "_total" from a counter's name; samples have it
                name = line.decode().split()[2] if family.type == "counter" else family.name
                self._counting |= {name + suffix for suffix in _COUNTED.get(family.type, ())}
        except ValueError as error:
            raise _refusal(number, line, str(error)) from error


def _refusal(number: int, line: bytes, reason: str) -> MetricsError:
    shown = repr(line[:80].decode(errors="replace")) + ("..." if len(line) > 80 else "")
    advice = "; it looks like a web page: is the path right?" if line.lstrip()[:1] == b"<" else ""
    return MetricsError(f"line {number} is {shown}: {reason[:120] or 'not understood'}{advice}; {ACCEPTED}")
