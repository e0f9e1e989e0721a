"""The description of the console's API."""

from __future__ import annotations

from typing import Any, Final

from relaykit.api.openapi.responses import AUTHENTICATED, CURSOR, TOKEN_ERRORS, Json, answer, refusals
from relaykit.shared import errors
from relaykit.shared.errors import RelaykitError
from relaykit.shared.operating.act_errors import ActRefused, RetryFailed, WorkerNotFound
from relaykit.shared.runs.run import Kind, Status

_TEXT: Final[Json] = {"type": "string"}
_MAYBE_TEXT: Final[Json] = {"type": ["string", "null"]}
_TIME: Final[Json] = {"type": "string", "format": "date-time"}
_MAYBE_TIME: Final[Json] = {"type": ["string", "null"], "format": "date-time"}
_COUNT: Final[Json] = {"type": "integer", "minimum": 0}
_MAYBE_COUNT: Final[Json] = {"type": ["integer", "null"], "minimum": 0}
_SECONDS: Final[Json] = {"type": "number"}
_MAYBE_SECONDS: Final[Json] = {"type": ["number", "null"]}
_FLAG: Final[Json] = {"type": "boolean"}
_ANYTHING: Final[Json] = {}


def _object(fields: dict[str, Json], optional: dict[str, Json] | None = None) -> Json:
    return {
        "type": "object",
        "properties": {**fields, **(optional or {})},
        "required": list(fields),
        "additionalProperties": False,
    }


