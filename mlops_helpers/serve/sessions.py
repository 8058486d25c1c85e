"""Who sends a request: the visitor's session (a signed cookie), forms that only our own pages can send, the moderator.

A session lives in its cookie alone; the key that signs it is a file that nobody else can read.
"""

import hmac
import secrets
from dataclasses import dataclass
from pathlib import Path

from itsdangerous import BadData, Signer, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response

from mlops_helpers.errors import ParameterError
from mlops_helpers.serve.asgi import Problem
from mlops_helpers.workspace import atomic_file

__all__ = ["Session", "Sessions", "is_form_of", "refuse_other_sites"]

COOKIE = "opslab_blog_session"
LIFETIME = 12 * 3600  # seconds
SHORTEST_TOKEN = 16


@dataclass(frozen=True, slots=True)
class Session:
    """A visitor; ``csrf`` is what a form must carry, ``cookie`` the cookie's value if it has to be set."""

    id: str
    moderator: bool
    csrf: str
    cookie: str | None = None

    def put_on(self, response: Response) -> None:
        """Set the cookie, if the visitor does not have it yet."""
        if self.cookie:
            response.set_cookie(COOKIE, self.cookie, max_age=LIFETIME, httponly=True, samesite="strict")


class Sessions:
    """Makes and recognises sessions; ``folder`` keeps the key.

    Raises ``ParameterError`` when the moderator's token is too short to be a secret.
    """

    def __init__(self, folder: Path, moderator_token: str) -> None:
        if len(moderator_token) < SHORTEST_TOKEN or not moderator_token.isascii():
            raise ParameterError(
                f"the moderator's token has {len(moderator_token)} characters; accepted: at least {SHORTEST_TOKEN} of "
                "ASCII. Next: OPSLAB_MODERATOR_TOKEN=$(openssl rand -hex 16)"
            )
        key = _key(folder / "session.key")
        self._token = moderator_token.encode()
        # who signed in with an old token is signed out by a new one
        self._proof = hmac.new(key, self._token, "sha256").hexdigest()
        self._cookies = URLSafeTimedSerializer(key, salt="session")
        self._forms = Signer(key, salt="form", key_derivation="hmac")

    def of(self, request: Request) -> Session:
        """Return the visitor's session, a new one if there is no valid cookie."""
        try:
            found = self._cookies.loads(request.cookies.get(COOKIE, ""), max_age=LIFETIME)
        except BadData:
            return self.new()
        return self._session(found["id"], moderator=hmac.compare_digest(found["proof"], self._proof))

    def new(self, *, moderator: bool = False) -> Session:
        """Return a fresh session. A moderator's is never the one from before signing in: that one may be known."""
        identity = secrets.token_hex(16)
        proof = self._proof if moderator else ""
        return self._session(identity, moderator, self._cookies.dumps({"id": identity, "proof": proof}))

    def _session(self, identity: str, moderator: bool, cookie: str | None = None) -> Session:
        return Session(identity, moderator, self._forms.get_signature(identity).decode(), cookie)

    def is_token(self, text: str) -> bool:
        """Return whether this is the moderator's token."""
        return hmac.compare_digest(text.encode("utf-8", "replace"), self._token)

    def bearer(self, request: Request) -> bool:
        """Return whether the request carries the moderator's token itself. Raises Problem 401 for a wrong one."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not scheme:
            return False
        if scheme.lower() == "bearer" and self.is_token(token.strip()):
            return True
        raise Problem(401, "this is not the moderator's token", ((b"www-authenticate", b"Bearer"),))


def is_form_of(session: Session, token: object) -> bool:
    """Return whether a form's token was given to this session."""
    return isinstance(token, str) and hmac.compare_digest(token.encode("utf-8", "replace"), session.csrf.encode())


def refuse_other_sites(request: Request) -> None:
    """Raise Problem 403 when a browser says that another site's page sent this request."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "none")
    own = origin is None or origin.partition("://")[2] == request.headers.get("host")
    if not own or site not in {"same-origin", "none"}:
        raise Problem(403, "the request comes from another site; accepted: forms of this one")


def _key(path: Path) -> bytes:
    if not path.exists():
        with atomic_file(path) as stage:
            stage.touch(0o600)
            stage.write_bytes(secrets.token_bytes(32))
    return path.read_bytes()
