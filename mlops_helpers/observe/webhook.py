"""A page as JSON: the form in which Alertmanager calls a webhook (version 4), read and written."""

import http.client
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from mlops_helpers.errors import MetricsError, ServiceError

__all__ = ["Page", "parse", "send"]

_SEND_SECONDS = 10.0
_NEVER = "0001-01-01T00:00:00Z"  # how Go writes that there is no time


@dataclass(frozen=True)
class Page:
    """What one alert had to tell: ``status`` is ``firing`` or ``resolved``.

    Times are seconds since the epoch: ``starts_at`` of the alert, ``ends_at`` of a resolved one, ``received`` here (0
    while it was not).
    """

    alert: str
    status: str
    starts_at: float
    ends_at: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    received: float = 0.0


def parse(body: bytes) -> list[Page]:
    """Read the pages of one call, as received now.

    Raises ``MetricsError`` saying what is wrong with anything else.
    """
    try:
        call = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MetricsError(f"the body is no JSON: {error}") from None
    alerts = call.get("alerts") if isinstance(call, dict) else None
    if not isinstance(alerts, list) or call.get("version") != "4":
        raise MetricsError('the body is no call of an Alertmanager; accepted: an object with version "4" and alerts')
    now = time.time()
    return [_page(alert, now) for alert in alerts]


def _page(alert: Any, now: float) -> Page:
    try:
        labels, annotations = _texts(alert["labels"]), _texts(alert.get("annotations") or {})
        name, status = labels["alertname"], alert["status"]
        starts_at, ends_at = _seconds(alert["startsAt"]), _seconds(alert.get("endsAt") or _NEVER)
        if status not in ("firing", "resolved") or starts_at is None:
            raise ValueError("status is firing or resolved, and an alert has a start")
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise MetricsError(
            f"an alert cannot be read: {error!r}; accepted: status, labels with alertname, startsAt"
        ) from None
    return Page(name, status, starts_at, ends_at if status == "resolved" else None, labels, annotations, now)


def _texts(pairs: Mapping[Any, Any]) -> dict[str, str]:
    if not all(isinstance(key, str) and isinstance(value, str) for key, value in pairs.items()):
        raise ValueError("labels and annotations are texts")
    return dict(pairs)


def _seconds(text: str) -> float | None:
    moment = datetime.fromisoformat(text)
    if moment.year == 1:
        return None
    if moment.tzinfo is None or not 1970 < moment.year < 2200:
        raise ValueError(f"{text!r} is no time in UTC of these days")
    return moment.timestamp()


def send(url: str, pages: Iterable[Page]) -> None:
    """Call a webhook with pages, as Alertmanager would (once: it does not try again).

    Raises ``ServiceError`` when it does not take them.
    """
    alerts = [_alert(page) for page in pages]
    status = "firing" if any(alert["status"] == "firing" for alert in alerts) else "resolved"
    call = {"version": "4", "status": status, "receiver": "page", "alerts": alerts}
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=_SEND_SECONDS)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", path, json.dumps(call), {"content-type": "application/json"})
        reply = connection.getresponse()
        said = reply.read(1000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise ServiceError(f"the receiver of alerts at {url} does not answer: {error!r}. Next: start it") from error
    finally:
        connection.close()
    if not 200 <= reply.status < 300:
        raise ServiceError(f"the receiver of alerts at {url} answers {reply.status}: {said}")


def _alert(page: Page) -> dict[str, Any]:
    return {
        "status": page.status,
        "labels": {**page.labels, "alertname": page.alert},
        "annotations": {**page.annotations},
        "startsAt": _text(page.starts_at),
        "endsAt": _text(page.ends_at),
    }


def _text(seconds: float | None) -> str:
    return _NEVER if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
