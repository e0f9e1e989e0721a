"""The descriptions of the routes of an attachment's bytes."""

from __future__ import annotations

from typing import Any, Final

from fastapi.responses import StreamingResponse

from relaykit.api.openapi.responses import AUTHENTICATED, TOKEN_ERRORS, Json, answer, refusals
from relaykit.shared.errors import (
    AttachmentAlreadyUploaded,
    AttachmentNotFound,
    AttachmentNotUploaded,
    AttachmentRejected,
    BodyTooLarge,
    DatabaseUnavailable,
    InvalidSignature,
    StorageUnavailable,
    TooManyBodies,
    UploadInProgress,
)

_LINK: Final[Json] = {
    "type": "object",
    "properties": {"url": {"type": "string", "format": "uri"}},
    "required": ["url"],
    "additionalProperties": False,
}
_BYTES: Final[Json] = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
_LINK_ERRORS: Final = (AttachmentNotFound, InvalidSignature, DatabaseUnavailable, StorageUnavailable)

UPLOAD: Final[dict[str, Any]] = {
    "status_code": 204,
    "responses": refusals(
        *_LINK_ERRORS,
        AttachmentAlreadyUploaded,
        UploadInProgress,
        AttachmentRejected,
        BodyTooLarge,
        TooManyBodies,
        framework=[404],
    ),
    "openapi_extra": {"requestBody": {"required": True, "content": _BYTES}},
}
DOWNLOAD: Final[dict[str, Any]] = {
    "response_class": StreamingResponse,
    "responses": {
        200: {"description": "The bytes.", "content": _BYTES},
        **refusals(*_LINK_ERRORS, AttachmentNotUploaded, framework=[404]),
    },
}
LINK: Final[dict[str, Any]] = {
    "responses": {
        200: answer("A link to the bytes, which is good for some time.", _LINK),
        **refusals(*TOKEN_ERRORS, AttachmentNotFound, AttachmentNotUploaded, framework=[404]),
    },
    "openapi_extra": AUTHENTICATED,
}
