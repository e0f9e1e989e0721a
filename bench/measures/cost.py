"""What one run of 50 deltas costs Redis and PostgreSQL: commands, statements, memory, rows, write-ahead log. Counted.

Redis tells each command itself (MONITOR, in which those within scripts can be told), PostgreSQL logs every statement
that it is given. The runs come one after the other through a real API and a real worker. Beside it the in-process
server, which needs no Redis. What the reaper asks for by the clock is not counted.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from redis import Redis

from bench.load.clients import load, posts
from bench.load.jobs import Job, Request
from bench.measures import Scale
from bench.output.results import Measure
from bench.postgres.statement_log import StatementLog
from bench.redis.commands import Commands, counted
from bench.systems.server import Script
from bench.systems.stack import Stack, stack
from relaykit.shared.redis import keys

SCRIPT = Script(deltas=50)
PACED = Script(deltas=50, per_second=50)
PACED_RUNS = 20
SETTLE_SECONDS = 1.0
"""For what follows the end of a stream."""
STATE = """
SELECT pg_current_wal_lsn() - '0/0'::pg_lsn, (SELECT count(*) FROM threads) + (SELECT count(*) FROM items) +
    (SELECT count(*) FROM runs), pg_total_relation_size('threads') + pg_total_relation_size('items') +
    pg_total_relation_size('runs')
"""


@dataclass(frozen=True)
class Cost:
    """Of one run."""

    asked: float
    """Commands that clients send to Redis."""
    in_scripts: float
    kinds: Counter[str]
    redis_bytes: float
    """That Redis holds more, an hour long."""
    statements: float
    wal_bytes: float
    rows: float
    table_bytes: float
    """With indexes."""


def measure(scale: Scale) -> list[Measure]:
    runs = scale.of(20, 200)
    with stack() as services:
        with services.starting():
            api, worker, base = services.api(), services.worker(), services.in_process()
        log = StatementLog(services)
        for url, services_or_none in ((api.url, services), (base.url, None)):
            load(Job(posts(url, SCRIPT, 3, services_or_none)))
        ours = _cost(services, log, posts(api.url, SCRIPT, runs, services))
        journal = _journal(services)
        theirs = _cost(services, log, posts(base.url, SCRIPT, runs))
        paced = _cost(services, log, posts(api.url, PACED, PACED_RUNS, services), at_once=PACED_RUNS)
        worker.stop()
    return [*_redis(ours, paced, journal), *_postgres(ours, theirs)]


def _cost(services: Stack, log: StatementLog, requests: Sequence[Request], *, at_once: int = 1) -> Cost:
    runs = len(requests)
    with (
        psycopg.connect(services.services.database_url, autocommit=True) as database,
        Redis.from_url(services.services.redis_url) as redis,
    ):
        before, used = _state(database), redis.info("memory")["used_memory"]
        with log.counted() as statements:
            commands = asyncio.run(_loaded(services, Job(list(requests), at_once=at_once)))
        used = redis.info("memory")["used_memory"] - used
        wal, rows, size = (after - was for after, was in zip(_state(database), before, strict=True))
    return Cost(
        commands.asked.total() / runs,
        commands.in_scripts.total() / runs,
        commands.asked,
        used / runs,
        statements.count / runs,
        wal / runs,
        rows / runs,
        size / runs,
    )


async def _loaded(services: Stack, job: Job) -> Commands:
    async with counted(services.services.redis_url) as commands:
        await asyncio.to_thread(load, job)
        await asyncio.sleep(SETTLE_SECONDS)
    return commands


def _state(database: psycopg.Connection[tuple[object, ...]]) -> tuple[float, ...]:
    row = database.execute(STATE).fetchone()
    assert row is not None
    return tuple(float(str(value)) for value in row)


def _journal(services: Stack) -> tuple[float, float]:
    """Of the journals that are there, on average: bytes of memory, and entries."""
    with Redis.from_url(services.services.redis_url) as redis:
        names = list(redis.scan_iter(keys.journal("*"), count=1_000))
        sizes = [int(redis.memory_usage(name, samples=0) or 0) for name in names]
        entries = [int(redis.xlen(name)) for name in names]
    return sum(sizes) / len(names), sum(entries) / len(names)


def _redis(ours: Cost, paced: Cost, journal: tuple[float, float]) -> list[Measure]:
    kinds = ", ".join(f"{name} {count}" for name, count in paced.kinds.most_common(4))
    return [
        Measure(
            measure="cost.redis_commands",
            value=ours.asked,
            unit="commands/run",
            note=f"as fast as it goes; {ours.in_scripts:.0f} more within scripts",
        ),
        Measure(
            measure="cost.redis_commands_paced",
            value=paced.asked / PACED.deltas,
            unit="commands/delta",
            note=f"{PACED_RUNS} runs of {PACED.per_second:g} deltas/s, all in all; {kinds}; "
            f"{paced.in_scripts / PACED.deltas:.1f} more within scripts",
        ),
        Measure(
            measure="cost.redis_memory",
            value=ours.redis_bytes,
            unit="bytes/run",
            note=f"kept for an hour after its end; the journal {journal[0]:.0f}, {journal[1]:.0f} entries. "
            f"At 50 deltas/s {paced.redis_bytes:.0f}",
        ),
    ]


def _postgres(ours: Cost, theirs: Cost) -> list[Measure]:
    return [
        Measure(
            measure=f"cost.{name}",
            value=value,
            unit=unit,
            baseline=baseline,
            against="in-process",
            note=note,
        )
        for name, value, unit, baseline, note in (
            ("statements", ours.statements, "statements/run", theirs.statements, ""),
            ("rows", ours.rows, "rows/run", theirs.rows, "threads, items, runs"),
            (
                "wal",
                ours.wal_bytes,
                "bytes/run",
                theirs.wal_bytes,
                "with the images of pages that are new to it",
            ),
            ("tables", ours.table_bytes, "bytes/run", theirs.table_bytes, "with indexes"),
        )
    ]
