"""`relaykit status`: everything at a glance."""

from __future__ import annotations

import argparse
from typing import Any

from relaykit.operator_commands.printing import (
    describe_error,
    duration,
    print_fields,
    print_json,
    print_table,
    say,
)
from relaykit.operator_commands.queue import queue_fields
from relaykit.operator_commands.run_command import run_command
from relaykit.operator_commands.services import FAILED, OperatorServices
from relaykit.operator_commands.workers import print_workers
from relaykit.shared.errors import DatabaseUnavailable, QueueUnavailable
from relaykit.shared.operating import shapes
from relaykit.shared.operating.database_figures import DatabaseState
from relaykit.shared.version import VERSION

SAME_SECONDS = 0.1


def status(given: argparse.Namespace) -> int:
    async def work(services: OperatorServices) -> int:
        database, redis = services.database_problem, services.redis_problem
        state = None
        try:
            state = None if database is not None else await services.database_figures.ask()
        except DatabaseUnavailable as error:
            database = error
        takes_writes = state is not None and not state.read_only
        postgresql = "ok" if takes_writes else shapes.READ_ONLY
        found: dict[str, Any] = {
            "postgresql": postgresql if database is None else describe_error(database),
            "redis": "ok" if redis is None else describe_error(redis),
            "clock": await services.clocks.look(),
        }
        if state is not None:
            found["database"] = state
        problem: DatabaseUnavailable | QueueUnavailable | None = None
        try:
            if redis is None:
                workers, silent = await services.registry.workers(), await services.registry.silent()
                found.update(workers=workers, silent_workers=silent)
            if redis is None and database is None:
                found["queue"] = await services.figures.ask()
        except (DatabaseUnavailable, QueueUnavailable) as error:  # as of a user who may not ask
            problem = error
        try:
            if database is None and not isinstance(problem, DatabaseUnavailable):
                found["ended"] = await services.lists.ended_lately(shapes.LATELY_SECONDS)
                found["acts"] = await services.audit.newest(shapes.ACTS_AT_A_GLANCE)
        except DatabaseUnavailable as error:  # as where a table is locked
            problem = problem or error
        if given.json:
            print_json(shapes.overview(**found))
        else:
            _print(found)
        if problem is not None:
            say(f"relaykit status: {describe_error(problem)}: what is left out could not be asked")
        return 0 if takes_writes and redis is None and problem is None else FAILED

    return run_command("status", work)


def _print(found: dict[str, Any]) -> None:
    services = {name: found[name] for name in ("postgresql", "redis")}
    print_fields({"version": VERSION, **services, **_more(found)})
    if "queue" in found:
        print()
        print_fields(queue_fields(found["queue"]))
    if "workers" in found:
        print()
        print_workers(found["workers"], found["silent_workers"])
    if "acts" not in found:
        return
    print()
    ended = [(each.status, each.error, each.count) for each in found["ended"]]
    print_table(("ENDED LAST HOUR", "ERROR", "RUNS"), ended)
    if found["acts"]:
        print()
        acts = [(each.at, each.act, each.target, each.actor, each.outcome) for each in found["acts"]]
        print_table(("LAST ACTS", "ACT", "OF", "BY", "OUTCOME"), acts)


def _more(found: dict[str, Any]) -> dict[str, str]:
    """Of the services: how far this host's clock is from theirs, and what PostgreSQL's sessions do."""
    fields = {"clock": ", ".join(_offset(service, offset) for service, offset in found["clock"].items())}
    state: DatabaseState | None = found.get("database")
    if state is not None:
        fields["sessions"] = (
            f"{state.sessions} of {state.max_connections}, {state.active} active, "
            f"{state.wait_for_locks} wait for locks, {state.idle_in_transaction} idle in a transaction, "
            f"the oldest transaction for {duration(state.oldest_transaction_seconds)}"
        )
    return fields


def _offset(service: str, offset: float | None) -> str:
    if offset is None:
        return f"{service}'s is not known"
    if abs(offset) < SAME_SECONDS:
        return f"that of {service}"
    return f"{duration(abs(offset))} {'ahead of' if offset > 0 else 'behind'} {service}"
