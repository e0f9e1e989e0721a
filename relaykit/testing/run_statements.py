"""What PostgreSQL does with the statements of runs after their admission, and of awaited client tool calls."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from relaykit.shared.postgres.locks import THREAD_LOCK
from relaykit.shared.runs import awaited_calls
from relaykit.shared.runs import statements as sql
from relaykit.testing.tables import Row, Statement, Tables, copies
from relaykit.worker.execution import attempt_rows

ACTIVE: Final = ("queued", "running")
UNFINISHED: Final = ("waiting", *ACTIVE)


def no_rows(tables: Tables, *parameters: object) -> list[Row]:
    """A lock: one statement or transaction runs at a time."""
    return []


def runs_of_thread(
    tables: Tables, tenant: str, owner: str, thread_id: str, statuses: Collection[str]
) -> list[Row]:
    """In the order in which they came."""
    return [
        row
        for row in tables.runs.values()
        if (row["tenant"], row["owner"], row["thread_id"]) == (tenant, owner, thread_id)
        and row["status"] in statuses
    ]


def runs_of_owner(tables: Tables, tenant: str, owner: str, holds: Callable[[Row], bool]) -> list[Row]:
    """The newest first."""
    found = [
        row for row in tables.runs.values() if (row["tenant"], row["owner"]) == (tenant, owner) and holds(row)
    ]
    return found[::-1]


def _by_id(tables: Tables, run_id: str, tenant: str, owner: str) -> list[Row]:
    row = tables.runs.get(run_id)
    return copies([row]) if row is not None and (row["tenant"], row["owner"]) == (tenant, owner) else []


def _active(tables: Tables, tenant: str, owner: str, thread_id: str) -> list[Row]:
    none = {"awaited_item": None, "awaited_seconds": None}
    found = [{**row, **none} for row in runs_of_thread(tables, tenant, owner, thread_id, ACTIVE)]
    awaited = tables.awaited_calls.get((tenant, owner, thread_id))
    if awaited is not None and awaited["run_id"] in tables.runs:
        seconds = max(0.0, awaited["until_at"] - tables.now())
        shown = {"awaited_item": awaited["item_id"], "awaited_seconds": seconds}
        found.append({**tables.runs[awaited["run_id"]], **shown})
    found += [{**row, **none} for row in runs_of_thread(tables, tenant, owner, thread_id, ("waiting",))]
    return found[:1]


def _end(tables: Tables, row: Row, status: str, error: str | None) -> None:
    """Ends the row, and drops what was kept to take the run back."""
    row.update(status=status, error=error, ended_at=tables.now(), token=None)
    for kept in (tables.undo_items, tables.undo_fields):
        for key in [key for key in kept if key[0] == row["id"]]:
            del kept[key]


def _finish(
    tables: Tables, run_id: str, attempt: int, status: str, error: str | None, sources: Sequence[str]
) -> list[Row]:
    row = tables.runs.get(run_id)
    if row is None or row["attempt"] != attempt or row["status"] not in sources:
        return []
    _end(tables, row, status, error)
    return copies([row])


def _finish_alone(
    tables: Tables,
    run_id: str,
    tenant: str,
    owner: str,
    thread_id: str,
    attempt: int,
    status: str,
    error: str | None,
    sources: Sequence[str],
) -> list[Row]:
    if runs_of_thread(tables, tenant, owner, thread_id, ("waiting",)):
        return [{"outcome": "waiting"}]
    ended = _finish(tables, run_id, attempt, status, error, sources)
    return [{"outcome": "ended" if ended else "fenced"}]


def _promote(tables: Tables, tenant: str, owner: str, thread_id: str) -> list[Row]:
    key = (tenant, owner, thread_id)
    waiting = runs_of_thread(tables, *key, ("waiting",))
    if not waiting or runs_of_thread(tables, *key, ACTIVE) or key in tables.awaited_calls:
        return []
    waiting[0].update(status="queued", due_at=tables.now())
    return copies(waiting[:1])


def _request_cancel(tables: Tables, run_id: str) -> list[Row]:
    row = tables.runs.get(run_id)
    if row is None or row["status"] not in UNFINISHED:
        return []
    row["cancel_requested"] = True
    if row["status"] != "running":
        _end(tables, row, "cancelled", row["error"])
    return [{"status": row["status"]}]


def _set(column: str) -> Statement:
    def change(tables: Tables, run_id: str, value: Any) -> list[Row]:
        if run_id in tables.runs:
            tables.runs[run_id][column] = value
        return []

    return change


def _start(
    tables: Tables, run_id: str, sources: Sequence[str], uncounted: bool, most_uncounted: int, by: UUID
) -> list[Row]:
    row = tables.runs.get(run_id)
    if row is None or row["status"] not in sources:
        return []
    is_own = row["started_by"] == by
    began = {
        "is_own": is_own,
        "status_before": row["status"],
        "due_seconds": tables.now() - row["due_at"],
        "age_seconds": tables.now() - row["queued_at"],
        "started_seconds": tables.now() - (row["started_at"] or tables.now()),
    }
    own = row["max_attempts"]
    is_repeated = is_own and row["status"] == "running"
    is_lost = row["status"] == "running" and not is_own
    may_be_left_uncounted = uncounted and is_lost and row["handed_back"] < most_uncounted
    if may_be_left_uncounted and (own is None or row["attempt"] - row["handed_back"] < own):
        row["handed_back"] += 1
    row.update(attempt=row["attempt"] + (not is_repeated), status="running", started_by=by)
    row.update(started_at=row["started_at"] or tables.now())
    owner = (row["tenant"], row["owner"])
    found = (
        tables.threads.get(row["thread_id"]),
        tables.items.get((row["thread_id"], row["anchor_item_id"])),
    )
    thread, anchor = (
        each["data"] if each is not None and (each["tenant"], each["owner"]) == owner else None
        for each in found
    )
    return [{**row, **began, "thread": thread, "anchor": anchor}]


def _status(tables: Tables, run_id: str) -> list[Row]:
    return copies([tables.runs[run_id]]) if run_id in tables.runs else []


def _later_inputs(tables: Tables, tenant: str, owner: str, thread_id: str, run_id: str) -> list[Row]:
    seq = tables.runs[run_id]["seq"]
    later = runs_of_owner(
        tables, tenant, owner, lambda row: row["thread_id"] == thread_id and row["seq"] > seq
    )
    return copies(later)


def _hand_back(tables: Tables, run_id: str, attempt: int) -> list[Row]:
    row = tables.runs.get(run_id)
    if row is None or row["attempt"] != attempt or row["status"] != "running":
        return []
    row.update(status="queued", handed_back=row["handed_back"] + 1, due_at=tables.now())
    return [{"id": run_id}]


def _forbid(tables: Tables, run_id: str, attempt: int) -> list[Row]:
    row = tables.runs.get(run_id)
    if row is None or row["attempt"] != attempt:
        return []
    row["max_attempts"] = row["attempt"] - row["handed_back"]
    return [{"id": run_id}]


def _finish_awaiting(
    tables: Tables,
    run_id: str,
    attempt: int,
    status: str,
    error: str | None,
    sources: Sequence[str],
    item_id: str,
    seconds: float,
) -> list[Row]:
    ended = _finish(tables, run_id, attempt, status, error, sources)
    if not ended:
        return []
    row, now = ended[0], tables.now()
    until_at = now + (0 if row["cancel_requested"] else seconds)
    awaited = {"run_id": run_id, "item_id": item_id, "until_at": until_at}
    tables.awaited_calls[row["tenant"], row["owner"], row["thread_id"]] = awaited
    return [{"is_due": until_at <= now}]


def _awaited(tables: Tables, tenant: str, owner: str, thread_id: str) -> list[Row]:
    awaited = tables.awaited_calls.get((tenant, owner, thread_id))
    return [] if awaited is None else [{"item_id": awaited["item_id"]}]


def _end_wait(tables: Tables, tenant: str, owner: str, thread_id: str, run_id: str) -> list[Row]:
    awaited = tables.awaited_calls.get((tenant, owner, thread_id))
    if awaited is None or awaited["run_id"] != run_id:
        return []
    del tables.awaited_calls[tenant, owner, thread_id]
    return [{"item_id": awaited["item_id"]}]


STATEMENTS: Final[Mapping[str, Statement]] = {
    THREAD_LOCK: no_rows,
    awaited_calls.LOCK_THREAD_ROW: no_rows,
    awaited_calls.FINISH_AWAITING: _finish_awaiting,
    awaited_calls.AWAITED: _awaited,
    awaited_calls.END_WAIT: _end_wait,
    sql.BY_ID: _by_id,
    sql.ACTIVE: _active,
    sql.FINISH: _finish,
    sql.FINISH_ALONE: _finish_alone,
    sql.PROMOTE: _promote,
    sql.REQUEST_CANCEL: _request_cancel,
    sql.SET_ANCHOR: _set("anchor_item_id"),
    sql.SET_INPUT: _set("input"),
    attempt_rows.START: _start,
    attempt_rows.STATUS: _status,
    attempt_rows.LATER_INPUTS: _later_inputs,
    attempt_rows.HAND_BACK: _hand_back,
    attempt_rows.FORBID_NEXT_ATTEMPT: _forbid,
}
