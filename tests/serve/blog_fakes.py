"""A gateway that does what a test tells it, and a reader who speaks to a blog."""

import asyncio
import functools
import http.client
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from mlops_helpers.serve.asgi import Limits
from mlops_helpers.serve.blog import Blog, make_blog
from mlops_helpers.serve.server import serving

TOKEN = "a-token-of-the-tests"
POST = "first-frost"
CUT = 0  # instead of a status: the connection is cut after the comments were judged


def live(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """Run a test in an event loop of its own."""

    @functools.wraps(test)
    def run(*args, **kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def judge(text: str) -> bool:
    return "casino" in text


class FakeGateway:
    """Judges by :func:`judge`; ``behave(texts)`` says which status to answer with (200, ``CUT``, ...)."""

    def __init__(self) -> None:
        self.limits, self.draining, self.under_way = Limits(body_bytes=10_000_000), False, int
        self.behave: Callable[[list[str]], int] = lambda texts: 200
        self.answer = lambda verdicts: {"verdicts": verdicts}
        self.open = threading.Event()  # while it is not set, nothing is answered
        self.open.set()
        self.asked: list[str] = []  # texts, in the order they came
        self.told: Counter[str] = Counter()  # texts for which a verdict was sent

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        self.open.set()

    async def __call__(self, scope, receive, send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        comments = json.loads(body)["comments"]
        texts = [comment["text"] for comment in comments]
        self.asked += texts
        if not self.open.is_set():
            while not self.open.is_set():
                await asyncio.sleep(0.005)
        status = self.behave(texts)
        if status == CUT:
            receive.__self__.transport.abort()
            return
        answer = b"{}"
        if status == 200:
            self.told.update(texts)
            verdicts = [
                {"id": c["id"], "spam": judge(c["text"]), "score": 0.75 if judge(c["text"]) else 0.25, "version": "v1"}
                for c in comments
            ]
            answer = json.dumps(self.answer(verdicts)).encode()
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-length", b"%d" % len(answer))]}
        )
        await send({"type": "http.response.body", "body": answer})


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self):
        return json.loads(self.body)


class Visitor:
    """A browser without a screen: keeps cookies, fills in the forms' hidden fields."""

    def __init__(self, address: str) -> None:
        self.address, self.cookies = address, {}

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        sent = {"accept": "text/html"} if not path.startswith("/comments") else {}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection = http.client.HTTPConnection(self.address, timeout=10)
        try:
            connection.request(method, path, body, sent | (headers or {}))
            response = connection.getresponse()
            answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()
        if cookie := answer.headers.get("set-cookie"):
            name, _, rest = cookie.partition("=")
            self.cookies[name] = rest.partition(";")[0]
        return answer

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers=headers)

    def form(self, path: str, fields: dict[str, str], headers: dict[str, str] | None = None) -> Answer:
        kind = {"content-type": "application/x-www-form-urlencoded"}
        return self.ask("POST", path, urlencode(fields).encode(), kind | (headers or {}))

    def csrf(self, path: str = f"/posts/{POST}") -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.get(path).text)
        assert found
        return found[1]

    def comment(self, text: str, author: str = "Ada", **headers: str) -> Answer:
        body = json.dumps({"author": author, "text": text}).encode()
        return self.post(f"/posts/{POST}/comments", body, **headers)

    def post(self, path: str, body: bytes, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("POST", path, body, {"content-type": "application/json", "accept": "*/*"} | named)

    def state(self, comment_id: str) -> tuple[str, str | None]:
        answer = self.get(f"/comments/{comment_id}").json()
        return answer["state"], answer["reason"]

    def decide(self, comment_id: str, decision: str) -> Answer:
        body = json.dumps({"decision": decision}).encode()
        return self.post(f"/moderation/{comment_id}", body, authorization=f"Bearer {TOKEN}")


def eventually(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until a condition holds; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@contextmanager
def running(folder: Path, gateway: str = "127.0.0.1:1", **options) -> Iterator[tuple[Blog, Visitor]]:
    """Run a blog in this process."""
    settings = {"moderator_token": TOKEN, "comments_per_minute": 100_000, "patience": 5.0, "hold_after": 60.0}
    blog = make_blog(folder, gateway=gateway, **(settings | options))
    with serving(blog) as address:
        yield blog, Visitor(address)