def _or_null(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def _list(schema: Json) -> Json:
    return {"type": "array", "items": schema}


_WORKER: Final = _object(
    {
        "id": _TEXT, "host": _TEXT, "pid": _COUNT, "version": _TEXT, "slots": _COUNT, "used": _COUNT,
        "started_at": _SECONDS, "draining": _FLAG, "blocked_seconds": _SECONDS,
        "clock_offset_seconds": _MAYBE_SECONDS,
    }
)  # fmt: skip
_SILENT_WORKER: Final = _object({"state": _WORKER, "silent_seconds": _SECONDS})
_DATABASE: Final = _object(
    {
        "read_only": _FLAG,
        "max_connections": _COUNT,
        "sessions": _COUNT,
        "active": _COUNT,
        "wait_for_locks": _COUNT,
        "idle_in_transaction": _COUNT,
        "oldest_transaction_seconds": _SECONDS,
    }
)
_CLOCK: Final = _object({"redis": _MAYBE_SECONDS, "postgresql": _MAYBE_SECONDS})
_QUEUE_FIELDS: Final[dict[str, Json]] = {
    "due": _COUNT,
    "oldest_due_seconds": _SECONDS,
    "waiting": _COUNT,
    "running": _COUNT,
    "workers": _COUNT,
    "draining": _COUNT,
    "slots": _COUNT,
    "used": _COUNT,
}
_CALLER_LOAD: Final = _object(
    {
        "tenant": _TEXT,
        "user": _TEXT,
        "queued": _COUNT,
        "running": _COUNT,
        "waiting": _COUNT,
        "oldest_due_seconds": _SECONDS,
    }
)
_ACT: Final = _object(
    {"id": _COUNT, "at": _TIME, "actor": _TEXT, "act": _TEXT, "target": _TEXT, "outcome": _MAYBE_TEXT}
)
_ENDED: Final = _object({"status": _TEXT, "error": _MAYBE_TEXT, "count": _COUNT})
_PLACE: Final = _object({"worker_id": _TEXT, "is_held": _FLAG})
_RUN_FIELDS: Final[dict[str, Json]] = {
    "id": _TEXT,
    "tenant": _TEXT,
    "user": _TEXT,
    "thread_id": _TEXT,
    "kind": {"enum": [kind.value for kind in Kind]},
    "status": {"enum": [status.value for status in Status]},
    "attempt": _COUNT,
    "handed_back": _COUNT,
    "cancel_requested": _FLAG,
    "error": _MAYBE_TEXT,
    "accepted_at": _TIME,
    "due_at": _TIME,
    "started_at": _MAYBE_TIME,
    "ended_at": _MAYBE_TIME,
}
_JOB: Final = _object(
    {
        "place": _or_null(_PLACE),
        "lease_seconds": _MAYBE_SECONDS,
        "due_seconds": _MAYBE_SECONDS,
        "has_job": _FLAG,
    }
)
_CONTENT: Final = _object({"input": _ANYTHING, "context": _ANYTHING, "anchor": _ANYTHING})
_RUN: Final = _object(
    {
        **_RUN_FIELDS,
        "max_attempts": _MAYBE_COUNT,
        "received_at": _MAYBE_TIME,
        "trace_id": _MAYBE_TEXT,
        "awaited_item": _MAYBE_TEXT,
        "awaited_until": _MAYBE_TIME,
        "job": _or_null(_JOB),
        "worker": _or_null(_WORKER),
        "acts": _list(_ACT),
        "attempts": _list(_object({"attempt": _COUNT, "entries": _MAYBE_COUNT})),
        "followers": _MAYBE_COUNT,
        "redis": _TEXT,
    },
    {"content": _CONTENT},
)
_EVENT: Final = _object(
    {"cursor": CURSOR, "kind": _TEXT, "detail": _TEXT, "bytes": _COUNT, "at": _MAYBE_TIME},
    {"data": _ANYTHING},
)
_OUTCOME: Final[dict[str, Json]] = {"target": _TEXT, "outcome": _TEXT}


def _parameter(name: str, description: str, schema: Json = _TEXT) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


_CONTENT_PARAMETER: Final = _parameter(
    "content", "1: with what users, server and model wrote.", {"enum": ["0", "1"]}
)


def _route(
    description: str,
    schema: Json,
    *kinds: type[RelaykitError],
    parameters: tuple[Json, ...] = (),
    body: Json | None = None,
    has_id: bool = False,
    is_act: bool = False,
) -> dict[str, Any]:
    raised = (
        *TOKEN_ERRORS,
        errors.Forbidden,
        errors.RateLimited,
        *(() if is_act else (errors.InvalidFilter, errors.Overloaded)),
        *kinds,
    )
    request = {} if body is None else {"requestBody": {"content": {"application/json": {"schema": body}}}}
    return {
        "responses": {
            200: answer(description, schema),
            **refusals(*dict.fromkeys(raised), framework=[404] if has_id else ()),
        },
        "openapi_extra": {
            **AUTHENTICATED,
            **({"parameters": list(parameters)} if parameters else {}),
            **request,
        },
    }


CALLER: Final = _route(
    "The operator. `content`: it may see what was written.",
    _object({"tenant": _TEXT, "user": _TEXT, "content": _FLAG}),
)
OVERVIEW: Final = _route(
    "Everything at a glance. A part that cannot be asked for is left out; `postgresql` and `redis` say why.",
    _object(
        {"version": _TEXT, "postgresql": _TEXT, "redis": _TEXT, "clock": _CLOCK},
        {
            "database": _DATABASE,
            "workers": _list(_WORKER),
            "silent_workers": _list(_SILENT_WORKER),
            "queue": _object(_QUEUE_FIELDS),
            "ended_last_hour": _list(_ENDED),
            "acts": _list(_ACT),
        },
    ),
)
QUEUE: Final = _route(
    "The figures, and the callers with the most runs that have not ended.",
    _object({**_QUEUE_FIELDS, "callers": _list(_CALLER_LOAD)}),
    errors.QueueUnavailable,
)
WORKERS: Final = _route(
    "The workers, the oldest first, and those that have become silent without a word.",
    _object({"workers": _list(_WORKER), "silent_workers": _list(_SILENT_WORKER)}),
    errors.QueueUnavailable,
)
RUNS: Final = _route(
    "A page. `next` is the `before` of the one after it, null where there is none.",
    _object(
        {
            "runs": _list(_object({**_RUN_FIELDS, "worker": _or_null(_PLACE)})),
            "next": _MAYBE_TEXT,
            "redis": _TEXT,
        }
    ),
    parameters=(
        _parameter("status", "May be repeated.", {"type": "array", "items": _RUN_FIELDS["status"]}),
        _parameter("since", "Accepted within this time: 90s, 15m, 24h, 7d."),
        _parameter("older_than", "Accepted longer ago than this."),
        _parameter("tenant", "The tenant."),
        _parameter("user", "The `sub` of the user's tokens."),
        _parameter("thread", "The thread's id."),
        _parameter("error", "The error's code."),
        _parameter("run", "The run's id."),
        _parameter(
            "limit", "Runs at most.", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}
        ),
        _parameter("before", "The `next` of the page before."),
    ),
)
RUN: Final = _route(
    "The run.",
    _RUN,
    errors.RunNotFound,
    errors.ContentForbidden,
    parameters=(_CONTENT_PARAMETER,),
    has_id=True,
)
EVENTS: Final = _route(
    "A page of the journal. `next` is the `after` of the one that follows, null where there is none yet.",
    _object({"events": _list(_EVENT), "next": _or_null(CURSOR)}),
    errors.RunNotFound,
    errors.ContentForbidden,
    errors.InvalidCursor,
    errors.JournalGone,
    errors.QueueUnavailable,
    parameters=(
        _parameter("after", "A cursor.", CURSOR),
        _parameter(
            "limit", "Entries at most.", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 200}
        ),
        _CONTENT_PARAMETER,
    ),
    has_id=True,
)
CANCEL: Final = _route(
    "What came of it.",
    _object(_OUTCOME),
    errors.RunNotFound,
    ActRefused,
    errors.QueueUnavailable,
    has_id=True,
    is_act=True,
)
REQUEUE: Final = _route(
    "What came of it.",
    _object(_OUTCOME),
    errors.RunNotFound,
    ActRefused,
    errors.QueueUnavailable,
    errors.InvalidJson,
    errors.InvalidRequest,
    errors.BodyTooLarge,
    errors.TooManyBodies,
    body=_object({}, {"force": _FLAG}),
    has_id=True,
    is_act=True,
)
RETRY: Final = _route(
    "The run that answers the message again. `is_new`: it was made now.",
    _object({**_OUTCOME, "run_id": _TEXT, "is_new": _FLAG, "has_token": _FLAG}),
    errors.RunNotFound,
    ActRefused,
    RetryFailed,
    errors.QueueUnavailable,
    errors.ThreadNotFound,
    errors.ItemNotFound,
    errors.ItemMismatch,
    errors.ThreadBusy,
    errors.TooManyRuns,
    errors.ContextTimeout,
    errors.NotSupported,
    has_id=True,
    is_act=True,
)
DRAIN: Final = _route(
    "What came of it.",
    _object(_OUTCOME),
    WorkerNotFound,
    ActRefused,
    errors.QueueUnavailable,
    has_id=True,
    is_act=True,
)
