"""The bytes of attachments: an object in the object store for each row that says it is uploaded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import uuid4

import asyncpg
import obstore
from chatkit.types import Attachment
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from relaykit.shared.attachments.removal import remove_each
from relaykit.shared.errors import (
    AttachmentAlreadyUploaded,
    AttachmentNotFound,
    AttachmentNotUploaded,
    AttachmentRejected,
    BodyTooLarge,
    DatabaseUnavailable,
    SettingsError,
    StorageUnavailable,
    UploadInProgress,
)
from relaykit.shared.owner import Owner
from relaykit.shared.postgres.database import Database
from relaykit.shared.threads.store import ATTACHMENT

UPLOAD_TIMEOUT_SECONDS: Final = 600
UPLOAD_RETRY_SECONDS: Final = 2.0
GARBAGE_AFTER_SECONDS: Final = 3_600
"""An object that no row claims by then belongs to no upload, because none lasts that long."""
PART_BYTES: Final = 5 * 1024 * 1024
PARTS_AT_ONCE: Final = 2
SWEPT_AT_ONCE: Final = 100
READ_CHUNK_BYTES: Final = 64 * 1024
SCHEMES: Final = ("file://", "s3://", "gs://", "az://", "memory://")

_FIND = """
SELECT id, tenant, owner, data, declared_bytes, object_key FROM attachments WHERE id = $1
"""
# FOR KEY SHARE: the attachment is not deleted before the claim that refers to it is committed.
_BEGIN = """
WITH attachment AS MATERIALIZED (
    SELECT id FROM attachments WHERE id = $1 AND uploaded_at IS NULL FOR KEY SHARE
), claimed AS (
    INSERT INTO attachment_uploads (attachment_id, object_key, ends_at)
    SELECT id, $2, now() + $3 * interval '1 second' FROM attachment
    ON CONFLICT (attachment_id) DO UPDATE SET object_key = excluded.object_key, ends_at = excluded.ends_at
    WHERE attachment_uploads.ends_at <= now()
    RETURNING attachment_id
), noted AS (
    INSERT INTO attachment_garbage (object_key, due_at)
    SELECT $2, now() + $4 * interval '1 second' FROM claimed
)
SELECT EXISTS (SELECT FROM claimed) AS claimed, EXISTS (SELECT FROM attachment) AS open,
    EXISTS (SELECT FROM attachments WHERE id = $1) AS found
"""
_RELEASE = "DELETE FROM attachment_uploads WHERE attachment_id = $1 AND object_key = $2"
_COMPLETE = """
WITH completed AS (
    UPDATE attachments SET object_key = $2, size_bytes = $3, uploaded_at = now()
    WHERE id = $1 AND uploaded_at IS NULL
    RETURNING id
), kept AS (
    DELETE FROM attachment_garbage WHERE object_key = $2 AND EXISTS (SELECT FROM completed)
), released AS (
    DELETE FROM attachment_uploads WHERE attachment_id = $1 AND object_key = $2
)
SELECT EXISTS (SELECT FROM completed) AS completed, EXISTS (SELECT FROM attachments WHERE id = $1) AS found
"""
_FORGET_GARBAGE = "DELETE FROM attachment_garbage WHERE object_key = $1"
_DUE_GARBAGE = """
SELECT object_key FROM attachment_garbage WHERE due_at <= now() AND object_key <> ALL ($2) ORDER BY due_at LIMIT $1
"""
_NOTED_GARBAGE = "SELECT object_key FROM attachment_garbage WHERE object_key = ANY ($1)"
_POSTPONE_GARBAGE = """
UPDATE attachment_garbage SET due_at = now() + $2 * interval '1 second' WHERE object_key = ANY ($1)
"""


@dataclass(frozen=True, slots=True)
class StoredAttachment:
    """An attachment's row. `object_key` is None until the bytes are there."""

    attachment: Attachment
    owner: Owner
    declared_bytes: int
    object_key: str | None


