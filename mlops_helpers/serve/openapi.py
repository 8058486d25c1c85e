"""What the filter says of itself at ``/openapi.json``: OpenAPI 3.1, made from the limits that it enforces."""

from typing import Any

from mlops_helpers import __version__
from mlops_helpers.serve.asgi import Limits

__all__ = ["COMMENT_ID", "filter_description"]

COMMENT_ID = "[A-Za-z0-9._:-]{1,64}"
"""Regular expression of a comment's id."""


def filter_description(limits: Limits, max_characters: int, max_batch: int) -> dict[str, Any]:
    """Return the description as an object that becomes JSON."""
    comment_id = {"type": "string", "pattern": f"^{COMMENT_ID}$"}
    text = {"type": "string", "maxLength": max_characters}
    verdict = _object(
        id={"anyOf": [comment_id, {"type": "null"}]},
        spam={"type": "boolean"},
        score={"type": "number", "minimum": 0, "maximum": 1},
        version={"type": "string"},
    )
    single = _object(("text",), id=comment_id, text=text)
    batch = _object(
        comments={
            "type": "array",
            "minItems": 1,
            "maxItems": max_batch,
            "items": _object(id=comment_id, text=text),
        }
    )
    verdicts = _object(verdicts={"type": "array", "items": verdict})
    classify = {
        "operationId": "classify",
        "summary": "Judge one comment, or a batch",
        "requestBody": {"required": True, "content": _json({"anyOf": [single, batch]})},
        "responses": {
            "200": _answer("The verdict, or the verdicts in the order of the batch", {"anyOf": [verdict, verdicts]}),
            "400": _problem("The body is not JSON"),
            "413": _problem(f"The body has more than {limits.body_bytes} bytes"),
            "422": _problem("A field is missing, unknown, or of a wrong type or length"),
            "503": _problem("Shed, or the answer could not be recorded; try again after retry-after seconds"),
        },
    }
    alive = {"200": _answer("Alive", {"type": "object"})}
    ready = {"200": _answer("Requests are welcome", {"type": "object"}), "503": _problem("Send them elsewhere")}
    return {
        "openapi": "3.1.0",
        "info": {"title": "spam filter", "version": __version__},
        "paths": {
            "/v1/classify": {"post": classify},
            "/healthz": {"get": {"operationId": "healthz", "responses": alive}},
            "/readyz": {"get": {"operationId": "readyz", "responses": ready}},
            "/version": {
                "get": {
                    "operationId": "version",
                    "responses": {"200": _answer("The model that serves", {"type": "object"})},
                }
            },
        },
    }


def _object(required: tuple[str, ...] = (), /, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required or properties),
        "additionalProperties": False,
    }


def _json(schema: dict[str, Any], media_type: str = "application/json") -> dict[str, Any]:
    return {media_type: {"schema": schema}}


def _answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": _json(schema)}


def _problem(description: str) -> dict[str, Any]:
    schema = _object(status={"type": "integer"}, title={"type": "string"}, detail={"type": "string"})
    return {"description": description, "content": _json(schema, "application/problem+json")}
