"""The readers' side of the blog: posts, their comments, and how a comment is taken in."""

import math
import secrets
from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry, Counter
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from mlops_helpers.serve.asgi import Problem
from mlops_helpers.serve.entries import Comment, Draft, Post
from mlops_helpers.serve.pages import Pages
from mlops_helpers.serve.ratelimit import ClientAddresses, RateLimit
from mlops_helpers.serve.sessions import Session, Sessions, is_form_of, refuse_other_sites
from mlops_helpers.serve.store import Store
from mlops_helpers.serve.submissions import Submission, read

__all__ = ["Discussion"]

PAGE = 50  # comments
LARGEST_NUMBER = 2**63 - 1


class Discussion:
    """Handlers under / , /posts and /comments.

    A comment is stored first; then ``settle`` waits a moment for its verdict; then it is answered as it is by then.
    """

    def __init__(
        self,
        store: Callable[[], Store],
        sessions: Sessions,
        pages: Pages,
        registry: CollectorRegistry,
        body_bytes: int,
        settle: Callable[[Comment], Awaitable[Comment]],
        addresses: ClientAddresses,
        rate: RateLimit,
    ) -> None:
        self._store, self._settle, self._sessions, self._pages = store, settle, sessions, pages
        self._addresses, self._rate, self._body_bytes = addresses, rate, body_bytes
        self._accepted = Counter(
            "blog_comments", "New comments, by the state in their answer.", ["state"], registry=registry
        )
        for state in ("pending", "published", "held"):  # a series that begins with its first event hides that event
            self._accepted.labels(state)
        self.routes = [
            Route("/", self.home),
            Route("/posts/{id}", self.show),
            Route("/posts/{id}/comments", self.comment, methods=["POST"]),
            Route("/comments/{id}", self.state),
            Route("/comments/{id}/report", self.report, methods=["POST"]),
        ]

    async def home(self, request: Request) -> Response:
        """Show the posts."""
        return self._pages.page("home", posts=self._store().posts())

    async def show(self, request: Request) -> Response:
        """Show a post with its comments and the form for another."""
        sent = self._store().comment(request.query_params.get("sent", ""))
        post = self._known(request)
        notice = sent if sent and sent.post == post.id else None
        return self._post_page(request, post, self._sessions.of(request), notice=notice)

    def _known(self, request: Request) -> Post:
        post = self._store().post(request.path_params["id"])
        if post is None:
            raise Problem(404, "there is no such post")
        return post

    def _post_page(
        self,
        request: Request,
        post: Post,
        session: Session,
        status: int = 200,
        *,
        notice: Comment | None = None,
        message: str = "",
        errors: dict[str, str] | None = None,
        sent: Submission | None = None,
    ) -> Response:
        before = request.query_params.get("before", "")
        number = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else LARGEST_NUMBER
        comments = self._store().published(post.id, number, PAGE + 1)
        older = comments[PAGE - 1].number if len(comments) > PAGE else None
        key = sent.text("key") if sent else secrets.token_hex(16)
        values = {name: sent.text(name) if sent else "" for name in ("author", "text")}
        view = {"comments": comments[:PAGE], "older": older, "first": number == LARGEST_NUMBER, "values": values}
        return self._pages.page(
            "post", session, status, post=post, notice=notice, message=message, errors=errors or {}, key=key, **view
        )

    async def comment(self, request: Request) -> Response:
        """Store a comment, then wait a moment for the verdict; see :class:`Discussion`."""
        refuse_other_sites(request)
        post = self._known(request)
        sent = await read(request, self._body_bytes)
        session = self._sessions.of(request)
        errors, wait = sent.errors("author", "text"), 0.0
        if not sent.is_json and not is_form_of(session, sent.values.get("csrf")):
            status, message = 403, "The form had expired. Nothing was stored yet: please send it again."
        elif errors:
            status, message = 422, "The comment was not stored: " + " ".join(errors.values())
        elif wait := self._rate.take(self._addresses.of(request)):
            status, message = (
                429,
                f"These were many comments. Please wait {math.ceil(wait)} s and send it again.",
            )
        else:
            return await self._stored(post, sent, request.headers.get("idempotency-key") or sent.text("key"))
        headers = ((b"retry-after", b"%d" % math.ceil(wait)),) if wait else ()
        if sent.is_json:
            raise Problem(status, message, headers)
        response = self._post_page(request, post, session, status, message=message, errors=errors, sent=sent)
        response.raw_headers.extend(headers)
        return response

    async def _stored(self, post: Post, sent: Submission, key: str) -> Response:
        if len(key) > 128 or not key.isprintable():
            raise Problem(422, "the idempotency key is longer than 128 characters, or not printable")
        draft = Draft(post.id, sent.text("author"), sent.text("text"), key or None)
        comment, new = await self._store().add(draft)
        comment = await self._settle(comment)
        if new:
            self._accepted.labels(comment.state).inc()
        if sent.is_json:
            return JSONResponse(_public(comment), 201 if new else 200, {"location": f"/comments/{comment.id}"})
        place = comment.id if comment.state == "published" else "sent"
        return RedirectResponse(f"/posts/{post.id}?sent={comment.id}#{place}", 303)

    async def state(self, request: Request) -> Response:
        """Answer a comment's state, as JSON."""
        comment = self._store().comment(request.path_params["id"])
        if comment is None:
            raise Problem(404, "there is no such comment")
        return JSONResponse(_public(comment), headers={"cache-control": "no-store"})

    async def report(self, request: Request) -> Response:
        """Put a published comment before the moderators."""
        refuse_other_sites(request)
        sent = await read(request, self._body_bytes)
        if not sent.is_json and not is_form_of(self._sessions.of(request), sent.values.get("csrf")):
            raise Problem(403, "The form had expired. Please go back, load the page again and repeat it.")
        comment = self._store().comment(request.path_params["id"])
        if comment is None:
            raise Problem(404, "there is no such comment")
        if wait := self._rate.take(self._addresses.of(request)):
            raise Problem(429, "these were many reports at once", ((b"retry-after", b"%d" % math.ceil(wait)),))
        await self._store().report(comment.id)
        if sent.is_json:
            return JSONResponse(_public(self._store().comment(comment.id) or comment), 202)
        return RedirectResponse(f"/posts/{comment.post}?sent={comment.id}#sent", 303)


def _public(comment: Comment) -> dict[str, str | None]:
    return {"id": comment.id, "post": comment.post, "state": comment.state, "reason": comment.reason}
