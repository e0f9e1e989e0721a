"""`relaykit workers list` and `drain`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from relaykit.operator_commands.confirmation import actor, require_yes
from relaykit.operator_commands.printing import duration, plain, print_json, print_table
from relaykit.operator_commands.run_acts import each
from relaykit.operator_commands.run_command import run_command
from relaykit.operator_commands.services import FAILED, OperatorServices
from relaykit.shared.operating.act_errors import WorkerNotFound
from relaykit.shared.operating.shapes import jsonable
from relaykit.shared.queue.worker_registry import SilentWorker, WorkerState

HEADS = ("WORKER", "STATE", "RUNS", "SLOTS", "HOST", "PID", "VERSION", "UP", "CLOCK")


def list_workers(given: argparse.Namespace) -> int:
    async def work(services: OperatorServices) -> int:
        services.need(database=False)
        workers, silent = await services.registry.workers(), await services.registry.silent()
        if given.json:
            for worker in workers:
                print_json({**jsonable(worker), "silent_seconds": None})
            for each_silent in silent:
                print_json({**jsonable(each_silent.state), "silent_seconds": each_silent.silent_seconds})
        else:
            print_workers(workers, silent)
        return 0

    return run_command("workers list", work)


def print_workers(workers: Sequence[WorkerState], silent: Sequence[SilentWorker]) -> None:
    """Those that are there, then those that have become silent without a word."""
    now = time.time()
    rows = [_row(worker, _state(worker), duration(now - worker.started_at)) for worker in workers]
    rows += [_row(each.state, f"silent for {duration(each.silent_seconds)}", "-") for each in silent]
    print_table(HEADS, rows)


def _row(worker: WorkerState, state: str, up: str) -> tuple[object, ...]:
    offset = worker.clock_offset_seconds
    return (
        worker.id,
        state,
        worker.used,
        worker.slots,
        worker.host,
        worker.pid,
        worker.version,
        up,
        None if offset is None else f"{offset:+.1f}s",
    )


def _state(worker: WorkerState) -> str:
    if worker.blocked_seconds > 0:
        return f"blocked for {duration(worker.blocked_seconds)}"
    return "draining" if worker.draining else "takes runs"


def drain(given: argparse.Namespace) -> int:
    async def work(services: OperatorServices) -> int:
        services.need()
        known = {worker.id: worker for worker in await services.registry.workers()}
        for worker_id in given.workers:
            if worker_id not in known:
                raise WorkerNotFound(f"There is no worker {plain(worker_id)}.")
        named = ", ".join(f"{known[each].id} on {plain(known[each].host)}" for each in given.workers)
        require_yes(f"Drain {named}?", yes=given.yes)
        by, silent = actor(given.by), False

        async def act(worker_id: str) -> str:
            nonlocal silent
            outcome = await services.acts.drain(worker_id, by)
            silent = silent or outcome != "draining"
            return outcome

        status = await each("workers drain", given.workers, act)
        return status or (FAILED if silent else 0)

    return run_command("workers drain", work)
