"""Before a next attempt: what the one before stored is deleted, and what it showed is taken back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from chatkit.server import ChatKitServer
from chatkit.store import NotFoundError

from shared.journal import START, Entry, Field, Journals
from shared.runs import Run, Runs

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


async def stored_items(server: ChatKitServer[Any], runs: Runs, run: Run, context: Any) -> list[str]:
    """Ids of the thread's items that are newer than the run's anchor and belong to no run that waits.

    Nothing where the anchor is not found: what is newer than it cannot be told.
    """
    newer: list[str] = []
    found = run.anchor_item_id is None
    async for item in server._paginate_thread_items_reverse(run.thread_id, context):
        if item.id == run.anchor_item_id:
            found = True
            break
        newer.append(item.id)
    if not found:
        return []
    waiting = await runs.waiting_items(run)
    return [item_id for item_id in newer if item_id not in waiting]


async def delete_items(server: ChatKitServer[Any], run: Run, item_ids: Iterable[str], context: Any) -> None:
    for item_id in item_ids:
        try:
            await server.store.delete_thread_item(run.thread_id, item_id, context)
        except NotFoundError:
            continue
