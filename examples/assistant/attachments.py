"""Attachments as the model's input: images and PDFs as they are, text as text, anything else by its name."""

from __future__ import annotations

import base64
from typing import Protocol, runtime_checkable

from chatkit.store import NotFoundError
from chatkit.types import Attachment
from openai.types.responses import (
    ResponseInputContentParam,
    ResponseInputFileParam,
    ResponseInputImageParam,
    ResponseInputTextParam,
)

from relaykit import AttachmentTooLarge, RequestContext
from relaykit.examples.assistant.untrusted import Fence, cut, one_line

IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
FILE_TYPES = frozenset({"application/pdf"})
TEXT_TYPES = frozenset({"application/json", "application/xml", "application/yaml"})
MAX_ATTACHMENT_BYTES = 8 * 1024 * 1024
MAX_TURN_BYTES = 16 * 1024 * 1024
MAX_TURN_FILES = 24
"""Of one turn, its history included, whether they turn out readable or not: each is looked up."""
MAX_TEXT_CHARS = 20_000


@runtime_checkable
class ReadsAttachments(Protocol):
    """An attachment store that hands out bytes, which ChatKit's own interface leaves open."""

    async def read(self, attachment_id: str, context: RequestContext, *, max_bytes: int) -> bytes:
        """Raises AttachmentTooLarge before it reads a byte of what has more than `max_bytes`."""
        ...


class AttachmentReader:
    """Reads for one turn: each attachment once, and MAX_TURN_BYTES in all; ask for the newest attachments first."""

    def __init__(self, store: object, context: RequestContext, fence: Fence) -> None:
        self._store = store if isinstance(store, ReadsAttachments) else None
        self._context = context
        self._fence = fence
        self._seen: set[str] = set()
        self._bytes_left = MAX_TURN_BYTES

    async def content_of(self, attachment: Attachment) -> ResponseInputContentParam:
        """Where a file is gone or too large, the model is told so, and the thread goes on.

        Raises what the store raises when it is away, which is worth a retry.
        """
        mime_type = attachment.mime_type.partition(";")[0].strip().lower()
        if not _is_understood(mime_type):
            return self._note(attachment, "its type cannot be read")
        if attachment.id in self._seen:
            return self._note(attachment, "it is attached again later in this conversation")
        if len(self._seen) >= MAX_TURN_FILES or self._bytes_left <= 0:
            return self._note(attachment, "newer attachments take all the room")
        self._seen.add(attachment.id)
        if self._store is None:
            return self._note(attachment, "this site does not hand out its content")
        try:
            data = await self._store.read(attachment.id, self._context, max_bytes=self._room)
        except AttachmentTooLarge:
            return self._note(attachment, "it is too large")
        except (NotFoundError, LookupError):
            return self._note(attachment, "its content is not there any more")
        self._bytes_left -= len(data)
        return self._content(attachment, mime_type, data)

    @property
    def _room(self) -> int:
        return min(MAX_ATTACHMENT_BYTES, self._bytes_left)

    def _content(self, attachment: Attachment, mime_type: str, data: bytes) -> ResponseInputContentParam:
        if mime_type in IMAGE_TYPES:
            return ResponseInputImageParam(
                type="input_image", detail="auto", image_url=_data_url(mime_type, data)
            )
        if mime_type in FILE_TYPES:
            return ResponseInputFileParam(
                type="input_file", filename=_name(attachment), file_data=_data_url(mime_type, data)
            )
        text = data[: MAX_TEXT_CHARS * 4].decode("utf-8", errors="replace")
        return self._text(attachment, cut(text, MAX_TEXT_CHARS))

    def _note(self, attachment: Attachment, why: str) -> ResponseInputContentParam:
        return self._text(attachment, f"[No content: {why}.]")

    def _text(self, attachment: Attachment, text: str) -> ResponseInputContentParam:
        attributes = {"name": _name(attachment), "type": one_line(attachment.mime_type, 100)}
        return ResponseInputTextParam(
            type="input_text", text=self._fence.block("attachment", text, attributes)
        )


def _is_understood(mime_type: str) -> bool:
    return mime_type in IMAGE_TYPES | FILE_TYPES | TEXT_TYPES or mime_type.startswith("text/")


def _name(attachment: Attachment) -> str:
    return one_line(attachment.name, 200)


def _data_url(mime_type: str, data: bytes) -> str:
    return f"data:{mime_type};base64,{base64.b64encode(data).decode('ascii')}"
