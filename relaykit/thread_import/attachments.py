"""The files of an imported thread's messages: their rows, and their bytes where the site gives them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Final

from chatkit.types import Attachment, FileAttachment, ImageAttachment

from relaykit.shared.attachments.objects import AttachmentObjects
from relaykit.shared.attachments.store import RASTER_IMAGES, SIZE_KEY, AttachmentRules
from relaykit.shared.errors import AttachmentAlreadyUploaded
from relaykit.shared.owner import Owner
from relaykit.shared.postgres.database import Database
from relaykit.shared.site.store_extras import ABSENT
from relaykit.shared.threads import statements
from relaykit.thread_import.reading import StoreMistake
from relaykit.thread_import.sources import ThreadSource

Replaced = Mapping[str, Attachment]
"""By the id that a message of the other store has: the attachment as it is here."""

_OURS: Final = re.compile(r"atc_[0-9a-f]{32}", re.ASCII)
"""An id of the form that our store gives: links to previews are renewed for no other."""
# The row belongs to no message yet: one that no thread takes is swept like an upload that was never sent.
REGISTER: Final = """
INSERT INTO attachments (id, tenant, owner, data, declared_bytes) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (id) DO UPDATE SET data = excluded.data, declared_bytes = excluded.declared_bytes
WHERE attachments.tenant = excluded.tenant AND attachments.owner = excluded.owner AND attachments.uploaded_at IS NULL
"""


class AttachmentImport:
    """Brings attachments before the thread that shows them, so that a thread is never here without its files."""

    def __init__(
        self, database: Database, objects: AttachmentObjects | None, rules: AttachmentRules | None
    ) -> None:
        self._database = database
        self._objects = objects
        self._rules = rules

    async def bring(self, source: ThreadSource, attachments: Iterable[Attachment]) -> dict[str, Attachment]:
        """What stands here in the place of each, its bytes being here where the site gives them.

        The same attachment gets the same id each time. Raises StoreMistake, StorageUnavailable, DatabaseUnavailable,
        and what the site's code raises.
        """
        return {attachment.id: await self._bring(source, attachment) for attachment in attachments}

    async def _bring(self, source: ThreadSource, shown: Attachment) -> Attachment:
        try:
            known = await source.store.load_attachment(shown.id, source.store_context)
        except (*ABSENT, NotImplementedError):
            known = shown  # a store without attachments has them in its messages alone
        known = known.model_copy(update={"id": shown.id, "upload_descriptor": None, "thread_id": None})
        if source.read_attachment is None or self._objects is None or self._rules is None:
            return known
        content = await source.read_attachment(known)
        if content is None:
            return known
        if not isinstance(content, bytes):
            raise StoreMistake(f"read_attachment gave a {type(content).__name__}, not bytes, for {known.id}")
        if len(content) > self._rules.max_bytes:
            raise StoreMistake(
                f"attachment {known.id} has {len(content)} bytes; ATTACHMENT_MAX_BYTES is less"
            )
        attachment = _described(known, len(content), self._rules, source.owner)
        await self._upload(attachment, source.owner, content)
        return attachment

    async def _upload(self, attachment: Attachment, owner: Owner, content: bytes) -> None:
        assert self._objects is not None
        async with self._database.connection() as connection:
            await connection.execute(
                REGISTER, attachment.id, *owner, attachment.model_dump_json(), len(content)
            )
        stored = await self._objects.find(attachment.id)
        if stored.owner != owner:
            raise StoreMistake(f"attachment {attachment.id} is another user's here")
        if stored.object_key is None:
            try:
                await self._objects.write(stored, _one(content))
            except AttachmentAlreadyUploaded:  # by another import meanwhile
                return

    async def save(self, source: ThreadSource, thread_id: str, replaced: Replaced) -> None:
        """Writes the rows, as the thread's; inside its transaction. Raises StoreMistake."""
        async with self._database.connection() as connection:
            for attachment in replaced.values():
                row = await connection.fetchrow(
                    statements.SAVE_ATTACHMENT,
                    attachment.id,
                    *source.owner,
                    attachment.model_dump_json(),
                    thread_id,
                )
                if row is None:
                    raise StoreMistake(f"attachment {attachment.id} is another user's here")


def _described(known: Attachment, size: int, rules: AttachmentRules, owner: Owner) -> Attachment:
    """The attachment under an id of our form, with its size, and for an image a preview of ours."""
    attachment_id = known.id if _OURS.fullmatch(known.id) else _id_of(known.id, owner)
    common = {
        "id": attachment_id,
        "name": known.name,
        "mime_type": known.mime_type,
        "metadata": {**(known.metadata or {}), SIZE_KEY: size},
    }
    if known.mime_type not in RASTER_IMAGES:
        return FileAttachment(**common)
    return ImageAttachment(**common, preview_url=rules.previews.url(attachment_id, owner))


def _id_of(attachment_id: str, owner: Owner) -> str:
    text = "\x1f".join((*owner, attachment_id))
    return f"atc_{hashlib.sha256(text.encode()).hexdigest()[:32]}"


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content
