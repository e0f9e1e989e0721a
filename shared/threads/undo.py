"""What the attempts of a run have left in its thread so far, taken back before the next one begins."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from relaykit.shared.identity import request_of
from relaykit.shared.thread_merge import changes_of, data_of, fields_of, taken_back
from relaykit.shared.threads import statements as sql
from relaykit.shared.threads import undo_statements as undo
from relaykit.shared.threads.calls import StoreCalls, fence_of, owner_of, written


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What was taken back."""

    deleted: list[str] = field(default_factory=list)
    """Items that the run had added, in their order."""
    restored: list[str] = field(default_factory=list)
    """Items that are again what they were, where they were."""
    is_thread_restored: bool = False


async def take_back(
    calls: StoreCalls, thread_id: str, anchor_item_id: str | None, keep: Collection[str], context: Any
) -> TakenBack:
    """As PostgresStore.take_back. Its own transaction, or a part of the caller's."""
    owner, fence = owner_of(context), fence_of(context)
    of_run = (thread_id, *owner, fence.run_id)

    async def take() -> TakenBack:
        async with calls.database.transaction():
            written(await calls.row(sql.LOCK_THREAD, thread_id, *owner, *fence), thread_id)
            row = await calls.row(undo.DELETE_ADDED, thread_id, *owner, anchor_item_id, list(keep), *fence)
            deleted = list(written(row, thread_id)["ids"])
            changed = [row["id"] for row in await calls.rows(undo.DELETE_CHANGED, *of_run)]
            restored = [row["id"] for row in await calls.rows(undo.PUT_BACK_ITEMS, *of_run, changed)]
            return TakenBack(
                [item_id for item_id in deleted if item_id not in restored],
                restored,
                await _put_back_fields(calls, thread_id, context),
            )

    taken = await calls.patiently(take)
    # the next attempt may set again what the lost one had set, though it may have seen it
    request_of(context).loaded.forget(thread_id)
    return taken


async def _put_back_fields(calls: StoreCalls, thread_id: str, context: Any) -> bool:
    owner, fence = owner_of(context), fence_of(context)
    rows = await calls.rows(undo.TAKE_FIELDS, thread_id, *owner, fence.run_id)
    if not rows:
        return False
    current = fields_of(rows[0]["data"])
    restored = taken_back(current, changes_of(rows))
    if restored == current:
        return False
    await calls.row(undo.PUT_BACK_THREAD, thread_id, *owner, data_of(restored))
    return True
