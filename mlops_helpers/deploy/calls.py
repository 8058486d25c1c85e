"""Asking a service something from code that is not asynchronous: notebooks, commands, deployments."""

import http.client
import json
import time
from typing import Any

from mlops_helpers.errors import ServiceError

__all__ = ["call", "wait_ready"]

_POLL_SECONDS = 0.02


def call(method: str, address: str, path: str, body: Any = None, *, token: str = "", seconds: float = 10.0) -> Any:
    """Send a request, with ``body`` as JSON and ``token`` as bearer, and return the value of the JSON answer.

    Raises ``ServiceError`` when no answer comes in time, or one with another status than 2xx, saying what it said.
    """
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=seconds)  # no proxy, whatever the environment says
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        reply = connection.getresponse()
        answer = json.loads(reply.read() or b"null")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ServiceError(f"{method} http://{address}{path}: {error!r}. Next: opslab platform status") from error
    finally:
        connection.close()
    if not 200 <= reply.status < 300:
        said = answer.get("detail", answer) if isinstance(answer, dict) else answer
        raise ServiceError(f"{method} http://{address}{path} was answered {reply.status}: {said}")
    return answer


def wait_ready(address: str, seconds: float) -> None:
    """Return when /readyz is answered 200. Raises the last ``ServiceError`` when it is not, for that long."""
    limit = time.monotonic() + seconds
    while True:
        try:
            call("GET", address, "/readyz", seconds=max(0.1, limit - time.monotonic()))
            return
        except ServiceError:
            if time.monotonic() >= limit:
                raise
        time.sleep(_POLL_SECONDS)
