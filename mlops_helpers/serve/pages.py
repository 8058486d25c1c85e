"""The blog's pages: templates filled in with everything escaped, the style sheet, and the headers that guard them."""

import hashlib
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from mlops_helpers.serve.sessions import Session
from mlops_helpers.serve.submissions import LONGEST

__all__ = ["SECURITY_HEADERS", "Pages", "moment", "wants_page"]

HERE = Path(__file__).parent / "templates"
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"same-origin"),  # with no-referrer, browsers send forms with "origin: null"
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
]
_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"))


class Pages:
    """Renders the templates. ``routes`` are those of the files that pages refer to."""

    def __init__(self) -> None:
        self._templates = Environment(
            loader=FileSystemLoader(HERE),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.filters.update(day=_day, minute=_minute, iso=moment, age=_age)
        files = {"style.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}
        contents = {name: (HERE / name).read_bytes() for name in files}
        style = hashlib.sha256(contents["style.css"]).hexdigest()[:12]
        self._templates.globals.update(style=f"/style.css?v={style}", longest=LONGEST)
        self.routes = [Route(f"/{name}", _file(contents[name], kind)) for name, kind in files.items()]

    def page(self, name: str, session: Session | None = None, status: int = 200, **values: Any) -> Response:
        """Render a template for a visitor, whose cookie is set if it is new."""
        html = self._templates.get_template(f"{name}.html").render(session=session, status=status, **values)
        response = HTMLResponse(html, status, {"cache-control": "no-store" if session else "no-cache"})
        if session:
            session.put_on(response)
        return response

    def problem(self, request: Request, status: int, title: str, detail: str) -> Response:
        """Say what went wrong, as a page or as JSON (RFC 9457), whichever was asked for."""
        if wants_page(request):
            return self.page("error", status=status, title=title, detail=detail)
        body = {"status": status, "title": title, "detail": detail}
        return JSONResponse(body, status, media_type="application/problem+json")


def wants_page(request: Request) -> bool:
    """Return whether a person in front of a browser waits for the answer."""
    return "text/html" in request.headers.get("accept", "")


def _file(content: bytes, kind: str) -> Any:
    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind, headers={"cache-control": "public, max-age=31536000, immutable"})

    return answer


def moment(seconds: float) -> str:
    """Return a time (seconds since 1970 UTC) as ISO 8601 with its zone."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _day(seconds: float) -> str:
    when = datetime.fromtimestamp(seconds, UTC)
    return f"{when.day} {when:%B %Y}"


def _minute(seconds: float) -> str:
    return f"{_day(seconds)}, {datetime.fromtimestamp(seconds, UTC):%H:%M} UTC"


def _age(seconds: float) -> str:
    elapsed = max(0, round(time.time() - seconds))
    for length, unit in _UNITS:
        if elapsed >= length:
            count = elapsed // length
            return f"{count} {unit}{'s' * (count > 1)} ago"
    return "just now"
