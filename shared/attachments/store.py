"""Two-phase upload for ChatKit: attachments as rows in PostgreSQL, their bytes behind ATTACHMENTS_URL."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from chatkit.store import AttachmentStore, NotFoundError
from chatkit.types import (
    Attachment,
    AttachmentCreateParams,
    AttachmentUploadDescriptor,
    FileAttachment,
    ImageAttachment,
)
from pydantic import AnyUrl

from relaykit.shared.attachments.links import Grant, link
from relaykit.shared.attachments.media_types import allowed_type, media_type
from relaykit.shared.attachments.objects import AttachmentObjects, StoredAttachment, open_object_store
from relaykit.shared.attachments.previews import Previews
from relaykit.shared.errors import (
    AttachmentInUse,
    AttachmentNotFound,
    AttachmentRejected,
    AttachmentTooLarge,
    SettingsError,
    TooManyAttachmentsUnsent,
)
from relaykit.shared.owner import Owner
from relaykit.shared.postgres.database import Database
from relaykit.shared.settings import LOOPBACK_HOSTS, Settings
from relaykit.shared.threads.calls import StoreCalls, owner_of
from relaykit.shared.threads.store import generate_id

MAX_NAME_CHARS: Final = 255
UNSENT_SECONDS: Final = 7 * 86_400
"""How long an upload may wait in a composer before it counts as forgotten."""

RASTER_IMAGES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""Image types that cannot carry scripts: the ones a browser is shown in place."""

SIZE_KEY: Final = "size_bytes"
"""The key, in an attachment's `metadata`, of the bytes that it was declared with, and has. ChatKit sends `metadata` to
no client."""

UNSENT_RETRY_SECONDS: Final = 60.0

_CREATE = "SELECT create_attachment($1, $2, $3, $4, $5, $6, $7)"
_NOTE_SENT = "DELETE FROM unsent_attachments WHERE attachment_id = ANY ($1) AND tenant = $2 AND owner = $3"
# A message that takes it at the same time is waited for: the condition is asked again of the row as it is then.
_DELETE = """
DELETE FROM attachments WHERE id = $1 AND tenant = $2 AND owner = $3 AND thread_id IS NULL RETURNING object_key
"""
_DELETE_UNSENT = """
DELETE FROM attachments WHERE id = ANY (ARRAY (
    SELECT id FROM attachments
    WHERE thread_id IS NULL AND declared_bytes IS NOT NULL AND created_at < now() - $1 * interval '1 second'
    ORDER BY created_at LIMIT $2
    FOR UPDATE SKIP LOCKED
))
"""
# What a caller created and sent through the release before, or with a store of the server's own never sent.
_FORGET_UNSENT = """
DELETE FROM unsent_attachments WHERE attachment_id = ANY (ARRAY (
    SELECT attachment_id FROM unsent_attachments
    WHERE created_at < now() - $1 * interval '1 second'
    ORDER BY created_at LIMIT $2
    FOR UPDATE SKIP LOCKED
))
"""


@dataclass(frozen=True, slots=True)
class AttachmentRules:
    """What is accepted, and how its links are signed."""

    max_bytes: int
    max_unsent: int
    """Attachments that a caller has created and not sent; 0 is no limit."""
    max_unsent_bytes: int
    mime_types: frozenset[str]
    key: str
    public_url: str
    upload_seconds: float
    previews: Previews


