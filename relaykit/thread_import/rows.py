"""What an import asks of the database. A thread is written in one transaction, so that none is ever here in part.

The transaction locks in the product's order: the thread's row, then the thread, then its items. An item that is
brought again keeps its row, so that a deletion that waits for the lock deletes it afterwards: it would pass over a row
that was written anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from chatkit.types import ThreadItem

from relaykit.shared.owner import Owner
from relaykit.shared.postgres import locks
from relaykit.shared.postgres.database import Database
from relaykit.shared.text import dump_json

LOCK: Final = "SELECT id FROM threads WHERE id = $1 AND tenant = $2 AND owner = $3 FOR UPDATE"
# A deletion of an item does not lock the thread. It comes before the import has compared, or after it has written.
LOCK_ITEMS: Final = """
SELECT coalesce(max(seq), 0) FROM (
    SELECT seq FROM items WHERE thread_id = $1 AND tenant = $2 AND owner = $3 ORDER BY seq FOR UPDATE
) AS locked
"""
# Of what stands in the rows, in their order: what a user, a run or the site's code changes here, changes it.
_DIGEST: Final = """
md5(threads.data::text || coalesce((SELECT string_agg(md5(data::text), '' ORDER BY seq) FROM items
    WHERE thread_id = threads.id), ''))
"""
STATE: Final = f"""
SELECT threads.id IS NOT NULL AS is_here, threads.tenant = $2 AND threads.owner = $3 AS is_own, {_DIGEST} AS digest,
    imported.thread_id IS NOT NULL AS is_noted, imported.tenant = $2 AND imported.owner = $3 AS is_noted_own,
    imported.source_digest, imported.stored_digest
FROM (SELECT $1::text AS id) AS asked
LEFT JOIN threads ON threads.id = asked.id
LEFT JOIN imported_threads AS imported ON imported.thread_id = asked.id
"""  # noqa: S608
INSERT_THREAD: Final = """
INSERT INTO threads (id, tenant, owner, data) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING RETURNING id
"""
UPDATE_THREAD: Final = """
UPDATE threads SET data = $4, updated_at = now() WHERE id = $1 AND tenant = $2 AND owner = $3 RETURNING id
"""
WRITE_ITEMS: Final = """
INSERT INTO items (thread_id, tenant, owner, id, data, run_id)
SELECT $1, $2, $3, given.id, given.data::json, ''
FROM unnest($4::text[], $5::text[]) WITH ORDINALITY AS given (id, data, place) ORDER BY given.place
ON CONFLICT (thread_id, id) DO UPDATE SET data = excluded.data, run_id = excluded.run_id, seq = DEFAULT
WHERE items.tenant = excluded.tenant AND items.owner = excluded.owner
"""
DELETE_LEFT: Final = "DELETE FROM items WHERE thread_id = $1 AND tenant = $2 AND owner = $3 AND seq <= $4"
NOTE: Final = f"""
INSERT INTO imported_threads (thread_id, tenant, owner, source_digest, stored_digest)
SELECT threads.id, $2, $3, $4, {_DIGEST} FROM threads
WHERE threads.id = $1 AND tenant = $2 AND owner = $3
ON CONFLICT (thread_id) DO UPDATE SET source_digest = excluded.source_digest,
    stored_digest = excluded.stored_digest, imported_at = now()
"""  # noqa: S608
COUNT: Final = "SELECT count(*) FROM items WHERE thread_id = $1 AND tenant = $2 AND owner = $3"


class ThreadState(NamedTuple):
    """What is known here of a thread that a store has."""

    is_here: bool
    is_own: bool
    """Whether it is the same owner's."""
    is_noted: bool
    """Whether an import has brought it; also where it was deleted since."""
    is_noted_own: bool
    same_source: bool
    """Whether the store has it as it was when it was brought."""
    same_here: bool
    """Whether it stands here as it was when it was brought."""


class ImportRows:
    """The statements for one thread at a time, all but `state` inside `Database.transaction()`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def lock(self, thread_id: str, owner: Owner) -> int:
        """Until the transaction ends no run of the thread is admitted, and nothing of it changes.

        The place of the thread's last item; 0 without one.
        """
        async with self.database.connection() as connection:
            await connection.execute(LOCK, thread_id, *owner)
            await connection.execute(locks.THREAD_LOCK, *owner, thread_id)
            return int(await connection.fetchval(LOCK_ITEMS, thread_id, *owner))

    async def state(self, thread_id: str, owner: Owner, source_digest: str) -> ThreadState:
        async with self.database.connection() as connection:
            row = await connection.fetchrow(STATE, thread_id, *owner)
        assert row is not None
        return ThreadState(
            is_here=row["is_here"],
            is_own=bool(row["is_own"]),
            is_noted=row["is_noted"],
            is_noted_own=bool(row["is_noted_own"]),
            same_source=row["source_digest"] == source_digest,
            same_here=row["stored_digest"] == row["digest"],
        )

    async def write_thread(self, thread_id: str, owner: Owner, data: str, *, is_new: bool) -> bool:
        """Whether the row is the owner's now; with `is_new` there was none."""
        statement = INSERT_THREAD if is_new else UPDATE_THREAD
        async with self.database.connection() as connection:
            return await connection.fetchval(statement, thread_id, *owner, data) is not None

    async def write_items(self, thread_id: str, owner: Owner, items: Sequence[ThreadItem]) -> None:
        """Behind those that are there, in this order; also those that are there already."""
        ids, data = [item.id for item in items], [dump_json(item) for item in items]
        async with self.database.connection() as connection:
            await connection.execute(WRITE_ITEMS, thread_id, *owner, ids, data)

    async def delete_left(self, thread_id: str, owner: Owner, last_place: int) -> None:
        """Deletes the items that were not written since `lock` gave this place."""
        async with self.database.connection() as connection:
            await connection.execute(DELETE_LEFT, thread_id, *owner, last_place)

    async def count(self, thread_id: str, owner: Owner) -> int:
        """Items of the thread."""
        async with self.database.connection() as connection:
            return int(await connection.fetchval(COUNT, thread_id, *owner))

    async def note(self, thread_id: str, owner: Owner, source_digest: str) -> None:
        """The thread was brought, as it stands here now."""
        async with self.database.connection() as connection:
            await connection.execute(NOTE, thread_id, *owner, source_digest)
