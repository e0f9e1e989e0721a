"""Takes back, before a next attempt, what those before it left in the thread, and tells clients so.

In three steps, each of which can be repeated by itself. What clients were shown is read, as long as Redis has it. What
the run had added is deleted, and with our store what it had changed is put back. Clients are told each item that they
have been shown something of as it is stored now, or that it is gone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from chatkit.server import ChatKitServer
from chatkit.types import (
    HiddenContextItem,
    SDKHiddenContextItem,
    ThreadItem,
    ThreadItemDoneEvent,
    ThreadItemRemovedEvent,
    ThreadItemReplacedEvent,
    ThreadStreamEvent,
    ThreadUpdatedEvent,
)

from relaykit.shared.journal import START, Entry, Field, Journals
from relaykit.shared.postgres.database import Database
from relaykit.shared.runs.run import Run
from relaykit.shared.site.store_extras import ABSENT
from relaykit.shared.site.user_server import UserServer
from relaykit.shared.threads.undo import TakenBack
from relaykit.worker.execution.attempt_rows import AttemptRuns

PAGE = 1000


async def news(
    server: ChatKitServer[Any], run: Run, context: Any, shown: Shown, taken: TakenBack
) -> list[ThreadStreamEvent]:
    """The events for a client that was shown, or has loaded, what is taken back."""
    for item_id in [*taken.deleted, *taken.restored]:
        shown.items.setdefault(item_id, True)
    events: list[ThreadStreamEvent] = []
    for item_id, is_shown in shown.items.items():
        item = None if item_id in taken.deleted else await _stored(server, run, item_id, context)
        if item is not None:
            events.append(ThreadItemReplacedEvent(item=item) if is_shown else ThreadItemDoneEvent(item=item))
        elif is_shown:
            events.append(ThreadItemRemovedEvent(item_id=item_id))
    if shown.thread or taken.is_thread_restored:
        with suppress(*ABSENT):
            thread = await server.store.load_thread(run.thread_id, context)
            events.append(ThreadUpdatedEvent(thread=server._to_thread_response(thread)))
    return events


@dataclass(slots=True)
class Shown:
    """What earlier attempts showed to clients."""

    items: dict[str, bool] = field(default_factory=dict)
    """Each item that an event was about, in their order, with whether clients still have it."""
    thread: bool = False
    """Whether they were shown the thread."""


async def read_shown(journals: Journals, run_id: str) -> Shown:
    """Reads from the run's journal what earlier attempts showed to clients."""
    shown = Shown()
    cursor = START
    while page := await journals.read(run_id, cursor, PAGE):
        cursor = page[-1].cursor
        for event in _events(page):
            match event["type"]:
                case "thread.item.added" | "thread.item.done" | "thread.item.replaced":
                    shown.items[event["item"]["id"]] = True
                case "thread.item.updated":
                    shown.items.setdefault(event["item_id"], True)
                case "thread.item.removed":
                    shown.items[event["item_id"]] = False
                case "thread.updated":
                    shown.thread = True
                case _:
                    pass
    return shown


def _events(page: Iterable[Entry]) -> Iterable[dict[str, Any]]:
    """The events of attempts. Those of attempt 0 are admission's."""
    for entry in page:
        if entry.field is Field.EVENT and entry.cursor.attempt > 0:
            yield json.loads(entry.payload)


async def _stored(server: ChatKitServer[Any], run: Run, item_id: str, context: Any) -> ThreadItem | None:
    """The item, where there is one that clients may see."""
    try:
        item = await server.store.load_item(run.thread_id, item_id, context)
    except ABSENT:
        return None
    return None if isinstance(item, HiddenContextItem | SDKHiddenContextItem) else item


async def take_back(
    user: UserServer, database: Database, runs: AttemptRuns, run: Run, context: Any
) -> TakenBack:
    """Deletes what earlier attempts added to the thread, and with our store puts back what they changed in it.

    Our store knows what that is. In a foreign one it is what is newer than the run's anchor and was not stored by the
    admission of a later run; nothing where the anchor is not found.
    """
    server, ours = user.server, user.our_store
    if ours is not None:
        with suppress(*ABSENT):
            async with database.transaction():
                # a message that is being admitted behind this run has its row by now, or waits for this
                await ours.lock_thread(run.thread_id, context)
                later = await runs.later_items(run)
                return await ours.take_back(run.thread_id, run.anchor_item_id, context, keep=later)
        return TakenBack()
    newer = await _newer_items(server, run, context)
    later = await runs.later_items(run)  # after the items: a message comes before its run
    newer = [item_id for item_id in newer if item_id not in later]
    for item_id in newer:
        with suppress(*ABSENT):
            await server.store.delete_thread_item(run.thread_id, item_id, context)
    return TakenBack(deleted=newer[::-1])


async def _newer_items(server: ChatKitServer[Any], run: Run, context: Any) -> list[str]:
    newer: list[str] = []
    async for item in server._paginate_thread_items_reverse(run.thread_id, context):
        if item.id == run.anchor_item_id:
            return newer
        newer.append(item.id)
    return newer if run.anchor_item_id is None else []