class ObjectAttachmentStore(AttachmentStore[Any]):
    """The attachment store that a ChatKit server gets where ATTACHMENTS_URL is set.

    The client registers a file, PUTs its bytes to the signed link of `upload_descriptor`, which works once and for
    ATTACHMENT_URL_SECONDS, and then sends the message that names it. A server reads them with
    `await self.attachment_store.read(attachment_id, context)`.

    An image's `preview_url` is signed too, for ATTACHMENT_PREVIEW_SECONDS at most; PostgresStore renews it in each item
    and attachment that it reads. Everyone with the link can see that one image until then: keep query strings out of
    access logs. With CHATKIT_STORE=own there is nothing that renews it, and it does not end before the attachment.
    Nor does a link that an earlier release has given. A new ATTACHMENTS_KEY ends all links that there are.

    The size of an attachment stands in its `metadata` as "size_bytes", so that a server can choose what to read.

    Raises NotFoundError for what is absent or someone else's, StorageUnavailable, DatabaseUnavailable.
    """

    def __init__(
        self,
        database: Database,
        objects: AttachmentObjects,
        rules: AttachmentRules,
        calls: StoreCalls,
        *,
        sweep_unsent: bool,
    ) -> None:
        self._database = database
        self._calls = calls
        self._objects = objects
        self._rules = rules
        self._sweep_unsent = sweep_unsent

    def generate_attachment_id(self, mime_type: str, context: Any) -> str:
        return generate_id("attachment")

    async def create_attachment(self, input: AttachmentCreateParams, context: Any) -> Attachment:
        """Registers a file, for an image of a raster type with a preview.

        Raises AttachmentRejected, and TooManyAttachmentsUnsent: exactly under simultaneous calls on any hosts.
        """
        mime_type = self._checked_type(input)
        owner = owner_of(context)
        attachment = self._attachment(input, mime_type, context, owner)
        async with self._database.connection() as connection:
            is_created = await connection.fetchval(
                _CREATE,
                attachment.id,
                *owner,
                attachment.model_dump_json(),
                input.size,
                self._rules.max_unsent,
                self._rules.max_unsent_bytes,
            )
        if not is_created:
            raise TooManyAttachmentsUnsent(retry_after_seconds=UNSENT_RETRY_SECONDS)
        return attachment

    def _checked_type(self, params: AttachmentCreateParams) -> str:
        mime_type = allowed_type(params.name, params.mime_type, self._rules.mime_types)
        if mime_type is None:
            given = media_type(params.mime_type)[:100] or "unknown"
            allowed = ", ".join(sorted(self._rules.mime_types))
            raise AttachmentRejected(f"Files of type {given} are not accepted. Allowed: {allowed}.")
        if not 0 < params.size <= self._rules.max_bytes:
            raise AttachmentRejected(f"A file has 1 to {self._rules.max_bytes} bytes.")
        if not 0 < len(params.name) <= MAX_NAME_CHARS:
            raise AttachmentRejected(f"A file's name has 1 to {MAX_NAME_CHARS} characters.")
        return mime_type

    def _attachment(
        self, params: AttachmentCreateParams, mime_type: str, context: Any, owner: Owner
    ) -> Attachment:
        attachment_id = self.generate_attachment_id(mime_type, context)
        expires = int(time.time() + self._rules.upload_seconds)
        url = AnyUrl(
            link(self._rules.key, self._rules.public_url, Grant("PUT", attachment_id, owner, expires))
        )
        upload = AttachmentUploadDescriptor(url=url, method="PUT", headers={"Content-Type": mime_type})
        common: dict[str, Any] = {
            "id": attachment_id,
            "name": params.name,
            "mime_type": mime_type,
            "metadata": {SIZE_KEY: params.size},
        }
        if mime_type not in RASTER_IMAGES:
            return FileAttachment(**common, upload_descriptor=upload)
        preview_url = self._rules.previews.url(attachment_id, owner)
        return ImageAttachment(**common, upload_descriptor=upload, preview_url=preview_url)

    async def delete_attachment(self, attachment_id: str, context: Any) -> None:
        """Deletes the attachment and its bytes; `PostgresStore.delete_attachment` after it finds nothing to do.

        Raises AttachmentInUse where a message has taken it: it goes with the last thread that shows it.
        `PostgresStore.delete_attachment` alone deletes it all the same, for a server that means to.
        """
        stored = await self._own(attachment_id, context)
        async with self._database.connection() as connection:
            deleted = await connection.fetchrow(_DELETE, attachment_id, *stored.owner)
        if deleted is None:
            raise AttachmentInUse
        if deleted["object_key"] is not None:
            await self._objects.discard(deleted["object_key"])

    async def read(self, attachment_id: str, context: Any, *, max_bytes: int | None = None) -> bytes:
        """The caller's file, whole: at most ATTACHMENT_MAX_BYTES.

        Raises AttachmentNotUploaded; AttachmentTooLarge where the file has more than `max_bytes`, before a byte of it
        is read. A server that reads the files of a whole thread gives it what is left of the bytes for one turn.
        """
        stored = await self._own(attachment_id, context)
        if max_bytes is not None and stored.declared_bytes > max_bytes:
            raise AttachmentTooLarge
        try:
            return await self._objects.read(stored)
        except AttachmentNotFound as error:
            raise NotFoundError(attachment_id) from error

    async def note_sent(self, attachment_ids: Sequence[str], context: Any) -> None:
        """A message has taken these: they count no longer as unsent. PostgresStore notes that by itself."""
        async with self._database.connection() as connection:
            await connection.execute(_NOTE_SENT, list(attachment_ids), *owner_of(context))

    async def is_uploaded(self, attachment_id: str, context: Any) -> bool:
        """Whether the bytes are there; for stores other than PostgresStore, which do not see it."""
        return (await self._own(attachment_id, context)).object_key is not None

    async def sweep(self, limit: int = 100) -> int:
        """Removes bytes whose attachment is gone, and uploads that no message took within UNSENT_SECONDS.

        To be called now and then, on one host or on many. Returns the number of objects removed.
        """
        async with self._database.connection() as connection:
            if self._sweep_unsent:
                await connection.execute(_DELETE_UNSENT, UNSENT_SECONDS, limit)
            await connection.execute(_FORGET_UNSENT, UNSENT_SECONDS, limit)
        return await self._objects.sweep(limit)

    async def _own(self, attachment_id: str, context: Any) -> StoredAttachment:
        owner = owner_of(context)
        try:
            stored = await self._calls.patiently(lambda: self._objects.find(attachment_id))
        except AttachmentNotFound as error:
            raise NotFoundError(attachment_id) from error
        if stored.owner != owner:
            raise NotFoundError(attachment_id)
        return stored


