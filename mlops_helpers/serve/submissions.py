"""What visitors send: bounded bodies of forms or JSON, and what a comment may consist of."""

import unicodedata
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import orjson
from starlette.requests import Request

from mlops_helpers.serve.asgi import Problem

__all__ = ["LONGEST", "Submission", "read"]

LONGEST = {"author": 80, "text": 10_000}  # characters
NAMES = {"author": "Your name", "text": "Your comment"}
_MOST_FIELDS = 10


@dataclass(frozen=True, slots=True)
class Submission:
    """The fields of a form or of a JSON object, as sent."""

    values: dict[str, Any]
    is_json: bool

    def text(self, field: str) -> str:
        """Return a field as it is stored: without white space around it, lines ended by a newline; "" if absent."""
        value = self.values.get(field)
        return value.replace("\r\n", "\n").replace("\r", "\n").strip() if isinstance(value, str) else ""

    def errors(self, *fields: str) -> dict[str, str]:
        """Return what is wrong with ``author`` or ``text``, by field."""
        found = {field: _error(field, self.text(field)) for field in fields}
        return {field: f"{NAMES[field]} {error}." for field, error in found.items() if error}


def _error(field: str, value: str) -> str | None:
    if len(value) > LONGEST[field]:
        return f"has {len(value):,} characters; at most {LONGEST[field]:,} are accepted"
    if not any(character.isprintable() and character != " " for character in value):
        return "is missing: at least one visible character is needed"
    for character in value:
        if unicodedata.category(character) == "Cc" and not (field == "text" and character in "\n\t"):
            return f"contains the control character U+{ord(character):04X}, which is not accepted"
    return None


async def read(request: Request, most_bytes: int) -> Submission:
    """Read a form or a JSON object of at most ``most_bytes``.

    Raises :class:`Problem`: 400 not UTF-8, not JSON or too many fields; 413 too large; 415 neither form nor JSON.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {"application/json", "application/x-www-form-urlencoded"}:
        raise Problem(415, f"the content type is {kind!r}; accepted: application/json, or a form")
    body = await _body(request, most_bytes)
    try:
        if kind != "application/json":
            form = parse_qs(body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
            return Submission({name: values[0] for name, values in form.items()}, is_json=False)
        values = orjson.loads(body)
    except UnicodeDecodeError:
        raise Problem(400, "the body is not UTF-8") from None
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"the body is not JSON: {error}") from None
    except ValueError:
        raise Problem(400, f"the form has more than {_MOST_FIELDS} fields") from None
    if not isinstance(values, dict):
        raise Problem(422, "the body is JSON, but no object")
    return Submission(values, is_json=True)


async def _body(request: Request, most: int) -> bytes:
    too_large = Problem(
        413, f"the body has more than {most} bytes; accepted: at most that", ((b"connection", b"close"),)
    )
    if int(request.headers.get("content-length", "0")) > most:
        raise too_large
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise too_large
    return bytes(body)
