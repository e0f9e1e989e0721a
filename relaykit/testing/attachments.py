"""The object store's stand-in, and what PostgreSQL does with the statements of attachments."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, cast

from relaykit.shared.attachments import objects, store
from relaykit.shared.attachments.objects import AttachmentObjects, StoredAttachment
from relaykit.shared.errors import AttachmentNotFound, AttachmentNotUploaded
from relaykit.shared.postgres.database import Database
from relaykit.shared.threads import statements as sql
from relaykit.testing.tables import Row, Statement, Tables
from relaykit.testing.thread_statements import load_thread, owned_row, write_item

SETTINGS: Final = {"attachments_url": "memory://", "attachments_key": "0" * 64}
"""What a chat in memory has unless a test says otherwise."""


class MemoryObjects(AttachmentObjects):
    """Keeps the bytes, and takes no time for it."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, cast(Any, None))
        self._bytes: dict[str, bytes] = {}

    async def read(self, stored: StoredAttachment) -> bytes:
        if stored.object_key is None:
            raise AttachmentNotUploaded
        if stored.object_key not in self._bytes:
            raise AttachmentNotFound
        return self._bytes[stored.object_key]

    async def _put(self, object_key: str, chunks: AsyncIterator[bytes]) -> None:
        self._bytes[object_key] = b"".join([chunk async for chunk in chunks])

    async def _remove(self, object_key: str) -> None:
        self._bytes.pop(object_key, None)

    def lose(self) -> None:
        """The bytes are gone, as after a mistake in the object store; the rows are not."""
        self._bytes.clear()


def _create(
    tables: Tables,
    attachment_id: str,
    tenant: str,
    owner: str,
    data: str,
    declared_bytes: int,
    max_count: int,
    max_bytes: int,
) -> list[Row]:
    unsent = [
        row["declared_bytes"]
        for key, row in tables.unsent.items()
        if (row["tenant"], row["owner"]) == (tenant, owner)
        and tables.attachments.get(key, {}).get("thread_id") is None
    ]
    too_many = 0 < max_count <= len(unsent)
    too_large = bool(unsent) and 0 < max_bytes < sum(unsent) + declared_bytes
    if too_many or too_large:
        return [{"created": False}]
    named = {"id": attachment_id, "tenant": tenant, "owner": owner, "declared_bytes": declared_bytes}
    tables.attachments[attachment_id] = {**named, "data": data, "thread_id": None, "object_key": None}
    tables.unsent[attachment_id] = named
    return [{"created": True}]


def _note_sent(tables: Tables, attachment_ids: Sequence[str], tenant: str, owner: str) -> list[Row]:
    for attachment_id in attachment_ids:
        row = tables.unsent.get(attachment_id)
        if row is not None and (row["tenant"], row["owner"]) == (tenant, owner):
            del tables.unsent[attachment_id]
    return []


def _delete(tables: Tables, attachment_id: str, tenant: str, owner: str) -> list[Row]:
    row = tables.attachments.get(attachment_id)
    if row is None or (row["tenant"], row["owner"], row["thread_id"]) != (tenant, owner, None):
        return []
    del tables.attachments[attachment_id]
    tables.unsent.pop(attachment_id, None)
    return [{"object_key": row["object_key"]}]


def _find(tables: Tables, attachment_id: str) -> list[Row]:
    row = tables.attachments.get(attachment_id)
    return [] if row is None else [dict(row)]


def _begin(tables: Tables, attachment_id: str, object_key: str, *times: float) -> list[Row]:
    row = tables.attachments.get(attachment_id)
    is_open = row is not None and row["object_key"] is None
    is_claimed = is_open and attachment_id not in tables.uploads
    if is_claimed:
        tables.uploads[attachment_id] = {"object_key": object_key}
    return [{"claimed": is_claimed, "open": is_open, "found": row is not None}]


def _release(tables: Tables, attachment_id: str, object_key: str) -> list[Row]:
    if tables.uploads.get(attachment_id) == {"object_key": object_key}:
        del tables.uploads[attachment_id]
    return []


def _complete(tables: Tables, attachment_id: str, object_key: str, size_bytes: int) -> list[Row]:
    row = tables.attachments.get(attachment_id)
    is_completed = row is not None and row["object_key"] is None
    if row is not None and is_completed:
        row["object_key"] = object_key
    _release(tables, attachment_id, object_key)
    return [{"completed": is_completed, "found": row is not None}]


def _no_garbage(tables: Tables, object_key: str) -> list[Row]:
    """What is left of an upload goes with the test."""
    return []


def _load_attachment(tables: Tables, attachment_id: str, tenant: str, owner: str) -> list[Row]:
    row = owned_row(tables.attachments.get(attachment_id), tenant, owner)
    return [] if row is None else [{**row, "uploaded": row["object_key"] is not None}]


def _save_attachment(
    tables: Tables, attachment_id: str, tenant: str, owner: str, data: str, thread_id: str | None
) -> list[Row]:
    existing = tables.attachments.get(attachment_id)
    if thread_id is not None and not load_thread(tables, thread_id, tenant, owner):
        return []
    if existing is not None and owned_row(existing, tenant, owner) is None:
        return []
    first_thread = existing["thread_id"] if existing and existing["thread_id"] else thread_id
    named = {
        "id": attachment_id,
        "tenant": tenant,
        "owner": owner,
        "declared_bytes": None,
        "object_key": None,
    }
    tables.attachments[attachment_id] = {**named, **(existing or {}), "data": data, "thread_id": first_thread}
    return [{"id": attachment_id}]


def _write_message(tables: Tables, thread_id: str, tenant: str, owner: str, *written: Any) -> list[Row]:
    *item, attachment_ids = written
    [answer] = write_item(tables, thread_id, tenant, owner, *item)
    for attachment_id in attachment_ids if answer["found"] and not answer["fenced"] else ():
        attachment = owned_row(tables.attachments.get(attachment_id), tenant, owner)
        if attachment is not None:
            tables.unsent.pop(attachment_id, None)
            tables.attachments[attachment_id] = {
                **attachment,
                "thread_id": attachment["thread_id"] or thread_id,
            }
    return [answer]


def _delete_attachment(tables: Tables, attachment_id: str, tenant: str, owner: str) -> list[Row]:
    if owned_row(tables.attachments.get(attachment_id), tenant, owner) is not None:
        del tables.attachments[attachment_id]
    return []


STATEMENTS: Final[Mapping[str, Statement]] = {
    sql.LOAD_ATTACHMENT: _load_attachment,
    sql.SAVE_ATTACHMENT: _save_attachment,
    sql.WRITE_MESSAGE: _write_message,
    sql.IS_SENT: _load_attachment,
    sql.DELETE_ATTACHMENT: _delete_attachment,
    store._CREATE: _create,
    store._NOTE_SENT: _note_sent,
    store._DELETE: _delete,
    objects._FIND: _find,
    objects._BEGIN: _begin,
    objects._RELEASE: _release,
    objects._COMPLETE: _complete,
    objects._FORGET_GARBAGE: _no_garbage,
}
