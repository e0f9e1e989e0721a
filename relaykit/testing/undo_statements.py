"""What PostgreSQL does with the statements that take back what attempts have written."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from relaykit.shared.threads import undo_statements as undo
from relaykit.testing.tables import Row, Statement, Tables
from relaykit.testing.thread_statements import items_of, lock_thread, owned_row


def _delete_added(
    tables: Tables,
    thread_id: str,
    tenant: str,
    owner: str,
    anchor_item_id: str | None,
    keep: Collection[str],
    run_id: str | None,
    attempt: int | None,
) -> list[Row]:
    [answer] = lock_thread(tables, thread_id, tenant, owner, run_id, attempt)
    ids: list[str] = []
    if not answer["fenced"]:
        for row in items_of(tables, thread_id, tenant, owner):
            if row["run_id"] == run_id:
                ids.append(row["id"])
                del tables.items[thread_id, row["id"]]
    return [{**answer, "ids": ids}]


def _undone(tables: Tables, run_id: str) -> list[tuple[str, Row]]:
    return [(key[1], row) for key, row in tables.undo_items.items() if key[0] == run_id]


def _delete_changed(tables: Tables, thread_id: str, tenant: str, owner: str, run_id: str) -> list[Row]:
    ids = []
    for item_id, kept in _undone(tables, run_id):
        row = tables.items.get((thread_id, item_id))
        if row is not None and kept["written"] is not None and row["data"] == kept["written"]:
            kept["feedback"] = row.get("feedback")
            del tables.items[thread_id, item_id]
            ids.append(item_id)
    return [{"id": item_id} for item_id in ids]


def _put_back_items(
    tables: Tables, thread_id: str, tenant: str, owner: str, run_id: str, changed: Collection[str]
) -> list[Row]:
    put_back: list[Row] = []
    for item_id, kept in _undone(tables, run_id):
        del tables.undo_items[run_id, item_id]
        is_ours = kept["written"] is None or item_id in changed
        if is_ours and (thread_id, item_id) not in tables.items:
            named = {"thread_id": thread_id, "tenant": tenant, "owner": owner, "id": item_id}
            older = {"seq": kept["seq"], "data": kept["data"], "run_id": kept["writer"]}
            tables.items[thread_id, item_id] = {**named, **older, "feedback": kept["feedback"]}
            put_back.append({"id": item_id})
    return put_back


def _take_fields(tables: Tables, thread_id: str, tenant: str, owner: str, run_id: str) -> list[Row]:
    thread = owned_row(tables.threads.get(thread_id), tenant, owner)
    keys = [key for key in tables.undo_fields if key[0] == run_id]
    return [{**tables.undo_fields.pop(key), "data": thread and thread["data"]} for key in keys]


def _put_back_thread(tables: Tables, thread_id: str, tenant: str, owner: str, data: str) -> list[Row]:
    row = owned_row(tables.threads.get(thread_id), tenant, owner)
    if row is None:
        return []
    row["data"], row["updated_at"] = data, tables.now_at()
    return [{"id": thread_id}]


STATEMENTS: Final[Mapping[str, Statement]] = {
    undo.DELETE_ADDED: _delete_added,
    undo.DELETE_CHANGED: _delete_changed,
    undo.PUT_BACK_ITEMS: _put_back_items,
    undo.TAKE_FIELDS: _take_fields,
    undo.PUT_BACK_THREAD: _put_back_thread,
}
