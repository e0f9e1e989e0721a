"""What an operator is shown, as JSON: the same whether a command prints it or the console's API answers it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from relaykit.shared.operating.audit import NotedAct
from relaykit.shared.operating.database_figures import DatabaseState
from relaykit.shared.operating.queue_figures import CallerLoad, QueueState
from relaykit.shared.operating.run_details import RunContent, RunDetails, ShownEvent
from relaykit.shared.operating.run_holders import JobState, RunHolder
from relaykit.shared.operating.run_lists import EndCount, ListedRun
from relaykit.shared.owner import Owner
from relaykit.shared.queue.worker_registry import SilentWorker, WorkerState
from relaykit.shared.version import VERSION

Json = dict[str, Any]

LATELY_SECONDS: Final = 3600
ACTS_AT_A_GLANCE: Final = 5
READ_ONLY: Final = "takes no writes: it is a standby, or read-only (25006)"
"""What is said of such a PostgreSQL."""


def jsonable(value: Any) -> Any:
    """Dataclasses as objects, an owner as its two fields, times in UTC; what JSON has is as it is."""
    if isinstance(value, Owner):
        return {"tenant": value.tenant, "user": value.user_id}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found: Json = {}
        for field in dataclasses.fields(value):
            made = jsonable(getattr(value, field.name))
            found |= made if field.name == "owner" else {field.name: made}
        return found
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, Mapping):
        return {str(key): jsonable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(each) for each in value]
    return value


def overview(
    *,
    postgresql: str,
    redis: str,
    clock: Mapping[str, float | None],
    database: DatabaseState | None = None,
    workers: Sequence[WorkerState] | None = None,
    silent_workers: Sequence[SilentWorker] | None = None,
    queue: QueueState | None = None,
    ended: Sequence[EndCount] | None = None,
    acts: Sequence[NotedAct] | None = None,
) -> Json:
    """Everything at a glance: the two services as `ok` or what is wrong, and what they could be asked."""
    parts = {
        "database": database,
        "workers": workers,
        "silent_workers": silent_workers,
        "queue": queue,
        "ended_last_hour": ended,
        "acts": acts,
    }
    known = {name: jsonable(part) for name, part in parts.items() if part is not None}
    services = {"postgresql": postgresql, "redis": redis, "clock": jsonable(clock)}
    return {"version": VERSION, **services, **known}


def listed(run: ListedRun, holder: RunHolder | None) -> Json:
    """A run in a list, with the worker that has it."""
    return {**jsonable(run), "worker": jsonable(holder)}


def shown(
    details: RunDetails, job: JobState | None, worker: WorkerState | None, acts: Sequence[NotedAct]
) -> Json:
    """All of one run, without content."""
    return {
        **jsonable(details.run),
        "max_attempts": details.max_attempts,
        "received_at": jsonable(details.received_at),
        "trace_id": details.trace_id,
        "awaited_item": details.awaited_item,
        "awaited_until": jsonable(details.awaited_until),
        "job": jsonable(job),
        "worker": jsonable(worker),
        "acts": jsonable(acts),
    }


def content(written: RunContent) -> Json:
    """What was written in a run: JSON already."""
    return {"input": written.input, "context": written.context, "anchor": written.anchor}


def event(entry: ShownEvent, at: datetime | None, *, content: bool) -> Json:
    """An entry of a journal, and when it was written. There may be a thousand of them to a page."""
    found: Json = {
        "cursor": entry.cursor,
        "kind": entry.kind,
        "detail": entry.detail,
        "bytes": entry.bytes,
        "at": None if at is None else at.astimezone(UTC).isoformat(),
    }
    if content:
        found["data"] = entry.data
    return found


def queue(state: QueueState, callers: Sequence[CallerLoad]) -> Json:
    return {**jsonable(state), "callers": jsonable(callers)}
