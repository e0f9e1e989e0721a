"""What PostgreSQL does with our store's statements: threads, items, attachments, and what takes an attempt back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from relaykit.api import thread_marks
from relaykit.shared.threads import statements as sql
from relaykit.testing.tables import Row, Statement, Tables, copies


def owned_row(row: Row | None, tenant: str, owner: str) -> Row | None:
    return row if row is not None and (row["tenant"], row["owner"]) == (tenant, owner) else None


def _is_fenced(tables: Tables, run_id: str | None, attempt: int | None) -> bool:
    row = tables.runs.get(run_id)
    return row is not None and attempt is not None and row["attempt"] > attempt


def items_of(tables: Tables, thread_id: str, tenant: str, owner: str) -> list[Row]:
    """In their order."""
    found = (row for row in tables.items.values() if row["thread_id"] == thread_id)
    return sorted((row for row in found if owned_row(row, tenant, owner)), key=lambda row: row["seq"])


def _keep(tables: Tables, rows: Sequence[Row], run_id: str | None, attempt: int | None, written: Any) -> None:
    """Keeps what the attempt is about to write over, where its run has not added it. `written`: what of each row."""
    run = tables.runs.get(run_id)
    if run is None or attempt is None or run["attempt"] > attempt or run["ended_at"] is not None:
        return
    for row in rows:
        if row["run_id"] == run_id or row["thread_id"] != run["thread_id"]:
            continue
        kept, new = tables.undo_items.get((run_id, row["id"])), written(row)
        if kept is not None and kept["written"] == row["data"]:
            kept["written"], kept["feedback"] = new, row.get("feedback")
        else:
            older = {"seq": row["seq"], "data": row["data"], "writer": row["run_id"], "written": new}
            tables.undo_items[run_id, row["id"]] = {**older, "feedback": row.get("feedback")}


def load_thread(tables: Tables, thread_id: str, tenant: str, owner: str) -> list[Row]:
    row = owned_row(tables.threads.get(thread_id), tenant, owner)
    return [] if row is None else copies([row])


def _save_thread(
    tables: Tables,
    thread_id: str,
    tenant: str,
    owner: str,
    data: str,
    seen: str,
    changes_title: bool,
    fields: Sequence[str],
    befores: Sequence[str],
    afters: Sequence[str],
    run_id: str | None,
    attempt: int | None,
) -> list[Row]:
    run, existing = tables.runs.get(run_id), tables.threads.get(thread_id)
    row, fenced = owned_row(existing, tenant, owner), _is_fenced(tables, run_id, attempt)
    if row is None:
        is_inserted = existing is None and not fenced and (run is None or run["thread_id"] != thread_id)
        if is_inserted:
            named = {"id": thread_id, "tenant": tenant, "owner": owner, "seq": tables.next_seq()}
            times = {"titled_at": None, "updated_at": tables.now_at()}
            tables.threads[thread_id] = {**named, "data": data, **times}
        answer = {"found": is_inserted, "fenced": fenced, "saved": is_inserted}
        return [{**answer, "data": None, "is_titled": None}]
    titled_at = row["titled_at"]
    is_titled = bool(run and run["started_at"] is not None and titled_at and titled_at > run["started_at"])
    answer = {"found": True, "fenced": fenced, "data": row["data"], "is_titled": is_titled}
    if fenced or row["data"] != seen or (changes_title and is_titled):
        return [{**answer, "saved": False}]
    row["data"], row["updated_at"] = data, tables.now_at()
    if changes_title and attempt is None:
        row["titled_at"] = tables.now()
    if attempt is not None and run is not None and run["thread_id"] == thread_id and run["ended_at"] is None:
        for name, before, after in zip(fields, befores, afters, strict=True):
            kept = tables.undo_fields.get((run_id, name))
            if kept is not None and kept["after"] == before:
                before = kept["before"]
            tables.undo_fields[run_id, name] = {"field": name, "before": before, "after": after}
    return [{**answer, "saved": True}]


def _page(rows: Sequence[Row], limit: int, max_bytes: int) -> list[Row]:
    """A page, and the entry after it without its data."""
    page: list[Row] = []
    size = 0
    for place, row in enumerate(rows[: limit + 1]):
        size += len(row["data"].encode())
        fits = place == 0 or (place < limit and size <= max_bytes)
        page.append({**row, "data": row["data"] if fits else None})
    return page


def _after(rows: list[Row], order: str, cursor: Sequence[str]) -> list[Row]:
    if order == "desc":
        rows = rows[::-1]
    if not cursor:
        return rows
    for place, row in enumerate(rows):
        if row["id"] == cursor[0]:
            return rows[place + 1 :]
    return []


def _threads(order: str) -> Statement:
    def page(tables: Tables, tenant: str, owner: str, limit: int, max_bytes: int, *cursor: str) -> list[Row]:
        found = (row for row in tables.threads.values() if owned_row(row, tenant, owner))
        rows = sorted(found, key=lambda row: row["seq"])
        return _page(_after(rows, order, cursor), limit, max_bytes)

    return page


def _threads_by_use(
    tables: Tables, tenant: str, owner: str, limit: int, max_bytes: int, *cursor: Any
) -> list[Row]:
    found = [row for row in tables.threads.values() if owned_row(row, tenant, owner)]
    by_use = sorted((((row["updated_at"], row["seq"]), row) for row in found), reverse=True)
    return _page([row for use, row in by_use if not cursor or use < cursor], limit, max_bytes)


def _items_page(order: str) -> Statement:
    def page(
        tables: Tables,
        thread_id: str,
        tenant: str,
        owner: str,
        limit: int,
        max_bytes: int,
        run_id: str | None,
        *cursor: str,
    ) -> list[Row]:
        hidden = set() if run_id is None else _waiting(tables, thread_id, tenant, owner)
        rows = _after(items_of(tables, thread_id, tenant, owner), order, cursor)
        return _page([row for row in rows if row["id"] not in hidden], limit, max_bytes)

    return page


def _waiting(tables: Tables, thread_id: str, tenant: str, owner: str) -> set[str]:
    """The messages that wait for a turn."""
    return {
        run["anchor_item_id"]
        for run in tables.runs.values()
        if (run["thread_id"], run["tenant"], run["owner"]) == (thread_id, tenant, owner)
        and (run["status"], run["kind"]) == ("waiting", "threads.add_user_message")
    }


def lock_thread(
    tables: Tables, thread_id: str, tenant: str, owner: str, run_id: str | None, attempt: int | None
) -> list[Row]:
    found = owned_row(tables.threads.get(thread_id), tenant, owner) is not None
    return [{"found": found, "fenced": _is_fenced(tables, run_id, attempt)}]


def _delete_thread(tables: Tables, thread_id: str, tenant: str, owner: str) -> list[Row]:
    for run_id, run in list(tables.runs.items()):
        if (run["thread_id"], run["tenant"], run["owner"]) == (thread_id, tenant, owner):
            if run["ended_at"] is None:
                run["cancel_requested"] = True
            else:
                del tables.runs[run_id]
    if owned_row(tables.threads.get(thread_id), tenant, owner) is not None:
        del tables.threads[thread_id]
        tables.awaited_calls.pop((tenant, owner, thread_id), None)
        for table in (tables.items, tables.attachments):
            for key in [key for key, row in table.items() if row["thread_id"] == thread_id]:
                del table[key]
    return []


def write_item(
    tables: Tables,
    thread_id: str,
    tenant: str,
    owner: str,
    item_id: str,
    data: str,
    run_id: str | None,
    attempt: int | None,
) -> list[Row]:
    [answer] = lock_thread(tables, thread_id, tenant, owner, run_id, attempt)
    if answer["found"] and not answer["fenced"]:
        row = tables.items.get((thread_id, item_id))
        if row is None:
            named = {"thread_id": thread_id, "tenant": tenant, "owner": owner, "id": item_id}
            tables.items[thread_id, item_id] = {
                **named,
                "data": data,
                "run_id": run_id or "",
                "seq": tables.next_seq(),
            }
        else:
            _keep(tables, [row], run_id, attempt, lambda _: data)
            row["data"] = data
    return [answer]


def _load_item(tables: Tables, thread_id: str, tenant: str, owner: str, item_id: str) -> list[Row]:
    row = owned_row(tables.items.get((thread_id, item_id)), tenant, owner)
    return [] if row is None else copies([row])


def _count_items(tables: Tables, thread_id: str, tenant: str, owner: str, ids: Collection[str]) -> list[Row]:
    return [{"count": sum(bool(_load_item(tables, thread_id, tenant, owner, each)) for each in ids)}]


def _delete(
    tables: Tables, rows: Sequence[Row], run_id: str | None, attempt: int | None, *, fenced: bool
) -> None:
    if not fenced:
        _keep(tables, rows, run_id, attempt, lambda _: None)
        for row in rows:
            del tables.items[row["thread_id"], row["id"]]


def _delete_item(
    tables: Tables, thread_id: str, tenant: str, owner: str, item_id: str, *fence: Any
) -> list[Row]:
    [answer] = lock_thread(tables, thread_id, tenant, owner, *fence)
    row = owned_row(tables.items.get((thread_id, item_id)), tenant, owner)
    _delete(tables, [] if row is None else [row], *fence, fenced=answer["fenced"])
    return [answer]


def _delete_newer(
    tables: Tables, thread_id: str, tenant: str, owner: str, item_id: str, *fence: Any
) -> list[Row]:
    item, fenced = (
        owned_row(tables.items.get((thread_id, item_id)), tenant, owner),
        _is_fenced(tables, *fence),
    )
    if item is not None:
        newer = [row for row in items_of(tables, thread_id, tenant, owner) if row["seq"] > item["seq"]]
        _delete(tables, newer, *fence, fenced=fenced)
    return [{"found": item is not None, "fenced": fenced}]


def _move_to_end(
    tables: Tables,
    thread_id: str,
    tenant: str,
    owner: str,
    item_id: str,
    run_id: str | None,
    attempt: int | None,
) -> list[Row]:
    row = owned_row(tables.items.get((thread_id, item_id)), tenant, owner)
    fenced = _is_fenced(tables, run_id, attempt)
    if row is None or fenced:
        return [{"found": False, "fenced": fenced}]
    _keep(tables, [row], run_id, attempt, written=lambda kept: kept["data"])
    row["seq"] = tables.next_seq()
    return [{"found": True, "fenced": False}]


def _set_feedback(
    tables: Tables, thread_id: str, tenant: str, owner: str, item_ids: Collection[str], kind: str
) -> list[Row]:
    for row in items_of(tables, thread_id, tenant, owner):
        if row["id"] in item_ids:
            row["feedback"] = kind
    return []


STATEMENTS: Final[Mapping[str, Statement]] = {
    sql.LOAD_THREAD: load_thread,
    sql.SAVE_THREAD: _save_thread,
    sql.THREADS_ASC: _threads("asc"),
    sql.THREADS_DESC: _threads("desc"),
    sql.THREADS_ASC_AFTER: _threads("asc"),
    sql.THREADS_DESC_AFTER: _threads("desc"),
    sql.THREADS_BY_USE: _threads_by_use,
    sql.THREADS_BY_USE_AFTER: _threads_by_use,
    sql.LOCK_THREAD: lock_thread,
    sql.DELETE_THREAD: _delete_thread,
    sql.WRITE_ITEM: write_item,
    sql.LOAD_ITEM: _load_item,
    sql.ITEMS_ASC: _items_page("asc"),
    sql.ITEMS_DESC: _items_page("desc"),
    sql.ITEMS_ASC_AFTER: _items_page("asc"),
    sql.ITEMS_DESC_AFTER: _items_page("desc"),
    sql.COUNT_ITEMS: _count_items,
    sql.DELETE_ITEM: _delete_item,
    sql.DELETE_NEWER: _delete_newer,
    sql.MOVE_TO_END: _move_to_end,
    thread_marks.SET_FEEDBACK: _set_feedback,
}
