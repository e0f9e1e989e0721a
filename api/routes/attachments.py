"""`PUT` and `GET /attachments/{id}`: the bytes of two-phase uploads. The signed link is the authorisation."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Final, Literal
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from relaykit.api.limits.caller_limits import BodyCounts
from relaykit.api.openapi.attachments import DOWNLOAD, LINK, UPLOAD
from relaykit.api.routes.request import authenticated
from relaykit.shared.attachments.links import Grant, check, parse_expires
from relaykit.shared.attachments.media_types import may_be, media_type
from relaykit.shared.attachments.objects import (
    UPLOAD_RETRY_SECONDS,
    AttachmentObjects,
    StoredAttachment,
)
from relaykit.shared.attachments.store import RASTER_IMAGES, attachment_rules
from relaykit.shared.errors import (
    AttachmentAlreadyUploaded,
    AttachmentNotFound,
    AttachmentNotUploaded,
    AttachmentRejected,
    BodyTooLarge,
    InvalidSignature,
)
from relaykit.shared.settings import Settings

CACHE_SECONDS: Final = 3_600
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Referrer-Policy": "no-referrer",
}
"""What a user uploaded is shown or saved, and never runs as a page of ours."""


def attachments_router(settings: Settings, objects: AttachmentObjects | None) -> APIRouter:
    """The three routes; none where ATTACHMENTS_URL is not set. Raises SettingsError."""
    router = APIRouter()
    rules = attachment_rules(settings)
    if rules is None or objects is None:
        return router
    key = rules.key
    # a link that is asked for each time ends, whatever the store
    links = replace(rules.previews, seconds=settings.attachment_preview_seconds)
    uploads = BodyCounts(settings.caller_max_bodies, UPLOAD_RETRY_SECONDS)

    @router.put("/attachments/{attachment_id}", **UPLOAD)
    async def upload(
        attachment_id: str, request: Request, signature: str = "", expires: str | None = None
    ) -> Response:
        """Takes the bytes, once; the link is that of the attachment's `upload_descriptor`."""
        stored = await objects.find(attachment_id)
        _authorise(key, stored, "PUT", signature, expires)
        _check_headers(request, stored)
        with uploads.take(stored.owner):
            await objects.write(stored, request.stream())
        return Response(status_code=204)

    @router.get("/attachments/{attachment_id}", **DOWNLOAD)
    async def download(attachment_id: str, signature: str = "", expires: str | None = None) -> Response:
        """The bytes; the link is the attachment's `preview_url`."""
        stored = await objects.find(attachment_id)
        seconds_left = _authorise(key, stored, "GET", signature, expires)
        size_bytes, chunks = await objects.open(stored)
        attachment = stored.attachment
        headers = {
            **HEADERS,
            "Cache-Control": f"private, max-age={int(min(CACHE_SECONDS, seconds_left))}",
            "Content-Length": str(size_bytes),
            "Content-Disposition": content_disposition(attachment.name, attachment.mime_type),
        }
        return StreamingResponse(chunks, media_type=attachment.mime_type, headers=headers)

    @router.get("/attachments/{attachment_id}/link", **LINK)
    async def link(attachment_id: str, request: Request) -> Response:
        """A link to what the caller has sent, of whatever type: messages have links to images alone."""
        identity = await authenticated(request)
        stored = await objects.find(attachment_id)
        if stored.owner != identity.owner:
            raise AttachmentNotFound
        if stored.object_key is None:
            raise AttachmentNotUploaded
        return JSONResponse({"url": str(links.url(attachment_id, identity.owner))})

    return router


def content_disposition(name: str, mime_type: str) -> str:
    """Only images that cannot carry scripts are shown in place."""
    kind = "inline" if media_type(mime_type) in RASTER_IMAGES else "attachment"
    return f"{kind}; filename*=UTF-8''{quote(name, safe='')}"


def _authorise(
    key: str, stored: StoredAttachment, method: Literal["GET", "PUT"], signature: str, expires: str | None
) -> float:
    """The seconds for which the link is good still.

    Raises AttachmentNotFound for a link that is not signed: without one, every attachment is absent. Raises
    InvalidSignature for one whose time is over.
    """
    try:
        grant = Grant(method, stored.attachment.id, stored.owner, parse_expires(expires))
        check(key, grant, signature, now_seconds=0)
    except InvalidSignature:
        raise AttachmentNotFound from None
    now = time.time()
    check(key, grant, signature, now)
    return math.inf if grant.expires is None else grant.expires - now


def _check_headers(request: Request, stored: StoredAttachment) -> None:
    """Refuses what the headers already tell, before a byte of the body is read."""
    if stored.object_key is not None:
        raise AttachmentAlreadyUploaded
    declared = request.headers.get("content-type")
    if declared and not may_be(stored.attachment.mime_type, stored.attachment.name, declared):
        raise AttachmentRejected("The upload's Content-Type is not the one that was declared.")
    length = request.headers.get("content-length")
    if length is not None and length.isdigit():
        if int(length) > stored.declared_bytes:
            raise BodyTooLarge("The upload is larger than declared.")
        if int(length) < stored.declared_bytes:
            raise AttachmentRejected("The upload is smaller than declared.")
