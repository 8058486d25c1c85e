"""A client of a real Prometheus server: the questions of a metrics source, asked in PromQL over its HTTP API."""

from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import orjson

from mlops_helpers.errors import MetricsError
from mlops_helpers.observe import tables
from mlops_helpers.observe.questions import Floats, Millis
from mlops_helpers.observe.selector import Selector
from mlops_helpers.observe.source import MetricsSource, nothing_named
from mlops_helpers.observe.tables import By, Key, Rows

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Prometheus"]

_MOST_POINTS = 11_000  # of one series in one answer: the server's own bound


class Prometheus(MetricsSource):
    """Answers by the server at ``url``, such as ``http://127.0.0.1:9090``, within ``timeout`` seconds a request.

    Raises ``MetricsError`` for an ``url`` that is none.
    """

    def __init__(self, url: str, *, timeout: float = 10.0) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise MetricsError(f"{url!r} is no address of a server: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise MetricsError(f"{url!r} is no address of a server; accepted: such as http://127.0.0.1:9090")
        self.url, self._timeout, self._path = url.rstrip("/"), timeout, parts.path.rstrip("/")
        self._host, self._port, self._secure = parts.hostname, port, parts.scheme == "https"

    def targets(self) -> "pd.DataFrame":
        """Return job, instance, up (1, 0; NaN before the first scrape), last_scrape (UTC) and error of each target."""
        import pandas as pd

        up = {"up": 1.0, "down": 0.0}
        rows = []
        for target in self._ask("targets", {"state": "active"}, method="GET")["activeTargets"]:
            labels, state = target["labels"], up.get(target["health"], np.nan)
            scraped = None if np.isnan(state) else pd.Timestamp(target["lastScrape"]).timestamp() * 1000
            rows.append((labels.get("job", ""), labels.get("instance", ""), state, scraped, target["lastError"]))
        return tables.targets(rows)

    def _samples(self, selector: Selector, start: int, end: int) -> Iterator[tuple[Key, Millis, Floats]]:
        # one millisecond more, and what is too early left out: Prometheus 3 excludes the beginning of a range
        found = self._ask("query", {"query": f"{selector}[{end - start + 1}ms]", "time": _seconds(end)})["result"]
        self._require(selector, found)
        for series in found:
            times = np.array([round(time * 1000) for time, _ in series["values"]], np.int64)
            values = np.array([float(value) for _, value in series["values"]])
            yield _key(series["metric"], name=True), times[times >= start], values[times >= start]

    def _increase(self, selector: Selector, window: int, times: Millis, by: By) -> Rows:
        return self._answer(_summed(f"increase({selector}[{window}ms])", by), selector, times)

    def _quantile(self, q: float, buckets: Selector, window: int, times: Millis, by: By) -> Rows:
        grown = _summed(f"increase({buckets}[{window}ms])", None if by is None else (*by, "le"))
        return self._answer(f"histogram_quantile({float(q)!r}, {grown})", buckets, times)

    def _value(self, selector: Selector, times: Millis, by: By) -> Rows:
        return self._answer(_summed(str(selector), by), selector, times)

    def _answer(self, query: str, selector: Selector, times: Millis) -> Rows:
        rows: dict[Key, Floats] = {}
        step = int(times[1] - times[0]) if len(times) > 1 else 1
        for begin in range(0, len(times), _MOST_POINTS):
            some = times[begin : begin + _MOST_POINTS]
            asked = {"query": query, "start": _seconds(some[0]), "end": _seconds(some[-1]), "step": _seconds(step)}
            for series in self._ask("query_range", asked)["result"]:
                row = rows.setdefault(_key(series["metric"]), np.full(len(times), np.nan))
                at = np.array([round(time * 1000) for time, _ in series["values"]], np.int64)
                row[(at - times[0]) // step] = [float(value) for _, value in series["values"]]
        self._require(selector, rows)
        return rows

    def _require(self, selector: Selector, found: Any) -> None:
        """Tell "nothing now" from "no such metric"."""
        if not found:
            names = self._ask("label/__name__/values", {}, method="GET")
            if selector.name not in names:
                raise nothing_named(selector.name, names)

    def _ask(self, what: str, form: Mapping[str, str], *, method: str = "POST") -> Any:
        kind = HTTPSConnection if self._secure else HTTPConnection
        connection = kind(self._host, self._port, timeout=self._timeout)
        path, body = f"{self._path}/api/v1/{what}", urlencode(form)
        try:
            if method == "GET":
                connection.request("GET", f"{path}?{body}")
            else:
                connection.request("POST", path, body, {"content-type": "application/x-www-form-urlencoded"})
            response = connection.getresponse()
            text = response.read()
        except (OSError, HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise MetricsError(f"no answer from Prometheus at {self.url}: {reason}. Next: is it running?") from error
        finally:
            connection.close()
        try:
            answer = orjson.loads(text)
            status = answer["status"]
        except (ValueError, TypeError, KeyError) as error:
            shown = text[:80].decode(errors="replace")
            raise MetricsError(f"{self.url} is no Prometheus: it answers {response.status} {shown!r}") from error
        if status != "success":
            raise MetricsError(f"Prometheus at {self.url} refuses {form.get('query', what)!r}: {answer.get('error')}")
        return answer["data"]


def _summed(query: str, by: By) -> str:
    return query if by is None else f"sum by ({', '.join(by)}) ({query})"


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds // 1000}.{milliseconds % 1000:03}"


def _key(metric: Mapping[str, str], *, name: bool = False) -> Key:
    return tuple(sorted((label, value) for label, value in metric.items() if name or label != "__name__"))
