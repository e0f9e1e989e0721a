"""Before a next attempt: what the one before stored is deleted, and what it showed is taken back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from chatkit.server import ChatKitServer
from chatkit.store import NotFoundError

from shared.database import Database
from shared.journal import START, Entry, Field, Journals
from shared.run_rows import Runs
from shared.runs import Run
from shared.store import PostgresStore

PAGE = 1000


async def shown_items(journals: Journals, run_id: str) -> list[str]:
    """Ids of the items that earlier attempts showed to clients and did not remove, in order."""
    shown: dict[str, None] = {}
    cursor = START
    while page := await journals.read(run_id, cursor, PAGE):
        cursor = page[-1].cursor
        for item_id, is_there in _appearances(page):
            if is_there:
                shown[item_id] = None
            else:
                shown.pop(item_id, None)
    return list(shown)


def _appearances(page: Iterable[Entry]) -> Iterable[tuple[str, bool]]:
    for entry in page:
        if entry.field is not Field.EVENT or entry.cursor.attempt == 0:
            continue
        event: dict[str, Any] = json.loads(entry.payload)
        match event["type"]:
            case "thread.item.added" | "thread.item.done":
                yield event["item"]["id"], True
            case "thread.item.removed":
                yield event["item_id"], False
            case _:
                pass


async def delete_items(
    server: ChatKitServer[Any], database: Database, runs: Runs, run: Run, context: Any
) -> list[str]:
    """Deletes what earlier attempts added to the thread; the ids in order.

    Our store knows what that is. In a foreign one it is what is newer than the run's anchor and was not stored by the
    admission of a later run; nothing where the anchor is not found.
    """
    store = server.store
    if isinstance(store, PostgresStore):
        with suppress(NotFoundError):
            async with database.transaction():
                await runs.lock_thread(run)  # a message that is being admitted behind this run waits for it
                later = await runs.later_items(run)
                return await store.take_back(run.thread_id, run.anchor_item_id, context, keep=later)
        return []
    newer = await _newer_items(server, run, context)
    later = await runs.later_items(run)  # after the items: a message comes before its run
    newer = [item_id for item_id in newer if item_id not in later]
    for item_id in newer:
        with suppress(NotFoundError):
            await server.store.delete_thread_item(run.thread_id, item_id, context)
    return newer[::-1]


async def _newer_items(server: ChatKitServer[Any], run: Run, context: Any) -> list[str]:
    newer: list[str] = []
    async for item in server._paginate_thread_items_reverse(run.thread_id, context):
        if item.id == run.anchor_item_id:
            return newer
        newer.append(item.id)
    return newer if run.anchor_item_id is None else []
