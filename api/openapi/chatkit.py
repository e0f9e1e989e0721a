"""The description of `POST /chatkit`: the sixteen requests as the SDK's models have them."""

from __future__ import annotations

import warnings
from typing import Any, Final

from chatkit.types import ChatKitReq
from pydantic import TypeAdapter
from pydantic.json_schema import PydanticJsonSchemaWarning

from relaykit.api.openapi.responses import (
    AUTHENTICATED,
    CURSOR,
    EVENTS,
    RESUME_HEADER,
    RUN_ID_HEADER,
    TOKEN_ERRORS,
    Json,
    refusals,
)
from relaykit.shared import errors

REQUEST: Final = "ChatKitRequest"
_REFERENCE: Final = "#/components/schemas/{model}"

_HEADERS: Final[list[Json]] = [
    {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Makes a streaming request safe to repeat: the same key with the same body is the same run.",
        "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
    },
    {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "Of a streaming request: goes on after this cursor with the run that the same request has made, "
        "and makes none.",
        "schema": CURSOR,
    },
    RESUME_HEADER,
    {
        "name": "Relaykit-Max-Attempts",
        "in": "header",
        "description": "1: the run is not executed again should its worker be lost.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 99},
    },
    {
        "name": "Accept-Language",
        "in": "header",
        "description": "Its first language is the request's locale.",
        "schema": {"type": "string"},
    },
]

CHATKIT: Final[dict[str, Any]] = {
    "responses": {
        200: {
            "description": "JSON for a request that is answered at once, else the events of the run it became.",
            "headers": RUN_ID_HEADER,
            "content": {"application/json": {"schema": {"type": "object"}}, **EVENTS},
        },
        **refusals(
            *TOKEN_ERRORS,
            errors.InvalidJson,
            errors.UnknownRequestType,
            errors.NotSupported,
            errors.InvalidIdempotencyKey,
            errors.InvalidCursor,
            errors.ThreadNotFound,
            errors.ItemNotFound,
            errors.AttachmentNotFound,
            errors.ItemMismatch,
            errors.ThreadBusy,
            errors.NothingToResume,
            errors.AttachmentNotUploaded,
            errors.AttachmentInUse,
            errors.ServerRefused,
            errors.JournalGone,
            errors.BodyTooLarge,
            errors.AttachmentTooLarge,
            errors.InvalidRequest,
            errors.EmptyMessage,
            errors.MessageTooLarge,
            errors.TitleTooLong,
            errors.MetadataTooLarge,
            errors.IdempotencyMismatch,
            errors.AttachmentRejected,
            errors.TooManyAttachments,
            errors.RateLimited,
            errors.TenantRateLimited,
            errors.TooManyBodies,
            errors.TooManyAttachmentsUnsent,
            errors.TooManyQueued,
            errors.TooManyRuns,
            errors.TooManyStreams,
            errors.QueueFull,
            errors.QueueUnavailable,
            errors.StorageUnavailable,
            errors.ContextTimeout,
            errors.ServerBlocked,
            errors.ContextHeadersTooLarge,
        ),
    },
    "openapi_extra": {
        **AUTHENTICATED,
        "parameters": _HEADERS,
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": _REFERENCE.format(model=REQUEST)}}},
        },
    },
}
"""What stands beside the route."""


def request_definitions() -> dict[str, Json]:
    """The schemas of the sixteen requests, of their union and of all that they hold."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", PydanticJsonSchemaWarning
        )  # a default of the SDK's that is a type variable
        union = TypeAdapter(ChatKitReq).json_schema(ref_template=_REFERENCE)
    definitions: dict[str, Json] = union.pop("$defs")
    for request in union["discriminator"]["mapping"].values():
        # the SDK's models have a default for it, and their union cannot do without
        definitions[request.rpartition("/")[2]]["required"].append("type")
    definitions["ThreadListParams"]["properties"]["order_by"] = {
        "const": "activity",
        "description": "Ours: the threads by their last use, each with `active_at`, where the store is ours.",
    }
    definitions["Action_str_Any_"]["required"] = ["type"]
    return {**definitions, REQUEST: union}
