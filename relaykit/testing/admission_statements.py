"""What PostgreSQL does with the statements by which a request becomes a run, or finds the one that it has made."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from relaykit.api.admission import admission_rows
from relaykit.testing.run_statements import ACTIVE, UNFINISHED, runs_of_owner, runs_of_thread
from relaykit.testing.tables import Row, Statement, Tables, copies

OVERDUE_SECONDS: Final = 60
"""A wait for a client tool call that is this much overdue holds up nothing."""


class _NewRun(NamedTuple):
    """The parameters of ADMIT, in their order."""

    id: str
    tenant: str
    owner: str
    thread_id: str
    kind: str
    input: str
    context: str
    token: bytes | None
    anchor_item_id: str | None
    idempotency_key: str | None
    request_hash: bytes
    max_attempts: int | None
    may_wait: bool
    caller_runs: int


def _admit(tables: Tables, new: _NewRun) -> str:
    tenant, owner, thread_id = key = new.tenant, new.owner, new.thread_id
    unfinished = runs_of_owner(tables, tenant, owner, lambda row: row["status"] in UNFINISHED)
    if 0 < new.caller_runs <= len(unfinished):
        return "too_many"
    status = "queued"
    if new.kind == "threads.add_client_tool_output":
        tables.awaited_calls.pop(key, None)
    elif new.kind != "threads.create":
        awaited = tables.awaited_calls.get(key)
        if awaited is not None and awaited["until_at"] > tables.now() - OVERDUE_SECONDS:
            if not new.may_wait:
                return "busy"
            status = "waiting"
    if new.idempotency_key is not None and _by_key(tables, tenant, owner, new.idempotency_key):
        return "key_taken"
    if status == "queued" and runs_of_thread(tables, tenant, owner, thread_id, ACTIVE):
        if not new.may_wait:
            return "busy"
        status = "waiting"
    tables.runs[new.id] = _row(tables, new, status)
    return status


def _row(tables: Tables, new: _NewRun, status: str) -> Row:
    given = new._asdict()
    del given["may_wait"], given["caller_runs"]
    return {
        **given,
        "status": status,
        "attempt": 0,
        "handed_back": 0,
        "cancel_requested": False,
        "error": None,
        "seq": tables.next_seq(),
        "queued_at": tables.now(),
        "due_at": tables.now(),
        "started_at": None,
        "started_by": None,
        "ended_at": None,
        "received_at": None,
    }


def _admit_run(tables: Tables, *parameters: Any) -> list[Row]:
    new = _NewRun(*parameters)
    outcome = _admit(tables, new)
    if new.kind == "threads.add_user_message":
        _use_thread(tables, new, outcome)
    return [{"outcome": outcome}]


def _use_thread(tables: Tables, new: _NewRun, outcome: str) -> None:
    row = tables.threads.get(new.thread_id)
    if (
        outcome in ("queued", "waiting")
        and row is not None
        and (row["tenant"], row["owner"]) == (new.tenant, new.owner)
    ):
        row["updated_at"] = tables.now_at()


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
    new = _NewRun(*of_run)
    outcome = _admit(tables, new)
    _use_thread(tables, new, outcome)
    if outcome in ("queued", "waiting"):
        named = {"tenant": tenant, "owner": owner}
        if new_thread is not None:
            row = {"id": thread_id, **named, "seq": tables.next_seq(), "data": new_thread, "titled_at": None}
            tables.threads[thread_id] = {**row, "updated_at": tables.now_at()}
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

    return runs_of_owner(tables, tenant, owner, is_same)


def _by_key(tables: Tables, tenant: str, owner: str, key: str) -> list[Row]:
    return copies(runs_of_owner(tables, tenant, owner, lambda row: row["idempotency_key"] == key))


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
    found = runs_of_thread(tables, tenant, owner, thread_id, UNFINISHED)
    answering = (row for row in found if row["kind"] in kinds)
    return copies([row for row in answering if json.loads(row["input"]).get("item_id") == item_id][:1])


def _count(tables: Tables, tenant: str, owner: str) -> list[Row]:
    return [{"count": len(runs_of_owner(tables, tenant, owner, lambda row: row["status"] in UNFINISHED))}]


def _nothing(tables: Tables, run_id: str, tenant: str, owner: str) -> list[Row]:
    return []


def _unfinished(tables: Tables, tenant: str, owner: str, thread_id: str, before: str | None) -> list[Row]:
    found = runs_of_thread(tables, tenant, owner, thread_id, UNFINISHED)
    if before is not None:
        found = [row for row in found if row["seq"] < tables.runs[before]["seq"]]
    return copies(sorted(found, key=lambda row: (row["status"] == "waiting", row["seq"]), reverse=True))


STATEMENTS: Final[Mapping[str, Statement]] = {
    admission_rows.ADMIT: _admit_run,
    admission_rows.ADMIT_MESSAGE: _admit_message,
    admission_rows.BY_KEY: _by_key,
    admission_rows.MAKE_DURABLE: _nothing,
    admission_rows.UNRECEIVED: _unreceived,
    admission_rows.SAME_BODY: _same_bodies,
    admission_rows.RUN_ANSWERING: _run_answering,
    admission_rows.UNFINISHED_COUNT: _count,
    admission_rows.UNFINISHED: _unfinished,
}
