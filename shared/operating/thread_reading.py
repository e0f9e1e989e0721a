"""Threads of every user, as an operator sees and exports them: a thread's row, its items, attachments and runs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from relaykit.shared.errors import ThreadNotFound
from relaykit.shared.operating.act_errors import ActRefused
from relaykit.shared.owner import Owner
from relaykit.shared.postgres.database import Database

PAGE: Final = 50
"""Rows that are read at once: an item may have as much as a request."""

OWNER_OF_THREAD: Final = "SELECT tenant, owner FROM threads WHERE id = $1"
# Of a thread in a store of the site's own, and of one that was deleted: at most two are needed to tell one from more.
OWNERS_OF_RUNS: Final = "SELECT DISTINCT tenant, owner FROM runs WHERE thread_id = $1 LIMIT 2"

SHOWN: Final = """
SELECT data, updated_at,
    (SELECT count(*) FROM items WHERE thread_id = $3 AND tenant = $1 AND owner = $2) AS items,
    (SELECT count(*) FROM attachments WHERE thread_id = $3 AND tenant = $1 AND owner = $2) AS attachments
FROM threads WHERE id = $3 AND tenant = $1 AND owner = $2
"""

KNOWN: Final = """
SELECT (SELECT true FROM threads WHERE tenant = $1 AND owner = $2 LIMIT 1)
    OR (SELECT true FROM runs WHERE tenant = $1 AND owner = $2 LIMIT 1) IS TRUE
    OR (SELECT true FROM attachments WHERE tenant = $1 AND owner = $2 LIMIT 1) IS TRUE
    OR (SELECT true FROM imported_threads WHERE tenant = $1 AND owner = $2 LIMIT 1) IS TRUE AS known
"""

THREAD_IDS: Final = """
SELECT id, seq FROM threads WHERE tenant = $1 AND owner = $2 AND seq > $3 ORDER BY seq LIMIT $4
"""
ITEMS: Final = """
SELECT seq, data, feedback FROM items
WHERE thread_id = $3 AND tenant = $1 AND owner = $2 AND seq > $4 ORDER BY seq LIMIT $5
"""
_RUN: Final = """id, thread_id, kind, status, attempt, handed_back, cancel_requested, error, anchor_item_id,
    idempotency_key, max_attempts, input, context, queued_at, due_at, started_at, ended_at, received_at, seq"""
RUNS_OF_THREAD: Final = f"""
SELECT {_RUN} FROM runs WHERE thread_id = $3 AND tenant = $1 AND owner = $2 AND seq > $4 ORDER BY seq LIMIT $5
"""  # noqa: S608
# Of threads that are no rows of ours.
OTHER_RUNS: Final = f"""
SELECT {_RUN} FROM runs
WHERE tenant = $1 AND owner = $2 AND (queued_at, id) > (coalesce($3::timestamptz, '-infinity'), $4)
    AND (SELECT true FROM threads WHERE threads.id = runs.thread_id AND threads.owner = $2 LIMIT 1) IS NULL
ORDER BY queued_at, id LIMIT $5
"""  # noqa: S608
_ATTACHMENT: Final = "attachments.id, data, created_at, uploaded_at, size_bytes, attachments.thread_id"
ATTACHMENTS_OF_THREAD: Final = f"""
SELECT {_ATTACHMENT} FROM attachments
WHERE tenant = $1 AND owner = $2 AND id > $4 AND id = ANY (ARRAY (
    SELECT id FROM attachments WHERE thread_id = $3
    UNION SELECT attachment_id FROM attachment_threads WHERE attachment_threads.thread_id = $3
))
ORDER BY id LIMIT $5
"""  # noqa: S608
UNSENT: Final = f"""
SELECT {_ATTACHMENT} FROM attachments WHERE tenant = $1 AND owner = $2 AND thread_id IS NULL AND id > $3
ORDER BY id LIMIT $4
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class ShownThread:
    """A thread without what was written in it."""

    id: str
    owner: Owner
    title: str | None
    created_at: str | None
    """As the thread says."""
    updated_at: datetime
    items: int
    attachments: int


