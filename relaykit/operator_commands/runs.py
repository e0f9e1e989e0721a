"""`relaykit runs list`, `show` and `events`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime

from relaykit.operator_commands.printing import (
    describe_error,
    duration,
    plain,
    print_fields,
    print_json,
    print_table,
    say,
)
from relaykit.operator_commands.run_command import run_command
from relaykit.operator_commands.services import FAILED, OperatorServices
from relaykit.shared.errors import QueueUnavailable
from relaykit.shared.journal import START, Cursor
from relaykit.shared.operating import shapes
from relaykit.shared.operating.run_details import RunDetails
from relaykit.shared.operating.run_holders import JobState, RunHolder
from relaykit.shared.operating.run_lists import ListedRun, RunFilter, RunPosition
from relaykit.shared.queue.worker_registry import WorkerState
from relaykit.shared.runs.run import Status

PAGE = 500
"""Events that are read at once."""
ACTS_SHOWN = 20

HEADS = ("RUN", "STATUS", "AGE", "TRY", "TENANT", "USER", "THREAD", "KIND", "ERROR", "WORKER")


def list_runs(given: argparse.Namespace) -> int:
    wanted = RunFilter(
        statuses=frozenset(map(Status, given.status)),
        since_seconds=given.since,
        older_seconds=given.older_than,
        tenant=given.tenant,
        user_id=given.user,
        thread_id=given.thread,
        error=given.error,
    )

    async def work(services: OperatorServices) -> int:
        services.need(redis=False)
        before = None
        if given.before is not None:
            before = RunPosition.of((await services.reader.find(given.before)).run)
        runs = await services.lists.find(replace(wanted, before=before), given.limit)
        holders, problem = await _holders(services, [run.id for run in runs if run.status is Status.RUNNING])
        if given.json:
            for run in runs:
                print_json(shapes.listed(run, holders.get(run.id)))
        else:
            print_table(HEADS, [_row(run, holders.get(run.id)) for run in runs])
        if problem is not None:
            say(f"relaykit runs list: {describe_error(problem)}: which worker has a run is not known")
            return FAILED
        return 0

    return run_command("runs list", work)


async def _holders(
    services: OperatorServices, run_ids: Sequence[str]
) -> tuple[Mapping[str, RunHolder], QueueUnavailable | None]:
    """Where Redis is away the rows are told all the same."""
    try:
        services.need(database=False)
        return await services.holders.of(run_ids), None
    except QueueUnavailable as error:
        return {}, error


def _row(run: ListedRun, holder: RunHolder | None) -> list[object]:
    worker = None if holder is None else holder.worker_id + ("" if holder.is_held else " (lost)")
    status = run.status.value + (" (stop requested)" if run.cancel_requested and not run.status.ended else "")
    owner = run.owner
    return [
        run.id,
        status,
        duration(_since(run.accepted_at)),
        run.attempt,
        owner.tenant,
        owner.user_id,
        run.thread_id,
        run.kind,
        run.error,
        worker,
    ]


def show(given: argparse.Namespace) -> int:
    async def work(services: OperatorServices) -> int:
        services.need(redis=False)
        details = await services.reader.find(given.run)
        content = await services.reader.content(given.run) if given.content else None
        acts = await services.audit.on(given.run, ACTS_SHOWN)
        job, worker, problem = await _job(services, given.run)
        if given.json:
            shown = shapes.shown(details, job, worker, acts)
            print_json(shown if content is None else {**shown, "content": content})
        else:
            print_fields({**_fields(details), **_job_fields(details.run, job, worker)})
            for act in acts:
                print_fields(
                    {"act": f"{act.act} by {act.actor}: {act.outcome or 'not known'}", "  at": act.at}
                )
            if content is not None:
                for name, value in asdict(content).items():
                    print(f"{name}: ", end="")
                    print_json(value)
        if problem is not None:
            say(f"relaykit runs show: {describe_error(problem)}: its job and its worker are not known")
            return FAILED
        return 0

    return run_command("runs show", work)


async def _job(
    services: OperatorServices, run_id: str
) -> tuple[JobState | None, WorkerState | None, QueueUnavailable | None]:
    try:
        services.need(database=False)
        job = await services.holders.job(run_id)
        worker_id = None if job.place is None else job.place.worker_id
        workers = await services.registry.workers()
        return job, next((each for each in workers if each.id == worker_id), None), None
    except QueueUnavailable as error:
        return None, None, error


def _fields(details: RunDetails) -> dict[str, object]:
    run = details.run
    limit = "RUN_MAX_ATTEMPTS" if details.max_attempts is None else str(details.max_attempts)
    return {
        "run": run.id,
        "status": run.status.value,
        "error": run.error,
        "kind": run.kind,
        "tenant": run.owner.tenant,
        "user": run.owner.user_id,
        "thread": run.thread_id,
        "attempts": f"{run.attempt}, of which {run.handed_back} do not count, of {limit}",
        "stop requested": "yes" if run.cancel_requested else "no",
        "accepted": run.accepted_at,
        "due": run.due_at,
        "started": run.started_at,
        "ended": run.ended_at,
        "received": details.received_at,
        "trace": details.trace_id,
        **_wait_fields(details),
    }


def _wait_fields(details: RunDetails) -> dict[str, object]:
    if details.awaited_item is None:
        return {}
    return {
        "awaits": f"the output of client tool call {details.awaited_item}",
        "until": details.awaited_until,
    }


def _job_fields(run: ListedRun, job: JobState | None, worker: WorkerState | None) -> dict[str, object]:
    if job is None:
        return {}
    if not job.has_job:
        queued = "none"
    elif job.due_seconds is None:
        queued = "due, in the fair order"
    elif job.lease_seconds is not None:
        queued = "held"
    else:
        queued = (
            f"due in {job.due_seconds:.1f}s"
            if job.due_seconds > 0
            else f"due since {duration(-job.due_seconds)}"
        )
    fields: dict[str, object] = {"job": queued}
    if job.place is not None:
        where = "" if worker is None else f" on {worker.host}, process {worker.pid}"
        fields["worker"] = job.place.worker_id + (where or ", which is gone")
        fields["lease"] = "has ended" if job.lease_seconds is None else f"for {job.lease_seconds:.1f}s"
    return fields


def events(given: argparse.Namespace) -> int:
    async def work(services: OperatorServices) -> int:
        after = START if given.after is None else Cursor.parse(given.after)
        services.need()
        await services.reader.find(given.run)
        left, found = given.limit, 0
        while left > 0:
            page = await services.reader.events(given.run, after, min(left, PAGE), content=given.content)
            for event in page:
                if given.json:
                    print_json(shapes.event(event, event.at, content=given.content))
                else:
                    print_event = [event.cursor.ljust(12), event.kind, event.detail, f"{event.bytes} bytes"]
                    print("  ".join(plain(part) for part in print_event if part))
                    if given.content and event.data is not None:
                        print_json(event.data)
            found, left = found + len(page), left - len(page)
            if len(page) < PAGE:
                break
            after = Cursor.parse(page[-1].cursor)
        if not found:
            say(
                "relaykit runs events: Redis has no such events: none were written yet, or their time is over"
            )
        return 0

    return run_command("runs events", work)


def _since(at: datetime) -> float:
    return (datetime.now(UTC) - at).total_seconds()