def open_object_store(url: str) -> ObjectStore:
    """The store behind ATTACHMENTS_URL; a `file://` folder is made. Raises SettingsError."""
    if not url.startswith(SCHEMES):
        raise SettingsError(f"ATTACHMENTS_URL: must start with one of {', '.join(SCHEMES)}")
    try:
        if url.startswith("file://"):
            return from_url(url, mkdir=True)
        return from_url(url, retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=20)})
    except (BaseError, OSError, ValueError) as error:
        raise SettingsError(f"ATTACHMENTS_URL: {str(error).splitlines()[0]}") from error


class AttachmentObjects:
    """Writes, reads and removes the bytes. The code that calls has checked that the caller may.

    Safe with any number of hosts: each upload has an object of its own, which one conditional UPDATE makes the
    attachment's. An object is noted as garbage before its first byte and until that UPDATE, and again when its row
    goes, however it goes; `sweep` removes what is noted. So neither a crash nor a race leaves bytes behind.

    Raises StorageUnavailable and DatabaseUnavailable.
    """

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database = database
        self._objects = objects

    async def find(self, attachment_id: str) -> StoredAttachment:
        """Anyone's attachment. Raises AttachmentNotFound."""
        if "\x00" in attachment_id:
            raise AttachmentNotFound
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_FIND, attachment_id)
        if row is None or row["declared_bytes"] is None:
            raise AttachmentNotFound
        return _stored(row)

    async def write(self, stored: StoredAttachment, chunks: AsyncIterable[bytes]) -> None:
        """Takes exactly the declared number of bytes, once, and from one upload at a time over all hosts.

        Raises UploadInProgress and AttachmentAlreadyUploaded before it takes a byte, BodyTooLarge as soon as there are
        more than declared, AttachmentRejected for fewer or for an upload that lasts longer than UPLOAD_TIMEOUT_SECONDS,
        AttachmentNotFound when it was deleted meanwhile, and whatever `chunks` raises; nothing is kept then.
        """
        object_key = uuid4().hex
        await self._begin(stored.attachment.id, object_key)
        try:
            async with asyncio.timeout(UPLOAD_TIMEOUT_SECONDS) as deadline:
                await self._put(object_key, _exactly(stored.declared_bytes, chunks))
        except BaseException as error:
            await self._release(stored, object_key)
            await self.discard(object_key)
            if isinstance(error, TimeoutError) and deadline.expired():
                raise AttachmentRejected("The upload took too long.") from None
            raise
        try:
            await self._complete(stored, object_key)
        except BaseException:
            await self._release(stored, object_key)
            raise

    async def _release(self, stored: StoredAttachment, object_key: str) -> None:
        """Lets the client try again at once; where that fails, the claim ends by itself."""
        with suppress(DatabaseUnavailable):
            await self._execute(_RELEASE, stored.attachment.id, object_key)

    async def _begin(self, attachment_id: str, object_key: str) -> None:
        """Claims the attachment's upload and notes the object as garbage, or raises why there is nothing to upload."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                _BEGIN, attachment_id, object_key, UPLOAD_TIMEOUT_SECONDS, GARBAGE_AFTER_SECONDS
            )
        assert row is not None
        if row["claimed"]:
            return
        if row["open"]:
            raise UploadInProgress(retry_after_seconds=UPLOAD_RETRY_SECONDS)
        raise AttachmentAlreadyUploaded if row["found"] else AttachmentNotFound

    async def _complete(self, stored: StoredAttachment, object_key: str) -> None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                _COMPLETE, stored.attachment.id, object_key, stored.declared_bytes
            )
        assert row is not None
        if not row["completed"]:
            await self.discard(object_key)
            raise AttachmentAlreadyUploaded if row["found"] else AttachmentNotFound

    async def read(self, stored: StoredAttachment) -> bytes:
        """All bytes, which are as many as were declared.

        Raises AttachmentNotUploaded, AttachmentNotFound when the object is gone.
        """
        with _storage_errors():
            result = await obstore.get_async(self._objects, _uploaded(stored))
            return bytes(await result.bytes_async())

    async def open(self, stored: StoredAttachment) -> tuple[int, AsyncIterator[bytes]]:
        """Their number, and the bytes in chunks. Raises as `read` does."""
        with _storage_errors():
            result = await obstore.get_async(self._objects, _uploaded(stored))
            return int(result.meta["size"]), _chunks(result)

    async def discard(self, object_key: str) -> None:
        """Removes an object that is noted as garbage; leaves it to `sweep` where that fails."""
        with suppress(StorageUnavailable, DatabaseUnavailable):
            await self._remove_noted(object_key)

    async def remove_all(self, object_keys: Sequence[str]) -> Sequence[str]:
        """Removes those of the objects that are noted as garbage, now; what is left of them, which stays noted."""
        noted = await self._keys(_NOTED_GARBAGE, object_keys)
        return (await remove_each(noted, self._remove_noted)).left

    async def sweep_all(self, but: Sequence[str] = ()) -> int:
        """Removes all objects that are due, now, but for these; how many the store did not remove, which stay due."""
        failed: list[str] = []
        while keys := await self._keys(_DUE_GARBAGE, SWEPT_AT_ONCE, [*but, *failed]):
            done = await remove_each(keys, self._remove_noted)
            failed += done.failed
            if done.is_away or len(failed) >= SWEPT_AT_ONCE:
                break
        return len(failed)

    async def sweep(self, limit: int) -> int:
        """Removes up to `limit` objects that are due and returns their number; safe on many hosts at once.

        One that cannot be removed is postponed, so that it does not keep the others from going.
        """
        done = await remove_each(await self._keys(_DUE_GARBAGE, limit, []), self._remove_noted)
        if done.failed:
            await self._execute(_POSTPONE_GARBAGE, done.failed, GARBAGE_AFTER_SECONDS)
        return done.removed

    async def _keys(self, statement: str, *parameters: object) -> list[str]:
        async with self._database.connection() as connection:
            return [row["object_key"] for row in await connection.fetch(statement, *parameters)]

    async def _remove_noted(self, object_key: str) -> None:
        await self._remove(object_key)
        await self._execute(_FORGET_GARBAGE, object_key)

    async def _put(self, object_key: str, chunks: AsyncIterator[bytes]) -> None:
        try:
            await obstore.put_async(
                self._objects, object_key, chunks, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
            )
        except BaseError as error:
            raise StorageUnavailable from error

    async def _remove(self, object_key: str) -> None:
        try:
            with _storage_errors():
                await obstore.delete_async(self._objects, object_key)
        except AttachmentNotFound:
            return

    async def _execute(self, statement: str, *parameters: object) -> None:
        async with self._database.connection() as connection:
            await connection.execute(statement, *parameters)


def _stored(row: asyncpg.Record) -> StoredAttachment:
    return StoredAttachment(
        attachment=ATTACHMENT.validate_json(row["data"]),
        owner=Owner(tenant=row["tenant"], user_id=row["owner"]),
        declared_bytes=row["declared_bytes"],
        object_key=row["object_key"],
    )


def _uploaded(stored: StoredAttachment) -> str:
    if stored.object_key is None:
        raise AttachmentNotUploaded
    return stored.object_key


async def _exactly(count: int, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    left = count
    async for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            raise BodyTooLarge("The upload is larger than declared.")
        if chunk:
            yield chunk
    if left > 0:
        raise AttachmentRejected("The upload is smaller than declared.")


async def _chunks(result: obstore.GetResult) -> AsyncIterator[bytes]:
    with _storage_errors():
        async for chunk in result.stream(min_chunk_size=READ_CHUNK_BYTES):
            yield bytes(chunk)


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise AttachmentNotFound from error
    except (BaseError, OSError) as error:
        raise StorageUnavailable from error
