"""A blog in this process, the gateway that it asks, and a reader who speaks to it."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import orjson
import pytest

from mlops_helpers.serve import blog
from mlops_helpers.serve.client import Reply, RequestFailed
from tests.support.asgi import Answer, Client, started

TOKEN = "a-token-of-the-tests"
POST = "first-frost"


def judge(text: str) -> bool:
    return "casino" in text


class FakeGateway:
    """Takes the place of the blog's connections, and judges by :func:`judge`.

    ``behave(texts)`` says what becomes of a question: a status, or the reason for which no answer comes.
    """

    def __init__(self) -> None:
        self.behave: Callable[[list[str]], int | str] = lambda texts: 200
        self.answer = lambda verdicts: {"verdicts": verdicts}
        self.open = asyncio.Event()  # while it is not set, nothing is answered
        self.open.set()
        self.asked: list[str] = []  # texts, in the order they came
        self.answered: Counter[str] = Counter()  # texts for which a verdict was sent

    async def send(self, request: bytes, timeout: float) -> Reply:
        comments = json.loads(request.partition(b"\r\n\r\n")[2])["comments"]
        texts = [comment["text"] for comment in comments]
        self.asked += texts
        try:
            async with asyncio.timeout(timeout):
                await self.open.wait()
        except TimeoutError:
            raise RequestFailed("timeout", "the gateway") from None
        status = self.behave(texts)
        if isinstance(status, str):
            raise RequestFailed(status, "the gateway")
        if status != 200:
            return Reply(status, b"{}")
        self.answered.update(texts)
        verdicts = [
            {"id": c["id"], "spam": judge(c["text"]), "score": 0.75 if judge(c["text"]) else 0.25, "version": "v1"}
            for c in comments
        ]
        return Reply(200, orjson.dumps(self.answer(verdicts)))

    def close(self) -> None:
        pass


class Visitor(Client):
    """A browser without a screen: keeps cookies, fills in the forms' hidden fields."""

    def __init__(self, app: blog.Blog, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(app, loop)
        self.cookies: dict[str, str] = {}

    def another(self) -> "Visitor":
        """Return a visitor without cookies."""
        return Visitor(self.app, self.loop)

    def ask(self, method: str, target: str, body=b"", headers: dict[str, str] | None = None) -> Answer:
        sent = {"accept": "text/html"} if not target.startswith("/comments") else {}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = super().ask(method, target, body, sent | (headers or {}))
        if cookie := answer.headers.get("set-cookie"):
            name, _, rest = cookie.partition("=")
            self.cookies[name] = rest.partition(";")[0]
        return answer

    def get(self, target: str, **headers: str) -> Answer:
        return self.ask("GET", target, headers=headers)

    def form(self, path: str, fields: dict[str, str], headers: dict[str, str] | None = None) -> Answer:
        kind = {"content-type": "application/x-www-form-urlencoded"}
        return self.ask("POST", path, urlencode(fields).encode(), kind | (headers or {}))

    def csrf(self, path: str = f"/posts/{POST}") -> str:
        match = re.search(r'name="csrf" value="([^"]+)"', self.get(path).text)
        assert match
        return match[1]

    def post(self, path: str, body: bytes, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("POST", path, body, {"content-type": "application/json", "accept": "*/*"} | named)

    def comment(self, text: object, author: object = "Ada", **headers: str) -> Answer:
        body = json.dumps({"author": author, "text": text}).encode()
        return self.post(f"/posts/{POST}/comments", body, **headers)

    def state(self, comment_id: str) -> tuple[str, str | None]:
        answer = self.get(f"/comments/{comment_id}").json()
        return answer["state"], answer["reason"]

    def decide(self, comment_id: str, decision: str) -> Answer:
        body = json.dumps({"decision": decision}).encode()
        return self.post(f"/moderation/{comment_id}", body, authorization=f"Bearer {TOKEN}")


@contextmanager
def made(folder: Path, gateway: FakeGateway, **options) -> Iterator[blog.Blog]:
    """Make a blog that asks this gateway as long as the block runs."""
    settings = {"moderator_token": TOKEN, "comments_per_minute": 100_000, "patience": 5.0, "hold_after": 60.0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blog, "Pool", lambda *args, **kwargs: gateway)
        yield blog.make_blog(folder, gateway="127.0.0.1:1", **(settings | options))


@contextmanager
def running(folder: Path, gateway: FakeGateway | None = None, **options) -> Iterator[Visitor]:
    """Run a blog in this process and yield its visitor."""
    with made(folder, gateway or FakeGateway(), **options) as app, started(app) as client:
        yield Visitor(app, client.loop)
