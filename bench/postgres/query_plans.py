"""What PostgreSQL does for a statement: the plan it chooses, the pages it looks at, the rows it goes through."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import psycopg

from bench.postgres.statements import Case, literals

PlanMode = Literal["force_custom_plan", "force_generic_plan"]
"""With the parameters in hand, as for the first executions on a connection, or without, as it may be later."""

SCANS = """
SELECT relname, seq_scan FROM pg_stat_xact_user_tables WHERE schemaname = 'public' AND seq_scan > 0
"""


@dataclass(frozen=True, slots=True)
class Work:
    """Counted, so that it is the same on every machine."""

    read_whole: frozenset[str]
    """Tables that were read from end to end, also by a function or a trigger of the statement."""
    pages: int
    """Of 8 KiB, looked at in memory or on disk; each as often as it was."""
    milliseconds: float
    plan: dict[str, Any]

    @property
    def indexes(self) -> list[str]:
        return sorted({node["Index Name"] for node in nodes(self.plan) if "Index Name" in node})


def work(connection: psycopg.Connection[Any], case: Case, mode: PlanMode) -> Work:
    """Executes the case and takes back what it wrote."""
    with connection.transaction(force_rollback=True):
        connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
        connection.execute(f"PREPARE explained AS {case.sql}")
        given = f"({literals(case.parameters)})" if case.parameters else ""
        try:
            before = _scans(connection)
            row = connection.execute(
                f"EXPLAIN (ANALYZE, TIMING OFF, BUFFERS, FORMAT JSON) EXECUTE explained {given}"
            ).fetchone()
            after = _scans(connection)
        finally:
            connection.execute("DEALLOCATE explained")
    assert row is not None
    (explained,) = row[0] if isinstance(row[0], list) else json.loads(row[0])
    plan = explained["Plan"]
    return Work(
        frozenset(table for table, count in after.items() if count > before.get(table, 0)),
        plan["Shared Hit Blocks"] + plan["Shared Read Blocks"],
        explained["Execution Time"],
        plan,
    )


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The plan's nodes, from the top."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def _scans(connection: psycopg.Connection[Any]) -> dict[str, int]:
    return dict(connection.execute(SCANS).fetchall())
