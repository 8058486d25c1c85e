"""The moderator's side of the blog: signing in, the queue of held comments, decisions, which are the delayed labels."""

from collections.abc import Callable
from urllib.parse import urlencode

from prometheus_client import CollectorRegistry, Counter, Gauge
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from mlops_helpers.serve.asgi import Problem
from mlops_helpers.serve.entries import Comment
from mlops_helpers.serve.pages import Pages, moment, wants_page
from mlops_helpers.serve.sessions import Session, Sessions, is_form_of, refuse_other_sites
from mlops_helpers.serve.store import Store
from mlops_helpers.serve.submissions import Submission, read

__all__ = ["Moderation"]

DECISIONS = {"publish": 0, "reject": 1}  # the label: 1 is spam
PAGE, JSON_PAGE = 20, 100  # comments
_EXPIRED = "This form had expired. Nothing was changed; please try again."


class Moderation:
    """Handlers under /login, /logout and /moderation."""

    def __init__(
        self,
        store: Callable[[], Store],
        sessions: Sessions,
        pages: Pages,
        registry: CollectorRegistry,
        body_bytes: int,
    ) -> None:
        self._store, self._sessions, self._pages = store, sessions, pages
        self._body_bytes = body_bytes
        self._decided = Counter("blog_decisions", "Decisions of moderators.", ["decision"], registry=registry)
        waiting = Gauge("blog_moderation_queue", "Comments that wait for a moderator.", registry=registry)
        waiting.set_function(lambda: store().count("held"))
        self.routes = [
            Route("/login", self.login),
            Route("/login", self.sign_in, methods=["POST"]),
            Route("/logout", self.sign_out, methods=["POST"]),
            Route("/moderation", self.queue),
            Route("/moderation/{id}", self.decide, methods=["POST"]),
        ]

    async def login(self, request: Request) -> Response:
        """Sign in with the address's token, or ask for it."""
        token = request.query_params.get("token")
        if token is None:
            return self._pages.page("login", self._sessions.of(request), error=None)
        return self._signed_in(request, token)

    async def sign_in(self, request: Request) -> Response:
        """Sign in with the form's token."""
        session, sent = await self._form(request)
        if not is_form_of(session, sent.values.get("csrf")):
            return self._pages.page("login", session, 403, error=_EXPIRED)
        return self._signed_in(request, sent.text("token"))

    def _signed_in(self, request: Request, token: str) -> Response:
        if not self._sessions.is_token(token):
            error = "This is not the moderator's token."
            return self._pages.page("login", self._sessions.of(request), 403, error=error)
        # A page that goes on by itself, not a redirect: a browser that followed a link on another site to get here
        # would not send the cookie along with a redirect.
        return self._pages.page("signed_in", self._sessions.new(moderator=True))

    async def sign_out(self, request: Request) -> Response:
        """Give the visitor a session that is no moderator's."""
        session, sent = await self._form(request)
        if not is_form_of(session, sent.values.get("csrf")):
            raise Problem(403, _EXPIRED)
        response = RedirectResponse("/", 303)
        self._sessions.new().put_on(response)
        return response

    async def queue(self, request: Request) -> Response:
        """Show what waits for a decision, the oldest first."""
        by_token = self._sessions.bearer(request)
        session = self._sessions.of(request)
        if not (by_token or session.moderator):
            if wants_page(request):
                return RedirectResponse("/login", 303)
            raise _unknown()
        after = _number(request, "after")
        most = JSON_PAGE if by_token else PAGE
        comments = self._store().queue(after, most + 1)
        more = comments[most - 1].number if len(comments) > most else None
        waiting, comments = self._store().count("held"), comments[:most]
        if by_token:
            return JSONResponse({"waiting": waiting, "comments": [_as_json(c) for c in comments], "next": more})
        done = self._store().comment(request.query_params.get("done", ""))
        titles = {post.id: post.title for post in self._store().posts()}
        page = {"waiting": waiting, "comments": comments, "more": more, "after": after, "done": done, "titles": titles}
        return self._pages.page("moderation", session, 200, **page)

    async def decide(self, request: Request) -> Response:
        """Publish or reject a comment; the decision is stored before the answer."""
        by_token = self._sessions.bearer(request)
        session, sent = await self._form(request)
        if not by_token:
            if not session.moderator:
                raise _unknown()
            if sent.is_json or not is_form_of(session, sent.values.get("csrf")):
                raise Problem(403, _EXPIRED)
        decision, who = sent.values.get("decision"), sent.values.get("by", "moderator")
        if not isinstance(decision, str) or decision not in DECISIONS:
            raise Problem(422, "decision is missing or unknown; accepted: publish, reject")
        if Submission({"author": who}, True).errors("author"):
            raise Problem(422, "by is not a name of 1 to 80 characters")
        identity = request.path_params["id"]
        try:
            if await self._store().decide(identity, DECISIONS[decision], who):
                self._decided.labels(decision).inc()
        except LookupError:
            raise Problem(404, "there is no such comment") from None
        if by_token:
            comment = self._store().comment(identity)
            return JSONResponse({"id": identity, "state": comment.state if comment else ""})
        place = {"done": identity} | ({"after": after} if (after := _number(request, "after")) else {})
        return RedirectResponse(f"/moderation?{urlencode(place)}", 303)

    async def _form(self, request: Request) -> tuple[Session, Submission]:
        refuse_other_sites(request)
        return self._sessions.of(request), await read(request, self._body_bytes)


def _number(request: Request, name: str) -> int:
    text = request.query_params.get(name, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Problem(422, f"{name} is no number; accepted: the one that the page or answer before named")
    return int(text)


def _unknown() -> Problem:
    return Problem(401, "this needs the moderator's token: sign in at /login", ((b"www-authenticate", b"Bearer"),))


def _as_json(comment: Comment) -> dict[str, object]:
    return {
        "id": comment.id,
        "post": comment.post,
        "author": comment.author,
        "text": comment.text,
        "created_at": moment(comment.created_at),
        "reason": comment.reason,
        "score": comment.score,
        "version": comment.version,
    }
