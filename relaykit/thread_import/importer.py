"""Copies threads into our store: what is new, and what has changed in the other store only."""

from __future__ import annotations

from enum import StrEnum
from itertools import islice
from typing import Final

from chatkit.types import ThreadItem, ThreadMetadata, UserMessageItem

from relaykit.thread_import.attachments import AttachmentImport, Replaced
from relaykit.thread_import.reading import ReadThread, StoreMistake, open_spool, read_thread
from relaykit.thread_import.rows import ImportRows, ThreadState
from relaykit.thread_import.sources import ThreadSource

ITEMS_AT_ONCE = 500


class Outcome(StrEnum):
    """What an import did with a thread. The last two want a person's decision."""

    IMPORTED = "imported"
    UPDATED = "updated"
    """It had changed in the other store, and not here."""
    UNCHANGED = "unchanged"
    """It stands here as it is there."""
    GONE_ON = "gone on here"
    """It has changed here since it was brought, and not in the other store."""
    DELETED = "deleted here"
    """It was brought, and has been deleted here since."""
    CONFLICT = "changed in both"
    TAKEN = "of another"
    """Its id is that of a thread here that no import of this user has brought."""


WRITTEN: Final = (Outcome.IMPORTED, Outcome.UPDATED)
PROBLEMS: Final = (Outcome.CONFLICT, Outcome.TAKEN)


def decide(state: ThreadState) -> Outcome:
    """What is to be done with a thread that the other store has. Nothing that was written here is ever lost."""
    if (state.is_noted and not state.is_noted_own) or (
        state.is_here and not (state.is_own and state.is_noted)
    ):
        return Outcome.TAKEN
    if not state.is_noted:
        return Outcome.IMPORTED
    if not state.is_here:
        return Outcome.DELETED
    if state.same_source:
        return Outcome.UNCHANGED if state.same_here else Outcome.GONE_ON
    return Outcome.UPDATED if state.same_here else Outcome.CONFLICT


class Importer:
    """Brings one thread after the other. Safe to stop at any moment and to run again, also while another one runs."""

    def __init__(self, rows: ImportRows, attachments: AttachmentImport, *, dry_run: bool) -> None:
        self._rows = rows
        self._attachments = attachments
        self._dry_run = dry_run

    async def bring(self, source: ThreadSource, thread: ThreadMetadata) -> tuple[Outcome, int]:
        """What was done, and the number of items that the thread has in the other store.

        With `dry_run` nothing is written, and it is what would be done. Raises StoreMistake, DatabaseUnavailable,
        StorageUnavailable, and what the site's store raises.
        """
        with open_spool() as spool:
            read = await read_thread(source, thread, spool)
            outcome = decide(await self._rows.state(read.id, source.owner, read.digest))
            if self._dry_run or outcome not in WRITTEN:
                return outcome, read.count
            replaced = await self._attachments.bring(source, read.attachments.values())
            return await self._write(source, read, replaced), read.count

    async def _write(self, source: ThreadSource, read: ReadThread, replaced: Replaced) -> Outcome:
        """Decides again, behind the thread's lock, and writes what that says."""
        owner = source.owner
        async with self._rows.database.transaction():
            last_place = await self._rows.lock(read.id, owner)
            outcome = decide(await self._rows.state(read.id, owner, read.digest))
            if outcome in WRITTEN:
                is_new = outcome is Outcome.IMPORTED
                await self._write_rows(source, read, replaced, last_place, is_new=is_new)
        return outcome

    async def _write_rows(
        self, source: ThreadSource, read: ReadThread, replaced: Replaced, last_place: int, *, is_new: bool
    ) -> None:
        owner, rows = source.owner, self._rows
        if not await rows.write_thread(read.id, owner, read.data, is_new=is_new):
            raise StoreMistake("its id was taken by another thread meanwhile: run the import again")
        await self._attachments.save(source, read.id, replaced)
        items = read.items()
        while some := [_with(item, replaced) for item in islice(items, ITEMS_AT_ONCE)]:
            await rows.write_items(read.id, owner, some)
        await rows.delete_left(read.id, owner, last_place)
        here = await rows.count(read.id, owner)
        if here != read.count:
            raise StoreMistake(f"{here} of its {read.count} items were written")
        await rows.note(read.id, owner, read.digest)


def _with(item: ThreadItem, replaced: Replaced) -> ThreadItem:
    """The item with its attachments as they are here."""
    if not isinstance(item, UserMessageItem) or not item.attachments:
        return item
    attachments = [replaced.get(attachment.id, attachment) for attachment in item.attachments]
    return item.model_copy(update={"attachments": attachments})
