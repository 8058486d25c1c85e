"""One HTTP request from within a submission's network, made by the grader's own code.

It runs by itself, isolated and with nothing but the standard library: it reads the request as a line of JSON, enters
the network namespace of the process whose descriptor it is given (-1: none), asks, and writes the answer. Who starts it
bounds its time; it follows no redirect and knows no proxy.
"""

import ctypes
import http.client
import json
import os
import sys
from typing import Any

__all__ = ["main"]

_USER_AND_NETWORK = 0x10000000 | 0x40000000


def main() -> None:
    """Answer the request on standard input."""
    request: dict[str, Any] = json.loads(sys.stdin.readline())
    if request["process"] >= 0 and ctypes.CDLL(None, use_errno=True).setns(request["process"], _USER_AND_NETWORK):
        raise OSError(ctypes.get_errno(), "the network of the submission cannot be entered")
    try:
        answer = _asked(request)
    except (OSError, http.client.HTTPException, ValueError) as error:
        answer = {"failed": f"{type(error).__name__}: {error}"[:300]}
    print(json.dumps(answer))


def _asked(request: dict[str, Any]) -> dict[str, Any]:
    connection = http.client.HTTPConnection(request["address"], timeout=request["seconds"])
    body = None if request["body"] is None else json.dumps(request["body"]).encode()
    headers = {} if body is None else {"Content-Type": "application/json"}
    connection.request(request["method"], request["path"], body, headers)
    response = connection.getresponse()
    data = response.read(request["most"] + 1)
    if len(data) > request["most"]:
        return {"failed": f"it answered with more than {request['most']} bytes"}
    return {"status": response.status, "text": data.decode("utf-8", "replace")}


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)
