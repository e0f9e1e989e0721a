"""Attachments as the model's input: images and PDFs as they are, text as text, anything else by its name."""

from __future__ import annotations

import base64
from typing import Any, Protocol, runtime_checkable

from chatkit.store import NotFoundError
from chatkit.types import Attachment
from openai.types.responses import (
    ResponseInputContentParam,
    ResponseInputFileParam,
    ResponseInputImageParam,
    ResponseInputTextParam,
)

from examples.assistant.untrusted import block, cut, one_line
from shared.identity import RequestContext

IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
FILE_TYPES = frozenset({"application/pdf"})
TEXT_TYPES = frozenset({"application/json", "application/xml", "application/yaml"})
MAX_ATTACHMENT_BYTES = 8 * 1024 * 1024
MAX_TURN_BYTES = 16 * 1024 * 1024
MAX_TEXT_CHARS = 20_000


@runtime_checkable
class ReadsAttachments(Protocol):
    """An attachment store that hands out bytes, which ChatKit's own interface leaves open."""

    async def read(self, attachment_id: str, context: RequestContext) -> bytes: ...


class AttachmentReader:
    """Reads for one turn, at most MAX_TURN_BYTES; ask for the newest attachments first."""

    def __init__(self, store: object, context: RequestContext) -> None:
        self._store = store if isinstance(store, ReadsAttachments) else None
        self._context = context
        self._bytes_left = MAX_TURN_BYTES

    async def content_of(self, attachment: Attachment) -> ResponseInputContentParam:
        """Where a file is gone or too large, the model is told so, and the thread goes on.

        Raises what the store raises when it is away, which is worth a retry.
        """
        mime_type = attachment.mime_type.partition(";")[0].strip().lower()
        if not _is_understood(mime_type):
            return _note(attachment, "its type cannot be read")
        if self._store is None:
            return _note(attachment, "this site does not hand out its content")
        if self._bytes_left <= 0:
            return _note(attachment, "newer attachments take all the room")
        data = await self._read(attachment.id)
        if data is None:
            return _note(attachment, "its content is not there any more")
        if len(data) > min(MAX_ATTACHMENT_BYTES, self._bytes_left):
            return _note(attachment, "it is too large")
        self._bytes_left -= len(data)
        return _content(attachment, mime_type, data)

    async def _read(self, attachment_id: str) -> bytes | None:
        assert self._store is not None
        try:
            return await self._store.read(attachment_id, self._context)
        except (NotFoundError, LookupError):
            return None


def _is_understood(mime_type: str) -> bool:
    return mime_type in IMAGE_TYPES | FILE_TYPES | TEXT_TYPES or mime_type.startswith("text/")


def _content(attachment: Attachment, mime_type: str, data: bytes) -> ResponseInputContentParam:
    if mime_type in IMAGE_TYPES:
        return ResponseInputImageParam(
            type="input_image", detail="auto", image_url=_data_url(mime_type, data)
        )
    if mime_type in FILE_TYPES:
        return ResponseInputFileParam(
            type="input_file", filename=_name(attachment), file_data=_data_url(mime_type, data)
        )
    text = data[: MAX_TEXT_CHARS * 4].decode("utf-8", errors="replace")
    return ResponseInputTextParam(
        type="input_text", text=block("attachment", cut(text, MAX_TEXT_CHARS), _attributes(attachment))
    )


def _note(attachment: Attachment, why: str) -> ResponseInputContentParam:
    text = block("attachment", f"[No content: {why}.]", _attributes(attachment))
    return ResponseInputTextParam(type="input_text", text=text)


def _attributes(attachment: Attachment) -> dict[str, Any]:
    return {"name": _name(attachment), "type": one_line(attachment.mime_type, 100)}


def _name(attachment: Attachment) -> str:
    return one_line(attachment.name, 200)


def _data_url(mime_type: str, data: bytes) -> str:
    return f"data:{mime_type};base64,{base64.b64encode(data).decode('ascii')}"