class ThreadReader:
    """Everything raises DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def owner_of(self, thread_id: str) -> Owner:
        """Whose thread it is; of a thread that is no row of ours, whose runs it has.

        Raises ThreadNotFound; ActRefused where several users have runs in a thread of that id.
        """
        rows = await self._rows(OWNER_OF_THREAD, thread_id) or await self._rows(OWNERS_OF_RUNS, thread_id)
        if not rows:
            raise ThreadNotFound("There is no such thread, and no run of one.")
        if len(rows) > 1:
            raise ActRefused("Several users have runs in a thread of this id.")
        return Owner(tenant=rows[0]["tenant"], user_id=rows[0]["owner"])

    async def is_known(self, owner: Owner) -> bool:
        """Whether anything of the user's is here."""
        return bool((await self._rows(KNOWN, *owner))[0]["known"])

    async def data(self, owner: Owner, thread_id: str) -> tuple[ShownThread, dict[str, Any]] | None:
        """The thread, and all that its row says; None where it is no row of ours."""
        rows = await self._rows(SHOWN, *owner, thread_id)
        if not rows:
            return None
        row, data = rows[0], json.loads(rows[0]["data"])
        title, created_at = data.get("title"), data.get("created_at")
        shown = ShownThread(
            thread_id, owner, title, created_at, row["updated_at"], row["items"], row["attachments"]
        )
        return shown, data

    async def thread_ids(self, owner: Owner) -> AsyncIterator[str]:
        """Those of the user, oldest first."""
        async for row in self._pages(THREAD_IDS, (*owner,), ("seq",), (0,)):
            yield row["id"]

    async def items(self, owner: Owner, thread_id: str) -> AsyncIterator[tuple[dict[str, Any], str | None]]:
        """All of the thread with their feedback, in its order; those too that no client is shown."""
        async for row in self._pages(ITEMS, (*owner, thread_id), ("seq",), (0,)):
            yield json.loads(row["data"]), row["feedback"]

    async def runs(self, owner: Owner, thread_id: str) -> AsyncIterator[dict[str, Any]]:
        """The rows, oldest first, without their tokens."""
        async for row in self._pages(RUNS_OF_THREAD, (*owner, thread_id), ("seq",), (0,)):
            yield _run(row)

    async def other_runs(self, owner: Owner) -> AsyncIterator[dict[str, Any]]:
        """The user's runs in threads that are no rows of ours."""
        async for row in self._pages(OTHER_RUNS, (*owner,), ("queued_at", "id"), (None, "")):
            yield _run(row)

    async def attachments(self, owner: Owner, thread_id: str) -> AsyncIterator[dict[str, Any]]:
        """Those that the thread's messages show."""
        async for row in self._pages(ATTACHMENTS_OF_THREAD, (*owner, thread_id), ("id",), ("",)):
            yield {**row, "data": json.loads(row["data"])}

    async def unsent(self, owner: Owner) -> AsyncIterator[dict[str, Any]]:
        """Those that no message of a thread of ours shows."""
        async for row in self._pages(UNSENT, (*owner,), ("id",), ("",)):
            yield {**row, "data": json.loads(row["data"])}

    async def _pages(
        self, statement: str, parameters: tuple[str, ...], key: tuple[str, ...], after: tuple[object, ...]
    ) -> AsyncIterator[dict[str, Any]]:
        while True:
            rows = await self._rows(statement, *parameters, *after, PAGE)
            for row in rows:
                yield row
            if len(rows) < PAGE:
                return
            after = tuple(rows[-1][name] for name in key)

    async def _rows(self, statement: str, *parameters: object) -> list[dict[str, Any]]:
        async with self._database.connection() as connection:
            return [dict(row) for row in await connection.fetch(statement, *parameters)]


def _run(row: dict[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in row.items() if name != "seq"}
    return {**found, "input": json.loads(row["input"]), "context": json.loads(row["context"])}
