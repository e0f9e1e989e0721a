"""What PostgreSQL does with the statements of runs and of awaited client tool calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from relaykit.api.admission import admission_rows
from relaykit.shared.postgres.locks import THREAD_LOCK
from relaykit.shared.runs import awaited_calls
from relaykit.shared.runs import statements as sql
from relaykit.testing.tables import Row, Statement, Tables, copies
from relaykit.worker.execution import attempt_rows

ACTIVE: Final = ("queued", "running")
UNFINISHED: Final = ("waiting", *ACTIVE)
OVERDUE_SECONDS: Final = 60
"""A wait for a client tool call that is this much overdue holds up nothing."""


def no_rows(tables: Tables, *parameters: object) -> list[Row]:
    """A lock: one statement or transaction runs at a time."""
    return []


def _of_thread(
    tables: Tables, tenant: str, owner: str, thread_id: str, statuses: Collection[str]
) -> list[Row]:
    """In the order in which they came."""
    return [
        row
        for row in tables.runs.values()
        if (row["tenant"], row["owner"], row["thread_id"]) == (tenant, owner, thread_id)
        and row["status"] in statuses
    ]


def _of_owner(tables: Tables, tenant: str, owner: str, holds: Callable[[Row], bool]) -> list[Row]:
    """The newest first."""
    found = [
        row for row in tables.runs.values() if (row["tenant"], row["owner"]) == (tenant, owner) and holds(row)
    ]
    return found[::-1]


def _admit(
    tables: Tables,
    run_id: str,
    tenant: str,
    owner: str,
    thread_id: str,
    kind: str,
    run_input: str,
    context: str,
    token: bytes | None,
    anchor_item_id: str | None,
    idempotency_key: str | None,
    request_hash: bytes,
    max_attempts: int | None,
    may_wait: bool,
    caller_runs: int,
) -> str:
    is_unfinished: Callable[[Row], bool] = lambda row: row["status"] in UNFINISHED  # noqa: E731
    if 0 < caller_runs <= len(_of_owner(tables, tenant, owner, is_unfinished)):
        return "too_many"
    status, key = "queued", (tenant, owner, thread_id)
    if kind == "threads.add_client_tool_output":
        tables.awaited_calls.pop(key, None)
    elif kind != "threads.create":
        awaited = tables.awaited_calls.get(key)
        if awaited is not None and awaited["until_at"] > tables.now() - OVERDUE_SECONDS:
            if not may_wait:
                return "busy"
            status = "waiting"
    if idempotency_key is not None and _by_key(tables, tenant, owner, idempotency_key):
        return "key_taken"
    if status == "queued" and _of_thread(tables, *key, ACTIVE):
        if not may_wait:
            return "busy"
        status = "waiting"
    tables.runs[run_id] = {
        "id": run_id,
        "tenant": tenant,
        "owner": owner,
        "thread_id": thread_id,
        "kind": kind,
        "status": status,
        "attempt": 0,
        "handed_back": 0,
        "anchor_item_id": anchor_item_id,
        "input": run_input,
        "context": context,
        "token": token,
        "cancel_requested": False,
        "error": None,
        "request_hash": request_hash,
        "idempotency_key": idempotency_key,
        "max_attempts": max_attempts,
        "seq": tables.next_seq(),
        "queued_at": tables.now(),
        "due_at": tables.now(),
        "started_at": None,
        "started_by": None,
        "ended_at": None,
        "received_at": None,
    }
    return status


def _admit_run(tables: Tables, *parameters: Any) -> list[Row]:
    return [{"outcome": _admit(tables, *parameters)}]


def _admit_message(tables: Tables, *parameters: Any) -> list[Row]:
    *of_run, new_thread, item, repeat_seconds = parameters
    _, tenant, owner, thread_id, *_ = of_run
    anchor_item_id, key, request_hash = of_run[8:11]
    if (
        key is None
        and repeat_seconds
        and _same_body(tables, tenant, owner, request_hash, lambda row: _since(tables, row, repeat_seconds))
    ):
        return [{"outcome": "repeated"}]
    if new_thread is None:
        thread = tables.threads.get(thread_id)
        if thread is None or (thread["tenant"], thread["owner"]) != (tenant, owner):
            return [{"outcome": "thread_gone"}]
    outcome = _admit(tables, *of_run)
    if outcome in ("queued", "waiting"):
        named = {"tenant": tenant, "owner": owner}
        if new_thread is not None:
            row = {"id": thread_id, **named, "seq": tables.next_seq(), "data": new_thread, "titled_at": None}
            tables.threads[thread_id] = row
        row = {"thread_id": thread_id, **named, "id": anchor_item_id, "data": item, "run_id": ""}
        tables.items[thread_id, anchor_item_id] = {**row, "seq": tables.next_seq()}
    return [{"outcome": outcome}]


def _since(tables: Tables, row: Row, seconds: float) -> bool:
    return bool(row["queued_at"] > tables.now() - seconds)


def _same_body(
    tables: Tables, tenant: str, owner: str, request_hash: bytes, holds: Callable[[Row], bool]
) -> list[Row]:
    def is_same(row: Row) -> bool:
        return row["request_hash"] == request_hash and row["idempotency_key"] is None and holds(row)

    return _of_owner(tables, tenant, owner, is_same)


def _by_key(tables: Tables, tenant: str, owner: str, key: str) -> list[Row]:
    return copies(_of_owner(tables, tenant, owner, lambda row: row["idempotency_key"] == key))


def _unreceived(tables: Tables, tenant: str, owner: str, request_hash: bytes, seconds: float) -> list[Row]:
    newest = _same_body(tables, tenant, owner, request_hash, lambda row: _since(tables, row, seconds))[:1]
    return copies([row for row in newest if row["received_at"] is None])


def _same_bodies(
    tables: Tables, tenant: str, owner: str, request_hash: bytes, seconds: float, limit: int
) -> list[Row]:
    def holds(row: Row) -> bool:
        return row["ended_at"] is None or row["ended_at"] > tables.now() - seconds

    return copies(_same_body(tables, tenant, owner, request_hash, holds)[:limit])


def _run_answering(tables: Tables, tenant: str, owner: str, thread_id: str, item_id: str) -> list[Row]:
    kinds = ("threads.create", "threads.add_user_message", "threads.retry_after_item")
    found = _of_thread(tables, tenant, owner, thread_id, UNFINISHED)
    answering = (row for row in found if row["kind"] in kinds)
    return copies([row for row in answering if json.loads(row["input"]).get("item_id") == item_id][:1])


def _count(tables: Tables, tenant: str, owner: str) -> list[Row]:
    return [{"count": len(_of_owner(tables, tenant, owner, lambda row: row["status"] in UNFINISHED))}]


def _nothing(tables: Tables, run_id: str, tenant: str, owner: str) -> list[Row]:
    return []


def _unfinished(tables: Tables, tenant: str, owner: str, thread_id: str, before: str | None) -> list[Row]:
    found = _of_thread(tables, tenant, owner, thread_id, UNFINISHED)
    if before is not None:
        found = [row for row in found if row["seq"] < tables.runs[before]["seq"]]
    return copies(sorted(found, key=lambda row: (row["status"] == "waiting", row["seq"]), reverse=True))


def _by_id(tables: Tables, run_id: str, tenant: str, owner: str) -> list[Row]:
    row = tables.runs.get(run_id)
    return copies([row]) if row is not None and (row["tenant"], row["owner"]) == (tenant, owner) else []


def _active(tables: Tables, tenant: str, owner: str, thread_id: str) -> list[Row]:
    none = {"awaited_item": None, "awaited_seconds": None}
    found = [{**row, **none} for row in _of_thread(tables, tenant, owner, thread_id, ACTIVE)]
    awaited = tables.awaited_calls.get((tenant, owner, thread_id))
    if awaited is not None and awaited["run_id"] in tables.runs:
        seconds = max(0.0, awaited["until_at"] - tables.now())
        shown = {"awaited_item": awaited["item_id"], "awaited_seconds": seconds}
        found.append({**tables.runs[awaited["run_id"]], **shown})
    found += [{**row, **none} for row in _of_thread(tables, tenant, owner, thread_id, ("waiting",))]
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
    if _of_thread(tables, tenant, owner, thread_id, ("waiting",)):
        return [{"outcome": "waiting"}]
    ended = _finish(tables, run_id, attempt, status, error, sources)
    return [{"outcome": "ended" if ended else "fenced"}]


def _promote(tables: Tables, tenant: str, owner: str, thread_id: str) -> list[Row]:
    key = (tenant, owner, thread_id)
    waiting = _of_thread(tables, *key, ("waiting",))
    if not waiting or _of_thread(tables, *key, ACTIVE) or key in tables.awaited_calls:
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
    later = _of_owner(tables, tenant, owner, lambda row: row["thread_id"] == thread_id and row["seq"] > seq)
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
    admission_rows.ADMIT: _admit_run,
    admission_rows.ADMIT_MESSAGE: _admit_message,
    admission_rows.BY_KEY: _by_key,
    admission_rows.MAKE_DURABLE: _nothing,
    admission_rows.UNRECEIVED: _unreceived,
    admission_rows.SAME_BODY: _same_bodies,
    admission_rows.RUN_ANSWERING: _run_answering,
    admission_rows.UNFINISHED_COUNT: _count,
    admission_rows.UNFINISHED: _unfinished,
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
