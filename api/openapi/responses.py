"""The API's description (OpenAPI 3.1), served at `GET /openapi.json`: what a route takes, answers and refuses.

The routes read their requests and write their answers themselves, so that FastAPI sees little of both. What it does
not see stands beside each route, in the words of this file; no word of it changes what a route does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI

from relaykit.api.http.errors import CODE_OF_STATUS, STATUS, summary
from relaykit.shared import errors
from relaykit.shared.errors import RelaykitError

Json = dict[str, Any]
Responses = dict[int | str, Json]

TOKEN_ERRORS: Final = (
    errors.Unauthenticated,
    errors.CrossSiteRequest,
    errors.ServerRefused,
    errors.AuthenticationFailed,
    errors.IssuerUnavailable,
    errors.AuthenticationTimeout,
    errors.ServerBlocked,
    errors.DatabaseUnavailable,
)
"""What every route that asks who is calling can answer."""

BEFORE_A_ROUTE: Final = (
    errors.MalformedRequest,
    errors.HeadTooLarge,
    errors.UrlTooLong,
    errors.RequestTimeout,
    errors.TooManyConnections,
)
"""What the HTTP protocol refuses, whatever the route."""

AUTHENTICATED: Final[Json] = {"security": [{"bearer": []}]}
"""`openapi_extra` of such a route."""

RUN_ID_HEADER: Final[Json] = {"X-Run-Id": {"description": "The run's id.", "schema": {"type": "string"}}}
EVENTS: Final[Json] = {
    "text/event-stream": {
        "itemSchema": {
            "type": "object",
            "description": "A ChatKit event; docs/protocol.md has the stream's other lines.",
            "properties": {
                "id": {"type": "string", "pattern": "^[0-9]+-[0-9]+$", "description": "The cursor."},
                "data": {"type": "string", "contentMediaType": "application/json"},
                "retry": {"type": "integer", "minimum": 0},
            },
            "required": ["data"],
        }
    }
}
"""The `content` of an answer that is a run's events."""

CURSOR: Final[Json] = {"type": "string", "pattern": "^[0-9]+-[0-9]+$"}

RESUME_HEADER: Final[Json] = {
    "name": "Relaykit-Resume",
    "in": "header",
    "description": "1: the client resumes a stream that closes without its end.",
    "schema": {"type": "string"},
}

_BEARER: Final[Json] = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "A token for JWT_AUDIENCE, of the issuer behind JWKS_URL or signed with JWT_SECRET. TOKEN_COOKIE "
    "may hold it instead, or AUTHENTICATE know the caller.",
}
_HEADERS: Final[dict[int, Json]] = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}}},
    429: {"Retry-After": {"description": "Seconds.", "schema": {"type": "string", "pattern": "^[0-9]+$"}}},
    503: {"Retry-After": {"description": "Seconds.", "schema": {"type": "string", "pattern": "^[0-9]+$"}}},
}
_MORE_FIELDS: Final[dict[str, Json]] = {
    errors.ThreadBusy.code: {"run_id": {"type": "string"}},
    errors.JournalGone.code: {"thread_id": {"type": "string"}},
    errors.InvalidRequest.code: {"locations": {"type": "array", "items": {"type": "string"}}},
}


def refusals(*kinds: type[RelaykitError], framework: Sequence[int] = ()) -> Responses:
    """The `responses` of a route that can raise these errors; every route has `internal`, `stopping` and the errors of
    the HTTP protocol besides.

    `framework` are the statuses of what is refused before the route sees it: 404 where the path has a parameter, since
    it is another path when that holds a slash.
    """
    raised: tuple[type[RelaykitError], ...] = (*kinds, *BEFORE_A_ROUTE, errors.Stopping, RelaykitError)
    codes: dict[int, dict[str, str]] = {}
    for kind in raised:
        codes.setdefault(STATUS[kind], {})[kind.code] = summary(kind)
    for status in framework:
        codes.setdefault(status, {})[CODE_OF_STATUS[status]] = f"{HTTPStatus(status).phrase}."
    return {status: _refusal(status, codes[status]) for status in sorted(codes)}


def answer(description: str, schema: Json) -> Json:
    """One of a route's `responses`, in JSON."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def describe(app: FastAPI, definitions: Callable[[], dict[str, Json]]) -> None:
    """Completes the description that FastAPI makes, at the first request for it; `definitions` are its schemas."""
    made_by_fastapi = app.openapi

    def openapi() -> Json:
        if app.openapi_schema is None:
            _complete(made_by_fastapi(), definitions())
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(description: Json, definitions: dict[str, Json]) -> None:
    components = description.setdefault("components", {})
    components.setdefault("securitySchemes", {})["bearer"] = _BEARER
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)  # FastAPI's own shape of a 422, which install_error_handlers replaces
    schemas.update(definitions)
    for operations in description["paths"].values():
        for operation in operations.values():
            if operation["responses"].get("422", {}).get("description") == "Validation Error":
                del operation["responses"]["422"]


def _refusal(status: int, codes: dict[str, str]) -> Json:
    fields: Json = {"code": {"enum": sorted(codes)}, "message": {"type": "string", "minLength": 1}}
    for code in codes:
        fields.update(_MORE_FIELDS.get(code, {}))
    error = {
        "type": "object",
        "properties": fields,
        "required": ["code", "message"],
        "additionalProperties": False,
    }
    schema = {
        "type": "object",
        "properties": {"error": error},
        "required": ["error"],
        "additionalProperties": False,
    }
    described = answer("\n".join(f"- `{code}`: {says}" for code, says in codes.items()), schema)
    return {**described, "headers": _HEADERS[status]} if status in _HEADERS else described
