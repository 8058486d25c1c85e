"""Bad requests by the hundred thousand: bytes that are no HTTP, HTTP that is no JSON, JSON that is no comment.

Seeded, so that a failure can be sent again. Each request has a connection of its own and is read to its end; what is
judged is that an answer, if any, is a deliberate one, and that afterwards the service works as before.
"""

import asyncio
import json
import random
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import uvloop

from mlops_helpers.deploy.platform import Platform

_PATIENCE = 0.2  # seconds

NASTY = (
    "\x00", "\r\n", '","spam":false,"x":"', "\n{\"ts\": 0, \"comment_id\": \"forged\"}\n", "\u202e", "\ufeff",
    "\u2028", "🏳️‍🌈" * 50, "a" * 9_999, "a " * 4_999, "<script>alert(1)</script>", "'; DROP TABLE comments; --",
    "{{7*7}}", "%00%0d%0a", "İ" * 3000, "\ud800", "\udfff\ud800", "é" * 5000, "\x1b[2J",
    "../../../../etc/passwd",
)  # fmt: skip
TOO_LONG = ("a" * 1_000_000, "a" * 10_001, "ab " * 400_000, "\u0130" * 600_000)
RAW_JSON = (
    b"", b"{", b"nul", b"[" * 50_000, b'{"a":' * 20_000, b"\xff\xfe", b'{"text": "\xc3\x28"}', b"1e999", b"NaN",
    b"-", b'"\\u12"', b'{"text": "a", "text": 1}', b"\x00" * 100, b'\xef\xbb\xbf{"text": "a"}', b"9" * 5000,
    b'{"text": "\\ud800"}',
)  # fmt: skip
HEADERS = (
    b"x-request-id: a\x0bb", b"content-length: 5", b"content-length: -5", b"transfer-encoding: chunked",
    b"expect: 100-continue", b"content-type: text/\xff", b"x" * 3_000 + b": y", b"cookie: " + b"a=b; " * 500,
    b"upgrade: websocket\r\nconnection: upgrade", b"host: a\r\nhost: b", b"x-forwarded-for: 127.0.0.1, \xff",
    b"authorization: Bearer ", b": empty", b"no colon", b"x-shadow: yes", b"x-request-id: {\"forged\": true}",
    b"content-encoding: gzip", b"idempotency-key: " + b"k" * 500, b"accept: \x00",
)  # fmt: skip
METHODS = (
    b"GET", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT", b"BREW", b"post", b"",
)  # fmt: skip
PATHS = (
    b"/", b"//", b"/v1/classify/", b"/v1/../admin/model", b"/%2e%2e/%00", b"/\xff", b"*",
    b"http://other/v1/classify", b"/?a=" + b"b" * 9_000,
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """Where to send: the paths that take a body, and how a good body is made of a text and an id."""

    address: str
    paths: tuple[bytes, ...]
    body: Callable[[object, object], object]
    headers: tuple[bytes, ...] = (b"content-type: application/json",)


def targets(platform: Platform) -> dict[str, Target]:
    """Return the services of a platform as targets; it needs a version ``v1``."""
    classify = ((b"/v1/classify",), lambda text, key: {"id": key, "text": text})
    comment = ((b"/posts/first-frost/comments",), lambda text, key: {"author": key, "text": text})
    return {
        "filter": Target(platform.filters["v1"][0], *classify),
        "gateway": Target(platform.gateway, *classify),
        "blog": Target(platform.blog, *comment),
    }


@dataclass
class FuzzReport:
    """How many requests were sent, the answers by status (0: closed without one), and the first offenders."""

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    offenders: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def server_errors(self) -> int:
        """Answers 5xx that are not deliberate shedding (503)."""
        return sum(count for status, count in self.statuses.items() if status >= 500 and status != 503)


def _value(rng: random.Random, depth: int = 0) -> object:
    kind = rng.randrange(8 if depth < 4 else 6)
    if kind == 6:
        return [_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 7:
        keys = ("id", "text", "comments", "author", "verdicts", "", "\x00", "__proto__")
        return {rng.choice(keys): _value(rng, depth + 1) for _ in range(rng.randrange(5))}
    return (None, rng.random() < 0.5, rng.choice((0, -1, 1 << 70, 3.5, -1e-300)), rng.choice(NASTY), "", "c-1")[kind]


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()


def _http(path: bytes, body: bytes, *headers: bytes, method: bytes = b"POST") -> bytes:
    lines = [method + b" " + path + b" HTTP/1.1", b"host: x", b"connection: close", *headers]
    return b"\r\n".join([*lines, b"content-length: %d" % len(body)]) + b"\r\n\r\n" + body


def _mutated(rng: random.Random, data: bytes) -> bytes:
    mutable = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(mutable) + 1)
        action = rng.randrange(4)
        if action == 0:
            mutable[at : at + 1] = bytes([rng.randrange(256)])
        elif action == 1:
            del mutable[at : at + rng.randrange(1, 20)]
        elif action == 2:
            mutable[at:at] = rng.choice(
                (b"\r\n", b"\x00", b"\xff", b"\r\n\r\n", b"}" * 9, mutable[max(0, at - 30) : at])
            )
        else:
            del mutable[at:]
    return bytes(mutable)


def bad_requests(target: Target, seed: int) -> Iterator[bytes]:
    """Yield requests without end; the same for the same seed. Most are bad, some are good in a nasty way."""
    rng = random.Random(seed)
    while True:
        path = rng.choice(target.paths)
        good = _json(target.body(rng.choice(NASTY), f"fuzz-{rng.randrange(10**9)}"))
        kind = rng.randrange(100)
        if kind < 8:
            yield rng.randbytes(rng.randrange(1, 400))
        elif kind < 28:
            yield _mutated(rng, _http(path, good, *target.headers))
        elif kind < 40:
            yield _http(path, rng.choice((rng.choice(RAW_JSON), _mutated(rng, good))), *target.headers)
        elif kind < 70:
            wrong = rng.choice((_value(rng), target.body(_value(rng), _value(rng))))
            yield _http(path, _json(wrong), *target.headers)
        elif kind < 85:
            yield _http(path, good, *target.headers)
        elif kind < 86:
            yield _http(path, _json(target.body(rng.choice(TOO_LONG), "long")), *target.headers)
        elif kind < 93:
            extra = [rng.choice(HEADERS) for _ in range(rng.randrange(1, 3))]
            yield _http(path, good, *extra, *target.headers)
        else:
            place = rng.choice((*PATHS, path))
            yield _http(place, good, *target.headers, method=rng.choice((b"POST", *METHODS)))


def _shut_down(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)


async def _exchange(address: tuple[str, int], request: bytes, seconds: float) -> int:
    """Send and read to the end; return the first answer's status, 0 without one.

    A request that gets no answer soon may not be whole: then say that no more comes, which has to end it.
    """
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        received = b""
        async with asyncio.timeout(seconds):
            await loop.sock_connect(sock, address)
            try:
                await loop.sock_sendall(sock, request)
                whole = loop.call_later(_PATIENCE, _shut_down, sock)
                while chunk := await loop.sock_recv(sock, 65536):
                    received += chunk[: max(0, 64 - len(received))]
                whole.cancel()
            except OSError:  # refused while sending, or closed with bytes unread: an answer may have come before
                pass
    head = received.split(b" ", 2)
    return int(head[1]) if len(head) > 2 and head[1].isdigit() else 0


def fuzz(target: Target, count: int, seed: int = 0, concurrency: int = 16, seconds: float = 30.0) -> FuzzReport:
    """Send ``count`` requests; each must be answered or its connection closed within ``seconds``.

    Raises ``TimeoutError`` otherwise: a request that nobody ends is a defect.
    """
    host, _, port = target.address.rpartition(":")
    report = FuzzReport()
    requests = bad_requests(target, seed)

    async def worker() -> None:
        while report.sent < count:
            report.sent += 1
            request = next(requests)
            status = await _exchange((host, int(port)), request, seconds)
            report.statuses[status] += 1
            if status >= 500 and status != 503 and len(report.offenders) < 5:
                report.offenders.append((status, request[:2000]))

    async def main() -> None:
        await asyncio.gather(*(worker() for _ in range(concurrency)))

    uvloop.run(main())
    return report
