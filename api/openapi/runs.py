"""The description of the routes over runs."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from relaykit.api.openapi.responses import (
    AUTHENTICATED,
    CURSOR,
    EVENTS,
    RESUME_HEADER,
    RUN_ID_HEADER,
    TOKEN_ERRORS,
    Json,
    answer,
    refusals,
)
from relaykit.shared.errors import (
    InvalidCursor,
    InvalidRequest,
    JournalGone,
    Overloaded,
    QueueUnavailable,
    RunNotFound,
    ServerBlocked,
    TooManyStreams,
)
from relaykit.shared.runs.run import Kind, Status

_STATUS: Final[Json] = {"enum": [status.value for status in Status]}
_RUN: Final[Json] = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "thread_id": {"type": "string"},
        "kind": {"enum": [kind.value for kind in Kind]},
        "status": _STATUS,
        "attempt": {"type": "integer", "minimum": 0},
        "error": {"type": ["string", "null"]},
    },
    "required": ["id", "thread_id", "kind", "status", "attempt", "error"],
    "additionalProperties": False,
}
_ACTIVE_RUN: Final[Json] = {
    **_RUN,
    "properties": {
        **_RUN["properties"],
        "awaits": {
            "type": "object",
            "description": "Where the run has ended with a client tool call whose output its thread awaits: the call, "
            "and the time until it is given up.",
            "properties": {
                "item_id": {"type": "string"},
                "seconds_left": {"type": "number", "minimum": 0},
            },
            "required": ["item_id", "seconds_left"],
            "additionalProperties": False,
        },
    },
}
_STOPPED: Final[Json] = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "status": _STATUS},
    "required": ["id", "status"],
    "additionalProperties": False,
}
FOLLOW: Final[dict[str, Any]] = {
    "response_class": Response,
    "responses": {
        200: {"description": "The events.", "content": EVENTS, "headers": RUN_ID_HEADER},
        204: {"description": "The run has ended, and nothing follows the cursor.", "headers": RUN_ID_HEADER},
        **refusals(
            *TOKEN_ERRORS,
            RunNotFound,
            InvalidCursor,
            JournalGone,
            Overloaded,
            TooManyStreams,
            QueueUnavailable,
            framework=[404],
        ),
    },
    "openapi_extra": {
        **AUTHENTICATED,
        "parameters": [
            {"name": "Last-Event-ID", "in": "header", "description": "The cursor.", "schema": CURSOR},
            {"name": "after", "in": "query", "description": "The same, without a header.", "schema": CURSOR},
            RESUME_HEADER,
        ],
    },
}

SHOW: Final[dict[str, Any]] = {
    "responses": {200: answer("The run.", _RUN), **refusals(*TOKEN_ERRORS, RunNotFound, framework=[404])},
    "openapi_extra": AUTHENTICATED,
}

CANCEL: Final[dict[str, Any]] = {
    "status_code": 202,
    "responses": {
        202: answer("The run, as it is after the stop.", _STOPPED),
        **refusals(*TOKEN_ERRORS, RunNotFound, QueueUnavailable, ServerBlocked, framework=[404]),
    },
    "openapi_extra": AUTHENTICATED,
}

_WITHDRAWN: Final[Json] = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "status": _STATUS, "withdrawn": {"type": "boolean"}},
    "required": ["id", "status", "withdrawn"],
    "additionalProperties": False,
}
WITHDRAW: Final[dict[str, Any]] = {
    "responses": {
        200: answer(
            "`withdrawn`: the message waited, its run is cancelled, and the thread has it no more. Else "
            "nothing was done.",
            _WITHDRAWN,
        ),
        **refusals(*TOKEN_ERRORS, RunNotFound, QueueUnavailable, framework=[404]),
    },
    "openapi_extra": AUTHENTICATED,
}

_MARKED_RUN: Final[Json] = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "kind": {"enum": [kind.value for kind in Kind]},
        "status": {"enum": [Status.WAITING.value, Status.FAILED.value, Status.CANCELLED.value]},
        "error": {"type": ["string", "null"]},
        "item_id": {"type": ["string", "null"], "description": "The item that the run follows."},
        "last_item_ids": {
            "type": ["array", "null"],
            "items": {"type": "string"},
            "description": "The last items that the run has added, the newest first; null where that cannot be told. "
            "Clients do not have all of them.",
        },
    },
    "required": ["id", "kind", "status", "error", "item_id", "last_item_ids"],
    "additionalProperties": False,
}
_MARKS: Final[Json] = {
    "type": "object",
    "properties": {
        "runs": {"type": "array", "items": _MARKED_RUN},
        "feedback": {"type": "object", "additionalProperties": {"enum": ["positive", "negative"]}},
    },
    "required": ["runs", "feedback"],
    "additionalProperties": False,
}
MARKS: Final[dict[str, Any]] = {
    "responses": {
        200: answer("The marks. A thread that is not the caller's has none.", _MARKS),
        **refusals(*TOKEN_ERRORS, InvalidRequest, framework=[404]),
    },
    "openapi_extra": AUTHENTICATED,
}

ACTIVE: Final[dict[str, Any]] = {
    "responses": {
        200: answer("The active run, or the one that ended with a client tool call.", _ACTIVE_RUN),
        204: {"description": "No run of the caller's is active there, and no client tool call awaited."},
        **refusals(*TOKEN_ERRORS, InvalidRequest, framework=[404]),
    },
    "openapi_extra": AUTHENTICATED,
}