def attachment_rules(settings: Settings) -> AttachmentRules | None:
    """What the settings say; None where ATTACHMENTS_URL is not set. Raises SettingsError."""
    if settings.attachments_url is None or settings.attachments_key is None:
        return None
    public_url = settings.public_url
    if public_url is None:
        if settings.host not in LOOPBACK_HOSTS:
            raise SettingsError("ATTACHMENTS_URL needs PUBLIC_URL, where HOST is not loopback")
        public_url = f"http://{settings.host}:{settings.port}"
    return AttachmentRules(
        max_bytes=settings.attachment_max_bytes,
        max_unsent=settings.caller_max_unsent_attachments,
        max_unsent_bytes=settings.caller_max_unsent_bytes,
        mime_types=frozenset(map(media_type, settings.attachment_mime_types)),
        key=settings.attachments_key,
        public_url=public_url,
        upload_seconds=settings.attachment_url_seconds,
        previews=Previews(
            settings.attachments_key,
            public_url,
            settings.attachment_preview_seconds if settings.chatkit_store == "postgres" else None,
        ),
    )


def build_previews(settings: Settings) -> Previews | None:
    """What renews the links of previews; None where ATTACHMENTS_URL is not set. Raises SettingsError."""
    rules = attachment_rules(settings)
    return None if rules is None else rules.previews


def open_attachment_objects(settings: Settings, database: Database) -> AttachmentObjects | None:
    """The bytes behind ATTACHMENTS_URL; None where it is not set. Raises SettingsError."""
    if attachment_rules(settings) is None or settings.attachments_url is None:
        return None
    return AttachmentObjects(database, open_object_store(settings.attachments_url))


def build_attachment_store(
    settings: Settings, database: Database, objects: AttachmentObjects | None, calls: StoreCalls
) -> ObjectAttachmentStore | None:
    """The store that the settings describe; None where ATTACHMENTS_URL is not set. Raises SettingsError.

    A read of an attachment waits for PostgreSQL where `calls` says so.
    """
    rules = attachment_rules(settings)
    if rules is None or objects is None:
        return None
    # a store of the server's own does not say which attachments were sent
    return ObjectAttachmentStore(
        database,
        objects,
        rules,
        calls,
        sweep_unsent=settings.chatkit_store == "postgres",
    )
